"""Turns: how a job hears that its time is over, and how it comes back into the queue.

On SIGUSR2 (the time limit is near) a training job ends and asks to be requeued. On SIGTERM it asks
only where it is preempted, not cancelled: Slurm requeues what it preempts, but not a job that ends
before its grace time is over. Nothing heavy is imported here: signals come at any time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType

from sweeps.slurm.client import call

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
PATIENCE = 600.0  # seconds with a silent controller; as a rule the time limit comes before
ANSWER_SECONDS = 20.0
AGAIN_SECONDS = 5.0  # before it is asked again
IDLE_TURNS = 5  # after which a turn that started no run is the last


begun = threading.Event()  # set when a run starts in this turn


class Asked(BaseException):
    """The job is to end; `requeue`: and to come back."""

    def __init__(self, requeue: bool) -> None:
        super().__init__(requeue)
        self.requeue = requeue


def attend(work: Callable[[], int]) -> int:
    """The status of a training job's work, which is told by Asked, once, that it is to end."""
    try:
        _listen()
        status = work()
        ignore()
        return status
    except Asked as asked:
        ignore()
        job_id = own_job(os.environ)
        if asked.requeue and _is_idle():
            say(f"no run could start before the time limit, {IDLE_TURNS} turns or more: given up")
            return 1
        if asked.requeue or _is_preempted(job_id):
            say("saved: back into the queue")
            _scontrol("requeue", job_id)  # Slurm then ends this process
        return 128 + signal.SIGTERM


def ignore() -> None:
    """Hear no signal: Slurm requeues what is still there when its grace time is over."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def own_job(environment: Mapping[str, str]) -> str:
    """This job's id, with its array index; ValueError outside of a job."""
    if "SLURM_JOB_ID" not in environment:
        raise ValueError("not inside of a Slurm job: SLURM_JOB_ID is not set")
    index = environment.get("SLURM_ARRAY_TASK_ID")
    if index is None:
        return environment["SLURM_JOB_ID"]
    return f"{environment['SLURM_ARRAY_JOB_ID']}_{index}"


def say(text: str) -> None:
    """A line, with the time, in the job's log."""
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)


def _listen() -> None:
    def ask(number: int, frame: FrameType | None) -> None:
        ignore()
        raise Asked(requeue=number == signal.SIGUSR2)

    for each in SIGNALS:
        signal.signal(each, ask)


def _is_idle() -> bool:
    """Whether no run started in this turn, which is not one of the first."""
    return not begun.is_set() and int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= IDLE_TURNS


def _is_preempted(job_id: str) -> bool:
    """Whether the job is in the grace time that Slurm gives to what it preempts."""
    told = _scontrol("show", "job", job_id)
    return "JobState=RUNNING" in told and bool(re.search(r"\bPreemptTime=\d", told))


def _scontrol(*words: str) -> str:
    """What scontrol answers; asked again while the controller does not, as when it restarts."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            done = call("scontrol", *words, timeout=ANSWER_SECONDS)
            if done.returncode == 0:
                return done.stdout
            trouble = done.stderr.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            trouble = str(error)
        if time.monotonic() > end:
            say(f"scontrol {words[0]}: {trouble}; `workbench submit` again goes on")
            return ""
        say(f"scontrol {words[0]}: {trouble}; asked again in {AGAIN_SECONDS:g} s")
        time.sleep(AGAIN_SECONDS)
