"""Signals from a job's first line on, and a controller that does not answer at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.slurm import turns
from sweeps.slurm.turns import Asked, attend
from tests.sweeps.slurm.fake import FakeSlurm

ROOT = Path(__file__).resolve().parents[3]
# A module that takes its time to be imported, as those of the jobs do.
SLOW = """
import time
from pathlib import Path
Path(__file__).with_suffix(".importing").touch()
time.sleep({seconds})
def main():
    return 5
"""
ARRAY = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
PREEMPTED = "JobState=RUNNING PreemptTime=2026-11-22T21:30:08"
HANDLED = 128 + signal.SIGTERM


def signalled(tmp_path: Path, number: int, seconds: float, **environment: str) -> int:
    """The status of a job that gets a signal while its module is imported."""
    (tmp_path / "slow.py").write_text(SLOW.format(seconds=seconds))
    about = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "SLURM_JOB_ID": "9", **environment}
    command = [sys.executable, "-m", "sweeps.slurm.entry", "slow"]
    with subprocess.Popen(command, env=about, stdout=subprocess.DEVNULL) as process:
        while not (tmp_path / "slow.importing").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_training_job_comes_back_from_the_middle_of_its_imports(
    tmp_path: Path, slurm: FakeSlurm, number: int
) -> None:
    slurm.answer("scontrol", PREEMPTED)
    assert signalled(tmp_path, number, 60.0, **ARRAY) == HANDLED
    asked = [["show", "job", "7_0"]] if number == signal.SIGTERM else []
    assert slurm.calls("scontrol") == [*asked, ["requeue", "7_0"]]


def test_turns_in_which_no_run_starts_are_not_repeated_for_ever(
    tmp_path: Path, slurm: FakeSlurm
) -> None:
    often = {**ARRAY, "SLURM_RESTART_COUNT": str(turns.IDLE_TURNS)}
    assert signalled(tmp_path, signal.SIGUSR2, 60.0, **often) == 1
    assert slurm.calls("scontrol") == []
    slurm.answer("scontrol", PREEMPTED)  # that is no turn of its own
    (tmp_path / "slow.importing").unlink()
    assert signalled(tmp_path, signal.SIGTERM, 60.0, **often) == HANDLED


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
@pytest.mark.parametrize("rank", ["chain", "3"])
def test_the_chain_and_other_ranks_go_on(
    tmp_path: Path, slurm: FakeSlurm, number: int, rank: str
) -> None:
    about = {} if rank == "chain" else {**ARRAY, "SLURM_PROCID": rank}
    assert signalled(tmp_path, number, 0.3, **about) == 5
    assert slurm.calls("scontrol") == []


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a job; a silent controller is asked again soon."""
    for name, value in ARRAY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(turns, "AGAIN_SECONDS", 0.05)
    before = {each: signal.getsignal(each) for each in turns.SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def ask(requeue: bool) -> int:
    raise Asked(requeue)


@pytest.mark.parametrize("requeue", [True, False])
def test_a_controller_that_restarts_is_asked_again(
    own: None, slurm: FakeSlurm, requeue: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.silence("scontrol")
    threading.Timer(0.5, slurm.answer, ("scontrol", PREEMPTED)).start()
    assert attend(lambda: ask(requeue)) == HANDLED
    calls = slurm.calls("scontrol")
    assert calls[-1] == ["requeue", "7_0"] and len(calls) > 2
    assert "Unable to contact slurm controller; asked again" in capsys.readouterr().out


def test_a_controller_that_hangs_is_asked_again_and_not_for_ever(
    own: None, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (slurm.place / "scontrol").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(turns, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(turns, "PATIENCE", 0.3)
    assert attend(lambda: ask(True)) == HANDLED
    out = capsys.readouterr().out
    assert "asked again" in out and "`workbench submit` again goes on" in out
