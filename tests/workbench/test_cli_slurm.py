"""The commands for a cluster where there is none: the dry run works, the others say what to do."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.records import to_json
from model.training.spec import Execution
from sweeps.layout import EXECUTION_NAMES
from sweeps.planned import save_plan
from sweeps.throughput import CPU, CUDA, GUESS
from tests.sweeps.slurm.fake import fake_slurm
from tests.workbench.tiny import NAME, ROOT, Finished, two_lines, write_sweep
from workbench.cli import main
from workbench.prepare import preview

pytest.importorskip("submitit")


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No client of Slurm on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    status = main([*map(str, words)])
    return (status, *two_lines(capsys.readouterr().err))


@pytest.mark.parametrize("profile", ["cpu", "one-node-8-gpu", "multi-node"])
def test_dry_run_prints_scripts_map_and_cost_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: str
) -> None:
    shipped = (ROOT / "sweeps" / "profiles" / f"{profile}.toml").read_text()
    few = tmp_path / f"{profile}.toml"  # a tiny batch is too small for sixteen tasks
    few.write_text(
        shipped.replace("nodes = 2\ntasks_per_node = 8", "nodes = 2\ntasks_per_node = 1")
    )
    sweep = write_sweep(tmp_path, ('device = "cpu"', ""), ('dtype = "float32"', ""))
    words = ("submit", sweep, "--profile", few, "--dry-run", "--runs", tmp_path / "runs")
    assert main([*map(str, words), "--json"]) == 0
    would = json.loads(capsys.readouterr().out)
    assert list(would["scripts"]) == ["ladder-0", "seal", "target-0", "report"]
    assert would["built"] is False and would["limits"]["source"] == "Slurm's default"
    (row, target) = would["arrays"]
    assert (row["runs"], row["at_once"]) == (4, 4) and target["names"].startswith("target-d")
    assert sum(row["runs"] for row in would["cost"]) == 5
    gpu = profile != "cpu"
    assert {row["device"] for row in would["cost"]} == {"gpu" if gpu else "core"}
    assert all(("price" in row) == gpu for row in would["cost"])
    assert ("--gpus-per-node=8" in would["scripts"]["ladder-0"]) == gpu
    assert main([*map(str, words)]) == 0
    shown = capsys.readouterr().out
    assert "#SBATCH --array=0-0%1" in shown and "ladder-0: 1 job(s) hold" in shown
    assert not (tmp_path / "runs").exists()


def dry(capsys: pytest.CaptureFixture[str], sweep: Path, profile: Path) -> dict[str, Any]:
    words = ("submit", sweep, "--profile", profile, "--dry-run", "--runs", sweep.parent / "runs")
    assert main([*map(str, words), "--json"]) == 0
    would: dict[str, Any] = json.loads(capsys.readouterr().out)
    return would


def test_hours_are_of_the_profiles_device_and_a_guess_is_called_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_ = (('device = "cpu"', ""), ('dtype = "float32"', ""), ("target_threads = 1", ""))
    sweep, profile = write_sweep(tmp_path, *open_), tmp_path / "mine.toml"
    gpu = '[execution]\ndevice = "cuda"\ndtype = "bfloat16"\nattention = "sdpa"\n'
    gpu += '[price]\ngpu_hour = 3\ncurrency = "EUR"\n'
    profile.write_text("[ladder]\ncpus = 8\ngpus = 1\n" + gpu)
    would = dry(capsys, sweep, profile)
    assert would["speed"] == GUESS and "speed: default: a guess" in would["problems"][0]
    target = next(row for row in would["cost"] if row["role"] == "target")
    planned = preview(sweep, tmp_path / "runs")[1].target  # as if for the CPU
    at_guess = CUDA.seconds(planned.flops, width=planned.shape.width, steps=planned.steps)
    assert target["hours"] == pytest.approx(at_guess / 3600)  # eight cores make no GPU faster
    held = sum(hours["gpu"] for hours in would["allocated"].values() if "gpu" in hours)
    assert would["total"] == {"gpu": pytest.approx(held), "price": pytest.approx(3 * held)}
    profile.write_text("[ladder]\ncpus = 2\n")
    would = dry(capsys, sweep, profile)
    assert would["speed"] == CPU.source and would["problems"] == []


def test_a_dry_run_says_the_same_hours_of_the_target_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, profile = write_sweep(tmp_path, ("target_threads = 1", "")), tmp_path / "mine.toml"
    profile.write_text('[ladder]\ncpus = 2\n[service]\ntime = "0:15:00"\n')
    would = dry(capsys, sweep, profile)
    (target,) = (row["hours"] for row in would["cost"] if row["role"] == "target")
    assert would["allocated"]["target-0"]["core"] == pytest.approx(target)
    assert would["allocated"]["seal"] == would["allocated"]["report"] == {"core": 0.25}
    held = would["allocated"]["ladder-0"]["core"] + target
    assert would["total"] == {"core": pytest.approx(held)}
    assert main(["submit", str(sweep), "--profile", str(profile), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"total: {held:.3g} core-hours, beside seal and report (speed: default: MoE" in shown
    assert "seal: at most 0.25 core-hours, its time limit" in shown


def test_a_dry_run_refuses_what_the_submission_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path)  # asks for the cpu
    words = ("submit", sweep, "--profile", "one-node-8-gpu", "--dry-run")
    status, what, remedy = told(capsys, *words)
    assert status == 2 and "device = 'cpu'" in what and "make them agree" in remedy


def test_what_slurm_refuses_is_told_by_the_dry_run_and_before_the_data_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    slurm = fake_slurm(tmp_path, monkeypatch)
    slurm.object("sbatch: error: invalid partition specified: nope")
    sweep, profile = write_sweep(tmp_path), tmp_path / "mine.toml"
    profile.write_text('partition = "nope"\n[ladder]\ncpus = 1\n')
    (problem,) = dry(capsys, sweep, profile)["problems"]
    assert "[ladder] and [target] and [service]: invalid partition specified: nope" in problem
    runs = tmp_path / "runs"
    status, what, remedy = told(capsys, "submit", sweep, "--profile", profile, "--runs", runs)
    assert status == 1 and "invalid partition specified" in what and "the profile" in remedy
    assert not list(runs.glob("data/*")) and slurm.calls("sbatch") == []


FROZEN_CPU = Execution(device="cpu", dtype="float32", attention="eager")
FROZEN_GPU = Execution(device="cuda", dtype="bfloat16", attention="flash")
OPEN = '[execution]\ndevice = "cuda"\ndtype = "bfloat16"\nattention = "flash"\n'


@pytest.mark.parametrize(
    ("frozen", "jobs", "dtype", "what"),
    [
        (FROZEN_CPU, "gpus = 1\n" + OPEN, "auto", "[execution] asks for device = 'cuda', and "),
        (FROZEN_CPU, "gpus = 1\n", "auto", "jobs hold GPUs, and the runs are for the CPU"),
        (FROZEN_GPU, "gpus = 1\n" + OPEN, "float32", "the sweep asks for dtype = 'float32', and "),
        (FROZEN_CPU, "", "bfloat16", "the sweep asks for dtype = 'bfloat16', and "),
        (
            replace(FROZEN_GPU, attention="sdpa"),
            "gpus = 1\n" + OPEN,
            "auto",
            "[execution] asks for attention = 'flash', and ",
        ),
        (FROZEN_GPU, "gpus = 1\n" + OPEN, "auto", ""),
        (FROZEN_GPU, "gpus = 1\n", "bfloat16", ""),
        (FROZEN_CPU, "", "auto", ""),
    ],
)
def test_what_an_earlier_submit_froze_is_not_passed_over(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    frozen: Execution,
    jobs: str,
    dtype: str,
    what: str,
) -> None:
    profile, folder = tmp_path / "own.toml", tmp_path / "runs" / NAME
    profile.write_text(f"[ladder]\ncpus = 4\n{jobs}")
    folder.mkdir(parents=True)
    for name in EXECUTION_NAMES.values():
        (folder / name).write_text(json.dumps(to_json(frozen)))
    sweep = write_sweep(tmp_path, ('device = "cpu"', ""), ('"float32"', f'"{dtype}"'))
    words = ("submit", sweep, "--profile", profile, "--dry-run", "--runs", tmp_path / "runs")
    if not what:
        assert main([*map(str, words)]) == 0
        return
    status, said, remedy = told(capsys, *words)
    assert status == 2 and what in said and "--runs" in remedy
    assert "execution.json has frozen" in said or "for the CPU" in said


@pytest.mark.parametrize("name", ["p%j", "a\nb", "back\\slash"])
def test_a_path_that_slurm_would_read_as_a_pattern_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words = ("submit", write_sweep(tmp_path), "--profile", "cpu", "--runs", tmp_path / name)
    status, what, remedy = told(capsys, *words, "--dry-run")
    assert status == 2 and "as patterns" in what and "--runs" in remedy
    assert not (tmp_path / name).exists()


def test_submit_needs_a_cluster_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path)
    status, what, remedy = told(capsys, "submit", sweep, "--profile", "cpu")
    assert status == 1 and "sbatch is not installed" in what and "--dry-run" in remedy
    status, what, remedy = told(capsys, "submit", sweep, "--profile", "mine")
    assert status == 2 and "mine: no such profile" in what and "cpu" in remedy
    status, what, _ = told(capsys, "submit", sweep)
    assert status == 2 and "--profile" in what


def test_following_ends_with_a_run_that_failed_and_tells_programs_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, folder = write_sweep(tmp_path), tmp_path / "runs" / NAME
    planned = preview(sweep, tmp_path / "runs")[1]
    home = folder / ("f" * 16)
    home.mkdir(parents=True)
    save_plan(replace(planned, runs=(replace(planned.runs[0], run_id=home.name),)), folder)
    (home / "log.txt").write_text("start at step 0\n")
    (home / "failed.json").write_text('{"message": "no memory"}')
    assert main(["logs", "-f", "--json", str(home)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"file": str(home / "log.txt"), "line": "start at step 0"}
    assert main(["status", "--watch", str(folder)]) == 0
    assert "no memory" in capsys.readouterr().out


@pytest.mark.slow
def test_runs_are_found_by_name_or_id_and_local_ones_have_no_job(
    own: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "r02-d16-s0"
    assert main(["logs", name, "--runs", str(own.runs)]) == 0
    by_name = capsys.readouterr().out
    home = next(path for path in own.folder.iterdir() if f"/{path.name}/log.txt" in by_name)
    assert "start at step 0" in by_name and main(["logs", str(home)]) == 0
    assert capsys.readouterr().out == by_name
    assert main(["logs", f"{own.folder.name}/{name}", "--runs", str(own.runs)]) == 0
    assert capsys.readouterr().out == by_name
    status, what, _ = told(capsys, "cancel", f"other/{name}", "--runs", own.runs)
    assert status == 2 and f"other/{name}: no such run" in what  # though another sweep has one
    status, what, remedy = told(capsys, "logs", "r99", "--runs", own.runs)
    assert status == 2 and "r99: no such run" in what and "status" in remedy
    status, what, remedy = told(capsys, "cancel", own.folder / name)
    assert status == 1 and "nothing of it was submitted" in what and "Ctrl-C" in remedy
    assert told(capsys, "cancel", "--all", own.folder)[0] == 1
