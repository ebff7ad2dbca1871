"""The whole way through the command line: a tiny sweep, from its file to the sealed report."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeps.layout import RUN_LOCK_NAME
from sweeps.lock import is_held
from sweeps.planned import load_plan
from sweeps.table import collect, curves, samples
from tests.workbench.tiny import LADDER_RUNS, Finished, started, two_lines, wait_for, workbench
from workbench import ledger
from workbench.cli import main

pytestmark = pytest.mark.slow
# What depends on the moment and on how often a run was interrupted, never on the spec.
MEASURED = ["seconds_start", "seconds_train", "seconds_evaluate", "seconds_save", "restarts"]
MEASURED += ["tokens_per_second", "flops_per_second", "mfu", "peak_memory_bytes"]


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path, status: int = 0) -> Any:
    """What a command prints with --json, in this process."""
    assert main([*map(str, words), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/result.json")}


def test_report_holds_every_promised_number(finished: Finished) -> None:
    told = json.loads(finished.out)  # one document and nothing else
    assert Path(told["json"]) == finished.folder / "report.json"
    assert Path(told["pdf"]).read_bytes().startswith(b"%PDF")
    report = json.loads(Path(told["json"]).read_text())
    table = pd.read_csv(finished.folder / "runs.csv").set_index("role")
    for found in (report, report["x30"]):
        for key in ("loss", "pass_rate"):
            values = found[key]
            assert {"predicted", "lo", "hi", "actual"} <= set(values)
            assert (values["predicted"] is None) == bool(values.get("refused"))
        assert found["loss"]["actual"] == pytest.approx(table.loc["target", "loss"], rel=1e-6)
        assert found["sealed_before_target"] is True
        assert "compute_ratio" in found
    # Runs this short may enter no fit, and a refusal is what was sealed.
    assert report["loss"]["refused"] == "all_screened"
    counts = pd.read_csv(finished.folder / "samples.csv")
    own = counts[(counts["role"] == "target") & (counts["kind"] == "program")]
    assert len(own) == 12 and set(own["n_samples"]) == {2}
    assert 0 < report["wall_seconds"] < finished.seconds + 1
    assert any("x3" in sentence for sentence in told["verdict"])


def test_target_names_the_ledger_that_holds_its_seals(finished: Finished) -> None:
    assert ledger.verify(finished.ledger) == []
    entries = ledger.read(finished.ledger).entries
    kinds = [(entry.kind, entry.body.get("name")) for entry in entries]
    assert kinds == [
        ("prediction", "x3"),
        ("prediction", "x30"),
        ("target_started", None),
        ("target_finished", None),
    ]
    target = load_plan(finished.folder).target
    first = lines(finished.folder / str(target.run_id) / "metrics.jsonl")[0]
    assert first["kind"] == "start" and first["run_id"] == target.run_id
    place = [entry.hash for entry in entries].index(first["ledger_head"])
    assert place >= 1  # both seals are in what that head covers
    assert {entry.body["target_run_id"] for entry in entries} == {target.run_id}
    for run in load_plan(finished.folder).ladder:
        assert lines(finished.folder / str(run.run_id) / "metrics.jsonl")[0]["ledger_head"] is None


def test_second_run_trains_nothing(own: Finished) -> None:
    def state() -> dict[str, int]:
        homes = [own.folder / str(run.run_id) for run in load_plan(own.folder).runs]
        files = [path for home in (*homes, own.folder / "workers") for path in home.rglob("*")]
        assert len(files) > 20
        return {str(path): path.stat().st_mtime_ns for path in [*homes, *files]}

    before, book = state(), own.ledger.read_bytes()
    begun = time.monotonic()
    done = workbench("run", own.sweep, "--runs", own.runs)
    assert done.returncode == 0, done.stderr
    assert state() == before
    assert own.ledger.read_bytes() == book
    assert time.monotonic() - begun < own.seconds / 2
    assert "report" in done.stdout and "finished" not in done.stderr


def test_commands_read_what_the_sweep_left(
    own: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = printed(capsys, "plan", own.sweep, "--runs", own.runs)
    assert [run["role"] for run in planned["runs"]] == ["ladder"] * LADDER_RUNS + ["target"]
    assert planned["data"] == load_plan(own.folder).data
    runs = printed(capsys, "status", own.folder)["runs"]
    assert {run["state"] for run in runs} == {"finished"} and len(runs) == LADDER_RUNS + 1
    found = printed(capsys, "collect", own.folder)
    assert found["rows"]["runs"] == LADDER_RUNS + 1 and found["problems"] == []
    (own.folder / "report.pdf").unlink()
    files = printed(capsys, "report", own.folder)
    assert Path(files["pdf"]).read_bytes().startswith(b"%PDF")
    elsewhere = printed(capsys, "report", own.folder, "--out", own.runs.parent / "elsewhere")
    assert Path(elsewhere["json"]).parent == own.runs.parent / "elsewhere"


def test_table_of_a_sweep_can_be_fitted(own: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    table = own.folder / "runs.csv"
    refused = printed(capsys, "fit", table, "--law", "power", status=1)
    assert refused["error"]["kind"] == "all_screened"
    bare = own.folder / "bare.csv"  # without what the screens read, and of a plausible size
    bigger = pd.read_csv(table)[["run_id", "role", "flops", "loss"]]
    bigger.assign(flops=bigger["flops"] * 1000).to_csv(bare, index=False)
    fit = printed(capsys, "fit", bare, "--law", "power", "--bootstrap", "0")
    assert fit["law"] == "power" and len(fit["runs_used"]) >= LADDER_RUNS
    words = ("predict", bare, "--target", "flops=5e13", "--seal", "--ledger", own.runs / "b.jsonl")
    predicted = printed(capsys, *words)
    (one,) = predicted["predictions"]
    assert one["loss"]["lo90"] < one["loss"]["median"] < one["loss"]["hi90"]
    assert predicted["sealed"][0]["head"] == ledger.head(own.runs / "b.jsonl")
    assert ledger.verify(own.runs / "b.jsonl") == []


def test_trained_models_write_and_read(own: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    home = own.folder / str(load_plan(own.folder).target.run_id)
    words = ("sample", home, "--prompt", "ab", "--tokens", "9", "--temperature", "1")
    drawn = printed(capsys, *words, "--count", "3", "--seed", "1")
    assert len(drawn["texts"]) == 3 and any(drawn["texts"])
    assert drawn["step"] == load_plan(own.folder).target.steps
    assert printed(capsys, *words, "--count", "3", "--seed", "1") == drawn
    assert printed(capsys, *words, "--count", "3", "--seed", "2") != drawn
    strip = printed(capsys, "sample", home, "--strip", "3")
    assert strip["answer"].isdigit() and len(strip["texts"]) == 1


def test_interrupted_anywhere_the_same_tables_come_out(
    finished: Finished, planned: Finished
) -> None:
    words, folder = ("run", planned.sweep, "--runs", planned.runs), planned.folder
    homes = [folder / str(run.run_id) for run in load_plan(finished.folder).runs]

    def held() -> list[str]:
        return [home.name for home in homes if is_held(home / RUN_LOCK_NAME)]

    with started(*words) as process:  # Ctrl-C in the middle of the first run
        wait_for(lambda: any((home / "metrics.jsonl").exists() for home in homes), process)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    what, remedy = two_lines(err)
    assert what == "interrupted" and "the same command again" in remedy
    assert held() == [] and len(results(folder)) < LADDER_RUNS  # the worker has saved and ended

    with started(*words) as process:  # the power fails in the middle of the ladder
        wait_for(lambda: results(folder), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert 0 < len(results(folder)) < LADDER_RUNS
    assert not planned.ledger.exists()  # nothing is sealed before the ladder is whole

    done = workbench(*words)
    assert done.returncode == 0, done.stderr
    assert len(results(folder)) == LADDER_RUNS + 1 and held() == []
    table = collect(folder).drop(columns=MEASURED)
    expected = collect(finished.folder).drop(columns=MEASURED)
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    pd.testing.assert_frame_equal(samples(folder), samples(finished.folder), check_exact=True)
    pd.testing.assert_frame_equal(curves(folder), curves(finished.folder), check_exact=True)
    assert [entry.kind for entry in ledger.read(planned.ledger).entries].count("prediction") == 2
