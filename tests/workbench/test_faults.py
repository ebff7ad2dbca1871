"""Faults at the command line: one line of what and where, one of what to do, nothing done lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeps.layout import run_folder
from sweeps.planned import load_plan
from sweeps.table import collect
from tests.workbench.tiny import Finished, started, two_lines, wait_for, workbench, write_sweep
from workbench import ledger
from workbench.cli import main

pytestmark = pytest.mark.slow


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder but locks, logs, clocks and what `run` always writes anew."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    moving = ("lock", "log", "wall.json", "report.json", "report.pdf", "plan.json", "sweep.json")
    return {str(p): p.read_bytes() for p in files if not p.name.endswith(moving)}


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """The exit status of a command in this process, and its two lines."""
    capsys.readouterr()
    status = main([*map(str, words)])
    captured = capsys.readouterr()
    assert captured.out == ""
    return (status, *two_lines(captured.err))


def losses(folder: Path) -> dict[str, float]:
    return dict(zip(*(collect(folder)[name] for name in ("run_id", "loss")), strict=True))


def ladder_run(of: Finished, place: int = 0) -> Path:
    return run_folder(of.folder, str(load_plan(of.folder).ladder[place].run_id))


@pytest.mark.parametrize(
    ("change", "named", "remedy"),
    [
        (("ratios = [3, 30]", "ratio = [3, 30]"), "unknown key 'ladder.ratio'", "documents"),
        (("vocab = 320", 'vocab = "320"'), "'data.vocab' must be a whole number", "documents"),
        (("[loss]", "[loss"), "not valid TOML", "correct"),
        (
            ("[1.6e8, 2.4e8, 1.2e9]", "[1e6, 2.4e8, 1.2e9]"),
            "budget 1e+06 FLOPs is too small",
            "raise",
        ),
        (('text = "books"', 'text = "nowhere/"'), "nowhere", "existing path"),
    ],
    ids=("unknown key", "wrong type", "no TOML", "small budget", "missing corpus"),
)
def test_bad_sweep_file_is_refused_before_anything_is_made(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    named: str,
    remedy: str,
) -> None:
    path, runs = write_sweep(tmp_path, change), tmp_path / "runs"
    for command in ("plan", "run"):
        status, what, do = told(capsys, command, path, "--runs", runs)
        assert status == 2
        assert what.startswith(f"{path}: ") and named in what
        assert remedy in do
    assert not list(runs.rglob("*.json")) and not list(runs.rglob("*.npy"))


def test_bad_change_of_a_trained_sweep_loses_nothing(
    own: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(own.runs)
    changed = write_sweep(tmp_path, ("budgets = [", "budgets = [1e6, "))
    assert told(capsys, "run", changed, "--runs", own.runs)[0] == 2
    assert contents(own.runs) == before
    missing = tmp_path / "absent.toml"
    status, what, _ = told(capsys, "run", missing, "--runs", own.runs)
    assert status == 2 and what.startswith(f"{missing}: cannot be read")


def test_corrupted_checkpoint_is_named_and_costs_steps_not_the_result(
    own: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    before, home = losses(own.folder), ladder_run(own)
    weights = next(home.glob("checkpoints/*/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-7] + b"rubbish")
    for place in (home, weights.parent):
        status, what, _ = told(capsys, "sample", place, "--prompt", "ab")
        assert status == 2 and f"{weights}: damaged" in what
    (home / "result.json").unlink()
    done = workbench("run", own.sweep, "--runs", own.runs)
    assert done.returncode == 0, done.stderr
    assert losses(own.folder) == before
    notes = json.loads((home / "result.json").read_text())["notes"]
    assert any(f"{weights}: damaged" in note for note in notes)


def test_corrupted_result_stops_the_sweep_and_is_restored_by_deleting_it(
    own: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    before, home = losses(own.folder), ladder_run(own, 1)
    path = home / "result.json"
    path.write_bytes(path.read_bytes()[:100])
    rest = contents(own.runs)
    status, what, remedy = told(capsys, "run", own.sweep, "--runs", own.runs)
    assert status == 2 and what.startswith(f"{path}: not valid JSON")
    assert remedy.startswith(f"delete {path}")
    assert contents(own.runs) == rest
    assert main(["collect", str(own.folder), "--json"]) == 0  # the others are read
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert str(path) in problem
    path.unlink()  # as it says
    done = workbench("run", own.sweep, "--runs", own.runs)
    assert done.returncode == 0, done.stderr
    assert losses(own.folder) == before
    assert json.loads(path.read_text())["seconds"]["train"] > 0


def test_second_run_at_the_same_time_is_refused(planned: Finished) -> None:
    words = ("run", planned.sweep, "--runs", planned.runs)
    with started(*words) as process:
        wait_for(lambda: list(planned.folder.glob("*/metrics.jsonl")), process)
        second = workbench(*words)
        assert process.poll() is None, "the first had ended: nothing was tested"
        assert second.returncode == 1
        what, remedy = two_lines(second.stderr)
        assert str(planned.folder) in what and f"pid {process.pid}" in what
        assert "stop it" in remedy
        done = len(list(planned.folder.glob("*/result.json")))
        wait_for(lambda: len(list(planned.folder.glob("*/result.json"))) > done, process)


def test_full_disk_in_this_process_names_the_place(
    own: Finished, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(own.runs)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, what, remedy = told(capsys, "run", own.sweep, "--runs", own.runs)
    assert status == 1
    assert what.startswith(str(own.runs)) and "no space left on device" in what
    assert "free some space" in remedy
    monkeypatch.undo()
    assert contents(own.runs) == before and not list(own.runs.rglob("*.tmp"))


@contextmanager
def small_disk(place: Path, size: str = "4m") -> Iterator[None]:
    """A file system of that size in memory; the test is skipped where it cannot be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("left", [0, 100_000], ids=("at once", "at the checkpoint"))
def test_full_disk_stops_the_target_and_goes_on_when_there_is_space(
    finished: Finished, tmp_path: Path, left: int
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk):
        runs = disk / "runs"
        shutil.copytree(finished.runs, runs)
        folder = runs / finished.folder.name
        target = run_folder(folder, str(load_plan(folder).target.run_id))
        shutil.rmtree(target)
        before, filler = contents(runs), disk / "filler"
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - left
        filler.write_bytes(b"x" * free)
        stopped = workbench("run", finished.sweep, "--runs", runs)
        assert stopped.returncode == 1
        what, remedy = two_lines(stopped.stderr)
        assert "no space left" in what and str(disk) in what
        assert "space" in remedy or "same command again" in remedy
        assert not (target / "result.json").exists()
        kept = contents(runs)
        assert {path: kept.get(path) for path in before} == before
        if not left:
            return  # going on from here is the other case
        filler.unlink()
        done = workbench("run", finished.sweep, "--runs", runs)
        assert done.returncode == 0, done.stderr
        assert losses(folder) == losses(finished.folder)


def edited(entries: list[dict[str, Any]]) -> None:
    """A better prediction after the fact; hashes and links are left as they were."""
    entries[0]["body"]["prediction"]["ratio_asked"] = 4.0


def backdated(entries: list[dict[str, Any]]) -> None:
    """The second seal a day older than the first, with every hash made good again."""
    entries[1]["time"] = _earlier(entries[1]["time"])
    _rehash(entries)


def written_anew(entries: list[dict[str, Any]]) -> None:
    """Everything a day older, in order and with every hash made good again."""
    for entry in entries:
        entry["time"] = _earlier(entry["time"])
    _rehash(entries)


def _earlier(time: str) -> str:
    before = datetime.strptime(time, ledger.TIME_FORMAT) - timedelta(days=1)
    return before.strftime(ledger.TIME_FORMAT)


def _rehash(entries: list[dict[str, Any]]) -> None:
    previous = ledger.GENESIS
    for entry in entries:
        entry["previous"] = previous
        entry["hash"] = previous = ledger._hash(ledger.Entry(**entry))


@pytest.mark.parametrize(
    ("forge", "named"),
    [(edited, "line 1: its hash"), (backdated, "back-dated"), (written_anew, "seal is broken")],
)
def test_forged_ledger_is_never_taken_for_a_seal(
    own: Finished,
    capsys: pytest.CaptureFixture[str],
    forge: Callable[[list[dict[str, Any]]], None],
    named: str,
) -> None:
    entries = [json.loads(line) for line in own.ledger.read_text().splitlines()]
    forge(entries)
    own.ledger.write_text("".join(ledger._canonical(entry) + "\n" for entry in entries))
    book, runs = own.ledger.read_bytes(), losses(own.folder)
    for words in (("run", own.sweep, "--runs", own.runs), ("report", own.folder)):
        status, what, remedy = told(capsys, *words)
        assert status == 1 and "broken" in what and "copy" in remedy
        assert named in what or words[0] == "report"
        assert str(own.runs) in what
    report = json.loads((own.folder / "report.json").read_text())
    assert report["sealed_before_target"] is False and report["seal"]["state"] == "broken"
    assert own.ledger.read_bytes() == book and losses(own.folder) == runs


def test_broken_ledger_stops_before_the_hours_of_training(
    planned: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    planned.ledger.write_text('{"schema":1}\n')
    status, what, remedy = told(capsys, "run", planned.sweep, "--runs", planned.runs)
    assert status == 1 and what.startswith(f"{planned.ledger} is broken: line 1")
    assert "copy" in remedy
    assert not list(planned.folder.glob("*/metrics.jsonl"))


def test_tables_survive_a_torn_line_of_metrics(
    own: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ladder_run(own)
    with (home / "metrics.jsonl").open("a") as file:
        file.write('{"kind":"train","st')
    before = pd.read_csv(own.folder / "curves.csv")
    assert main(["collect", str(own.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    pd.testing.assert_frame_equal(pd.read_csv(own.folder / "curves.csv"), before)
