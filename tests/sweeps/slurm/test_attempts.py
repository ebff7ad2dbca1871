"""Starts of a run: hours used, and restarts without progress."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sweeps.slurm import attempts


def start(home: Path, time: float, *, submission: int = 1, step: int = 0, devices: int = 1) -> None:
    """A line as `begin` writes it, at a time of our choice."""
    about = {"submission": submission, "job": "7_0", "node": "n1", "devices": devices}
    line = {"begin": {**about, "step": step, "log": "w.log", "time": time}}
    home.mkdir(parents=True, exist_ok=True)
    with (home / attempts.ATTEMPTS_NAME).open("a") as file:
        file.write(json.dumps(line) + "\n")


def over(home: Path, time: float) -> None:
    with (home / attempts.ATTEMPTS_NAME).open("a") as file:
        file.write(json.dumps({"end": {"how": "stopped", "time": time}}) + "\n")


def checkpoint(home: Path, step: int) -> None:
    (home / "checkpoints" / f"step-{step:010d}").mkdir(parents=True)


def test_begin_and_end_are_read_back_with_the_step_that_was_saved(tmp_path: Path) -> None:
    assert attempts.read(tmp_path) == [] and attempts.device_hours(tmp_path, []) is None
    checkpoint(tmp_path, 40)
    (tmp_path / "checkpoints" / ".step-0000000050.9.tmp").mkdir()
    log = tmp_path / "0.log"
    attempts.begin(tmp_path, submission=2, job="7_1", node="n1", devices=1, log=log)
    (one,) = attempts.read(tmp_path)
    assert (one.submission, one.job, one.step, one.ended) == (2, "7_1", 40, None)
    attempts.end(tmp_path, "done")
    (one,) = attempts.read(tmp_path)
    assert one.how == "done" and one.ended is not None and one.ended >= one.begun
    with (tmp_path / attempts.ATTEMPTS_NAME).open("a") as file:
        file.write('{"begin": {"torn')
    assert attempts.read(tmp_path) == [one]


def test_only_starts_from_where_it_stands_count_as_stalled(tmp_path: Path) -> None:
    for step in (0, 0, 30, 30):
        start(tmp_path, 100.0, step=step)
    assert attempts.stalled(tmp_path, 1) == 0  # no checkpoint left: it stands at 0 again
    checkpoint(tmp_path, 30)
    assert attempts.stalled(tmp_path, 1) == 2
    assert attempts.stalled(tmp_path, 2) == 0  # a new submission begins a new count
    start(tmp_path, 100.0, step=30)
    attempts.end(tmp_path, "locked")  # that was no start
    assert attempts.stalled(tmp_path, 1) == 2
    start(tmp_path, 100.0, step=30)
    attempts.end(tmp_path, "stopped", attempts.PREEMPTED)  # nor was that the run's fault
    assert attempts.stalled(tmp_path, 1) == 2
    checkpoint(tmp_path, 31)
    assert attempts.stalled(tmp_path, 1) == 0


def test_the_queue_wait_after_a_killed_start_is_not_counted(tmp_path: Path) -> None:
    start(tmp_path, 1000.0)
    beat = tmp_path / "heartbeat.json"
    beat.write_text("")
    os.utime(beat, (2800.0, 2800.0))
    attempts.end_killed(tmp_path)
    attempts.end_killed(tmp_path)  # once
    start(tmp_path, 20_000.0)
    over(tmp_path, 21_800.0)
    os.utime(beat, (21_800.0, 21_800.0))  # of the second start
    found = attempts.read(tmp_path)
    assert (found[0].ended, found[0].how) == (2800.0, "")
    assert attempts.device_hours(tmp_path, found) == pytest.approx(1.0)
    attempts.end_killed(tmp_path)
    assert attempts.read(tmp_path) == found  # the second was not killed


def test_a_killed_start_lasted_until_the_last_sign_of_life(tmp_path: Path) -> None:
    start(tmp_path, 1000.0, devices=2)
    over(tmp_path, 2800.0)  # half an hour on two devices
    start(tmp_path, 10_000.0)  # killed: the next start is the limit
    start(tmp_path, 11_800.0)  # killed too
    (tmp_path / "metrics.jsonl").write_text("")
    os.utime(tmp_path / "metrics.jsonl", (13_600.0, 13_600.0))
    found = attempts.read(tmp_path)
    assert attempts.device_hours(tmp_path, found) == pytest.approx(1.0 + 0.5 + 0.5)
