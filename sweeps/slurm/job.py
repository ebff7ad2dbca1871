"""What a training job does; its words are FOLDER LABEL.

FOLDER is the submission's, LABEL the array's. The runs of this array index are trained, as many at
once as the allocation holds. Asked to end, the workers save (sweeps/slurm/turns.py says when that
is, and how the job comes back). The exit status is 0 only where every run of the job is done.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.training.result import load_result
from sweeps.layout import PLAN_NAME, run_folder
from sweeps.planned import PlannedRun, load_runs
from sweeps.pool import Event, Place, Pool
from sweeps.run_files import standing
from sweeps.slurm import attempts
from sweeps.slurm.arrays import execution_of, run_devices
from sweeps.slurm.cancel import is_marked
from sweeps.slurm.ranks import Rank, become_worker
from sweeps.slurm.submission import WORKERS_FOLDER, Job, Submission, load_submission
from sweeps.slurm.turns import Asked, begun, own_job, say

SHOWN_SECONDS = 30.0  # between two lines of a run's progress in the job's log
# With nothing left but runs that others train; then the chain decides. Less than ranks wait for the
# first (model/training/ranks.py: JOIN), which starts no worker while another holds the run.
HELD_SECONDS = 180.0
OPEN = ("waiting", "interrupted", "running")  # states of a run that has no end yet
END_SECONDS = 5.0  # of the grace, left for the requeue


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What Slurm gave to this process."""

    job_id: str  # with the array index
    index: int
    node: str
    gpus: tuple[str, ...]  # as CUDA_VISIBLE_DEVICES names them
    rank: Rank
    restarts: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Allocation:
        """From Slurm's variables; ValueError outside of a job."""
        visible = environment.get("CUDA_VISIBLE_DEVICES", "")
        return cls(
            job_id=own_job(environment),
            index=int(environment.get("SLURM_ARRAY_TASK_ID", "0")),
            node=environment.get("SLURMD_NODENAME") or socket.gethostname(),
            gpus=tuple(name for name in visible.split(",") if name),
            rank=Rank.read(environment),
            restarts=int(environment.get("SLURM_RESTART_COUNT", "0")),
        )


class Work:
    """The runs of one job, and what is noted of them."""

    def __init__(self, place: Path, submission: Submission, job: Job, given: Allocation) -> None:
        self.folder = place.parents[1]
        self._submission, self._job, self._given = submission, job, given
        self._logs = place / WORKERS_FOLDER / f"{job.label}-{given.index}"
        self._shown: dict[str, float] = {}
        self._at_work: dict[str, Path] = {}  # folders of the runs that this job has started
        self.broken = False  # a process of several that train one run has died
        self.runs = load_runs(place / PLAN_NAME, job.tasks[given.index])

    def pool(self, ledger_head: str | None) -> Pool:
        """The workers, told of this allocation."""
        grace = self._submission.profile.signal_seconds - END_SECONDS
        place = Place(
            folder=self.folder,
            data_folder=Path(self._submission.data_folder),
            logs=self._logs,
            ledger_head=ledger_head,
            retries=sys.maxsize,  # `_stalled` counts over all jobs
            grace=max(grace, END_SECONDS),
            listen=self._note,
            unwanted=self._unwanted,
            refuses=self._stalled,
            settings=self._settings,
            patience=HELD_SECONDS,
        )
        words = self._given.rank.words(os.environ)
        return Pool(dataclasses.replace(place, command=(*place.command, *words)))

    def follow(self) -> int:
        """Become the worker of a rank other than the first; returns only where all is done."""
        if all(load_result(self._home(run)) for run in self.runs):
            return 0
        given = self._given.rank
        become_worker(
            given.words(os.environ),
            threads=execution_of(self.runs[0]).threads,
            more=self._settings(0),
            log=self._logs / f"rank-{given.rank}.log",
        )

    def _home(self, run: PlannedRun) -> Path:
        return run_folder(self.folder, str(run.run_id))

    def _settings(self, number: int) -> tuple[str, ...]:
        gpus, place = self._given.gpus, self._given.rank.local + number
        return (f"CUDA_VISIBLE_DEVICES={gpus[place % len(gpus)]}",) if gpus else ()

    def _unwanted(self, run: PlannedRun) -> str:
        if self.broken:
            return "its other processes end with it"
        return "cancelled" if is_marked(self._home(run)) else ""

    def _stalled(self, run: PlannedRun) -> str:
        most = self._submission.profile.stalls
        if attempts.stalled(self._home(run), self._submission.number) < most:
            return ""
        step = attempts.saved_step(self._home(run))
        return f"given up after {most} starts from step {step} without progress"

    def _note(self, event: Event) -> None:
        home, name = self._home(event.run), event.run.name
        if event.kind == "progress":
            last = self._shown.get(name, 0.0)
            if time.monotonic() - last > SHOWN_SECONDS:
                self._shown[name] = time.monotonic()
                loss = "" if event.loss is None else f", loss {event.loss:.4f}"
                say(f"{name}: step {event.step} of {event.run.steps}{loss}")
            return
        loss = "" if event.loss is None else f", loss {event.loss:.4f}"
        say(f"{name}: {event.kind}{loss} {event.message}".rstrip())
        if event.kind == "started":
            begun.set()
            self._at_work[name] = home
            attempts.begin(
                home,
                submission=self._submission.number,
                job=self._given.job_id,
                node=self._given.node,
                devices=run_devices(execution_of(event.run), self._job.resources),
                log=self._logs / f"{event.worker}.log",
            )
        elif event.kind == "retried" and self._given.rank.size > 1:
            self.broken = True  # a new worker would wait for the others in vain
        elif self._at_work.pop(name, None):
            attempts.end(home, event.kind)

    def end_killed(self) -> None:
        """Note when earlier starts of the runs ended that no process is left to tell of."""
        for run in self.runs:
            attempts.end_killed(self._home(run))

    def stopped(self, why: str) -> None:
        """Note that the runs at hand were stopped with the job."""
        for home in self._at_work.values():
            attempts.end(home, "stopped", why)

    def is_open(self, run: PlannedRun) -> bool:
        """Whether the run has no end yet, and is wanted."""
        return standing(self._home(run)).state in OPEN and not is_marked(self._home(run))

    @property
    def status(self) -> int:
        """The exit status of the job: 0 where every run is done."""
        states = {standing(self._home(run)).state for run in self.runs}
        return 0 if states <= {"finished", "diverged"} else 1


def serve(place: Path, label: str, *, ledger_head: str | None = None) -> int:
    """Train the runs of this array index; the exit status of the job. Passes Asked on."""
    place = place.resolve()
    submission, given = load_submission(place), Allocation.read(os.environ)
    job = submission.job(label)
    if given.rank.size != job.resources.tasks:
        raise ValueError(f"{label} has {given.rank.size} tasks, not {job.resources.tasks}")
    work = Work(place, submission, job, given)
    if given.rank.rank:
        return work.follow()
    say(f"job {given.job_id} on {given.node}, start {given.restarts + 1}: {len(work.runs)} run(s)")
    work.end_killed()
    pool = work.pool(ledger_head)
    try:
        pool.add(work.runs)
        pool.train(min(job.slots, len(work.runs)))
        pool.stop(now=False)
    except Asked as asked:
        say("asked to end: saving")
        pool.stop(now=True)
        work.stopped(attempts.TIME_LIMIT if asked.requeue else attempts.PREEMPTED)
        if any(map(work.is_open, work.runs)):
            raise
        say("nothing is left to do")
        return work.status
    except OSError as error:  # as a rule a full disk, which the other runs need too
        say(f"error: {error}: all runs are stopped")
        pool.stop(now=True)
        return 1
    if work.broken and not pool.failed:
        say("a process of the run has died: all begin anew from its checkpoint")
        raise Asked(requeue=True)  # `_stalled` counts
    say(f"{len(pool.done)} done, {len(pool.failed)} failed, {len(pool.left)} left")
    return work.status


def main() -> int:
    """`FOLDER LABEL` on the command line."""
    place, label = sys.argv[1:]
    return serve(Path(place), label)
