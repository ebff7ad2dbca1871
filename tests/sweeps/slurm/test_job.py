"""Inside an allocation, with workers that only pretend: who is trained, noted, requeued, left."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sweeps.layout import FAILED_NAME, run_folder
from sweeps.lock import hold
from sweeps.slurm import attempts, job, logs
from sweeps.slurm.cancel import mark
from sweeps.slurm.job import Allocation, serve
from sweeps.slurm.logs import read_logs
from sweeps.slurm.profile import Profile
from tests.sweeps.slurm.conftest import Allocated
from tests.sweeps.slurm.fake import FakeSlurm

pytest.importorskip("submitit")


def test_all_runs_are_trained_and_noted_and_a_second_start_finds_them_done(
    allocated: Allocated, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(allocated.place, "ladder-0") == 0
    for number in range(3):
        (one,) = attempts.read(allocated.home(number))
        assert (one.job, one.node, one.submission, one.how) == ("7_0", "n1", 1, "done")
    assert "3 done, 0 failed" in capsys.readouterr().out
    assert serve(allocated.place, "ladder-0") == 0
    assert len(attempts.read(allocated.home(0))) == 1 and slurm.calls("scontrol") == []


def test_near_the_limit_the_runs_are_saved_and_the_job_requeued(
    allocated: Allocated, slurm: FakeSlurm
) -> None:
    allocated.behave("hang")
    assert allocated.serve_until_signalled(signal.SIGUSR2) != 0
    assert slurm.calls("scontrol") == [["requeue", "7_0"]]
    begun = [number for number in range(3) if attempts.read(allocated.home(number))]
    assert len(begun) == 2  # the job has two slots
    for number in begun:
        assert attempts.saved_step(allocated.home(number)) == 7
        (one,) = attempts.read(allocated.home(number))
        assert (one.how, one.why) == ("stopped", "time limit")
    allocated.behave("train")
    assert serve(allocated.place, "ladder-0") == 0
    assert [a.step for a in attempts.read(allocated.home(begun[0]))] == [0, 7]


def test_a_job_that_is_done_when_it_is_signalled_does_not_come_back(
    allocated: Allocated, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = job.Pool.stop

    def last_moment(pool: job.Pool, *, now: bool) -> None:
        stop(pool, now=now)
        for run in allocated.plan.ladder:  # they finished what they had
            home = run_folder(allocated.folder, str(run.run_id))
            home.mkdir(exist_ok=True)
            (home / "result.json").write_text((allocated.stage / f"{run.run_id}.json").read_text())

    monkeypatch.setattr(job.Pool, "stop", last_moment)
    allocated.behave("hang")
    assert allocated.serve_until_signalled(signal.SIGUSR2) == 0
    assert slurm.calls("scontrol") == []


@pytest.mark.parametrize(
    ("state", "asks"),
    [
        ("JobState=CANCELLED PreemptEligibleTime=2026-11-22T21:30:01 PreemptTime=None", []),
        ("JobState=RUNNING PreemptTime=2026-11-22T21:30:08", [["requeue", "7_0"]]),
        ("JobState=PENDING PreemptTime=2026-11-22T21:30:08", []),
    ],
    ids=("cancelled", "preempted, in its grace time", "preempted and requeued"),
)
def test_a_terminated_job_saves_and_comes_back_where_it_was_preempted(
    allocated: Allocated, slurm: FakeSlurm, state: str, asks: list[list[str]]
) -> None:
    slurm.answer("scontrol", state)
    allocated.behave("hang")
    assert allocated.serve_until_signalled(signal.SIGTERM) != 0
    assert slurm.calls("scontrol") == [["show", "job", "7_0"], *asks]
    assert [attempts.saved_step(allocated.home(number)) for number in range(3)].count(7) == 2


def test_when_a_killed_start_ended_is_noted_before_the_next(allocated: Allocated) -> None:
    home, written = allocated.home(0), allocated.home(0) / "metrics.jsonl"
    attempts.begin(home, submission=1, job="7_0", node="n1", devices=1, log=Path("0.log"))
    written.write_text("")
    os.utime(written, (2e9, 2e9))
    assert serve(allocated.place, "ladder-0") == 0
    first, second = attempts.read(home)
    assert (first.ended, first.how, second.how) == (2e9, "", "done")


def test_a_full_disk_stops_all_runs_of_the_job_and_what_can_be_saved_is(
    allocated: Allocated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = attempts.begin

    def full(home: Path, **about: Any) -> None:
        if list(allocated.folder.glob("*/attempts.jsonl")):
            while not list(allocated.stage.glob("hanging-*")):
                time.sleep(0.02)  # until the first worker would save
            raise OSError(errno.ENOSPC, "No space left on device")
        begin(home, **about)

    monkeypatch.setattr(attempts, "begin", full)
    allocated.behave("hang")
    assert serve(allocated.place, "ladder-0") == 1
    assert "No space left on device: all runs are stopped" in capsys.readouterr().out
    assert 7 in [attempts.saved_step(allocated.home(number)) for number in range(3)]


def test_restarts_without_progress_are_capped(
    allocated: Allocated, profile: Profile, capsys: pytest.CaptureFixture[str]
) -> None:
    allocated.behave("die")
    assert serve(allocated.place, "ladder-0") == 1
    for number in range(3):
        assert len(attempts.read(allocated.home(number))) == profile.stalls
        assert "from step 0 without progress" in (allocated.home(number) / FAILED_NAME).read_text()
    assert "0 done, 3 failed" in capsys.readouterr().out


def test_a_cancelled_run_is_left_and_the_others_go_on(allocated: Allocated) -> None:
    mark(allocated.home(1))
    assert serve(allocated.place, "ladder-0") == 1
    assert attempts.read(allocated.home(1)) == []
    assert [(allocated.home(n) / "result.json").exists() for n in range(3)] == [True, False, True]


def test_a_run_that_is_cancelled_while_it_trains_is_saved(allocated: Allocated) -> None:
    allocated.behave("hang")

    def cancel() -> None:
        while len(list(allocated.stage.glob("hanging-*"))) < 2:
            time.sleep(0.02)
        allocated.behave("train")
        for number in range(3):
            mark(allocated.home(number))

    threading.Thread(target=cancel, daemon=True).start()
    assert serve(allocated.place, "ladder-0") == 1
    assert sorted(attempts.saved_step(allocated.home(n)) for n in range(3)) == [0, 7, 7]


def test_a_run_that_another_trains_is_named_and_waited_for_and_then_left_to_the_chain(
    allocated: Allocated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "HELD_SECONDS", 1.0)
    held, freed = threading.Event(), threading.Event()

    def train() -> None:
        with hold(allocated.home(1), "lock"):
            held.set()
            freed.wait(20)

    other = threading.Thread(target=train)
    other.start()
    held.wait()
    try:
        assert serve(allocated.place, "ladder-0") == 1
    finally:
        freed.set()
        other.join()
    name, out = allocated.plan.ladder[1].name, capsys.readouterr().out
    assert out.count(f"{name}: locked being worked on by pid {os.getpid()} on ") == 1
    assert f"{name}: left being worked on by pid" in out and "2 done, 0 failed, 1 left" in out
    assert attempts.read(allocated.home(1)) == []


def test_each_worker_sees_one_gpu_of_the_allocation(
    allocated: Allocated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert serve(allocated.place, "ladder-0") == 0
    seen = {path.read_text() for path in allocated.stage.glob("gpu-*")}
    assert seen <= {"4", "5"} and len(list(allocated.stage.glob("gpu-*"))) == 3


def test_logs_gather_what_lies_about_a_run(
    allocated: Allocated, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocated.behave("die")
    serve(allocated.place, "ladder-0")
    run, other = allocated.plan.ladder[0], allocated.plan.ladder[1].name
    (allocated.home(0) / "log.txt").write_text("start at step 0\n")
    jobs = allocated.place / "jobs"
    (jobs / "7_0_0_log.out").write_text(f"x {run.name}: started\nx {other}: started\nsrun: no\n")
    (jobs / "7_0_2_log.out").write_text("srun: of rank 2\n")
    (allocated.place / "workers" / "ladder-0-0" / "rank-2.log").write_text("too few cores\n")
    (jobs / "7_1_0_log.out").write_text("of another job\n")
    lines = [line for _, line in read_logs(allocated.folder, run)]
    assert {"srun: of rank 2", "too few cores"} <= set(lines) and "of another job" not in lines
    assert "start at step 0" in lines and "no memory left" in lines
    assert {f"x {run.name}: started", "srun: no"} <= set(lines)
    assert f"x {other}: started" not in lines
    monkeypatch.setattr(logs, "LOOK_SECONDS", 0.0)
    answers = iter([True, False])
    followed = [line for _, line in read_logs(allocated.folder, run, follow=lambda: next(answers))]
    assert followed == lines  # each line once


def test_outside_of_a_job_there_is_nothing_to_read() -> None:
    with pytest.raises(ValueError, match="SLURM_JOB_ID is not set"):
        Allocation.read({})
    single = Allocation.read({"SLURM_JOB_ID": "12", "CUDA_VISIBLE_DEVICES": "0,1"})
    assert (single.job_id, single.index, single.gpus) == ("12", 0, ("0", "1"))
