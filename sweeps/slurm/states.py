"""How every run stands: its folder first; where it is not over, also what Slurm says of its job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.layout import run_folder
from sweeps.run_files import Standing, standing
from sweeps.slurm import attempts, chain
from sweeps.slurm.arrays import JobKind
from sweeps.slurm.attempts import CANCELLED_NAME, why_cancelled
from sweeps.slurm.query import JobState, Queue, ask
from sweeps.slurm.submission import Submission, Task, job_log, last_tasks, submissions
from sweeps.slurm.words import ENDED_BADLY, job_words, why_back

OVER = {"finished", "diverged", "corrupt"}
ENDING = "cancelled, and saving"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """How one run stands on the cluster."""

    state: str
    reason: str
    job: str  # Slurm's id of the job that it was last submitted in; empty: none
    log: str  # of that job, where it ended badly
    found: Standing

    @property
    def done(self) -> bool:
        """Whether it has its result, or a damaged one that a person must look at."""
        return self.found.state in OVER


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The submissions of a sweep and what became of them, as seen in one look."""

    submissions: tuple[tuple[Path, Submission], ...]  # the newest first
    tasks: Mapping[str, Task]  # where each run was last submitted
    queue: Queue
    runs: Mapping[str, RunState]

    def living(self, run_id: str) -> Task | None:
        """The task of the run that the queue holds, None where there is none."""
        task = self.tasks.get(run_id)
        state = self.queue.get(task.job.name, task.index) if task else None
        return task if state is not None and state.living else None

    def missing(self, run_id: str | None) -> bool:
        """Whether the run has no result and nobody in the queue who will make it."""
        if run_id is None:
            return True
        run = self.runs[run_id]
        if run.done:
            return False
        return run.state in ("failed", "cancelled") or self.living(run_id) is None

    def is_open(self, run_id: str) -> bool:
        """Whether the run has a job in the queue or a process that trains it, and no end."""
        run, task = self.runs[run_id], self.tasks.get(run_id)
        job = self.queue.get(task.job.name, task.index) if task else None
        if run.done or run.found.state == "failed":
            return False
        return run.state == "running" or (job is not None and job.queued)

    def ending(self, run_id: str) -> bool:
        """Whether a person cancelled the run, and its process still saves."""
        return self.runs[run_id].reason == ENDING

    def going(self, run_ids: Iterable[str]) -> bool:
        """Whether any of the runs may still change by itself: it runs, or is in the queue.

        Or a job of the chain is, which submits again what is missing; or Slurm does not answer.
        """
        open_runs = [run_id for run_id in run_ids if not self.runs[run_id].done]
        if not open_runs:
            return False
        if not self.queue.answered or self.chain("seal") or self.chain("report"):
            return True
        return any(self.runs[one].state == "running" or self.living(one) for one in open_runs)

    def reasons(self) -> list[str]:
        """Why runs wait, a reason a run."""
        return [run.reason for run in self.runs.values() if run.state == "pending"]

    def chain(self, kind: JobKind) -> str | None:
        """Slurm's id of the newest job of that kind, no array, that the queue holds."""
        for _, submission in self.submissions:
            for job in submission.jobs:
                state = self.queue.get(job.name, None) if job.kind == kind else None
                if state is not None and state.living:
                    return state.job_id
        return None

    def cancelled(self, submission: Submission) -> list[str]:
        """What of a submission a person cancelled: ids of runs, and labels of the chain's jobs."""
        runs = [
            run_id
            for run_id, run in self.runs.items()
            if run.state == "cancelled" or self.ending(run_id)
        ]
        states = {job.label: self.queue.get(job.name, None) for job in submission.jobs}
        return sorted(runs) + [label for label, job in states.items() if job and job.cancelled]

    def stuck(self) -> list[str]:
        """Ids of jobs in the queue that will never start; what they held is missing."""
        return sorted({state.job_id for state in self.queue.states.values() if state.stuck})

    def array_id(self, run_id: str | None) -> str | None:
        """Slurm's id of the array that holds the run, while the queue has it."""
        task = self.living(run_id) if run_id else None
        state = self.queue.get(task.job.name, task.index) if task else None
        return state.job_id.partition("_")[0] if state else None


def look(folder: Path, run_ids: Iterable[str | None]) -> View:
    """Every run of a plan: folders are read, and Slurm is asked once, about unfinished runs only.

    The jobs of the chain (seal, report) of the newest submissions are asked for with them.
    """
    ids = [run_id for run_id in run_ids if run_id is not None]
    records = tuple(submissions(folder))
    tasks = last_tasks(records)
    found = {run_id: standing(run_folder(folder, run_id)) for run_id in ids}
    open_tasks = [
        tasks[run_id] for run_id in tasks if run_id not in found or found[run_id].state not in OVER
    ]
    queue = ask(_names(open_tasks, records), min((s.unix_time for _, s in records), default=0.0))
    states = {
        run_id: _state(run_folder(folder, run_id), known, tasks.get(run_id), queue)
        for run_id, known in found.items()
    }
    return View(submissions=records, tasks=tasks, queue=queue, runs=states)


def _names(
    tasks: Iterable[Task], records: Iterable[tuple[Path, Submission]]
) -> dict[str, Sequence[int | None]]:
    """Names of all jobs, with the array indices that matter where squeue forgot them."""
    names: dict[str, list[int | None]] = {}
    for task in tasks:
        indices = names.setdefault(task.job.name, [])
        if task.index not in indices[-1:]:
            indices.append(task.index)
    stages = {stage.name for stage in chain.open_stages(records)}
    for _, submission in records:
        for job in submission.jobs:  # all: `cancel` wants them
            names.setdefault(job.name, [None] if job.name in stages else [])
    return dict(names)


def _state(home: Path, found: Standing, task: Task | None, queue: Queue) -> RunState:
    job = queue.get(task.job.name, task.index) if task else None
    state, reason = _words(home, found, task, job, queue.answered)
    job_id = job.job_id if job else ""
    log = str(job_log(task.place, job_id)) if task and job_id and state in ENDED_BADLY else ""
    return RunState(state=state, reason=reason, job=job_id, log=log, found=found)


def _words(
    home: Path, found: Standing, task: Task | None, job: JobState | None, answered: bool
) -> tuple[str, str]:
    """(state, reason) of a run."""
    if found.state in (*OVER, "failed"):
        return found.state, found.message
    if found.state == "running" and (home / CANCELLED_NAME).exists():
        return "running", ENDING
    if found.state == "running":
        if job is None or job.living:
            return "running", f"on {job.node}" if job and job.node else ""
        return "running", f"though Slurm says {job.state}"
    if (home / CANCELLED_NAME).exists():
        return "cancelled", why_cancelled(home)
    if task is None:
        return found.state, found.message
    state, reason = job_words(job, task.job.job_id, answered)
    if state == "pending":
        number = int(task.place.name)
        starts = [one for one in attempts.read(home) if one.submission == number]
        return state, why_back(reason, starts)
    return state or found.state, reason
