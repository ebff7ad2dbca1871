"""Taking runs out of the queue: `cancel_runs` for some, `cancel_all` for a whole sweep.

A cancelled run keeps its checkpoints. A mark in its folder tells its job to leave it, and the
cluster not to submit it again by itself; a job all of whose runs are cancelled or done is cancelled
in Slurm. The next `submit` of a person takes the mark away.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from model.records import write_atomic
from sweeps.layout import run_folder
from sweeps.slurm.attempts import BY_PERSON, CANCELLED_NAME
from sweeps.slurm.client import call
from sweeps.slurm.states import View
from sweeps.slurm.submission import now


def cancel_runs(
    folder: Path, view: View, run_ids: Collection[str], why: str = BY_PERSON
) -> list[str]:
    """Mark the runs, and cancel the jobs that have nothing else to do; returns those jobs' ids."""
    for run_id in run_ids:
        mark(run_folder(folder, run_id), why)
    idle = []
    for run_id in run_ids:
        task = view.living(run_id)
        state = view.queue.get(task.job.name, task.index) if task else None
        if task is None or state is None or state.job_id in idle:
            continue
        others = [other for other in task.job.tasks[task.index] if other not in run_ids]
        if all(is_marked(run_folder(folder, other)) or view.runs[other].done for other in others):
            idle.append(state.job_id)
    scancel(idle)
    return idle


def cancel_all(folder: Path, view: View) -> list[str]:
    """Cancel every job of the sweep in the queue, the chain first; returns the ids."""
    for run_id in view.runs:
        if view.is_open(run_id):  # what has failed stays so
            mark(run_folder(folder, run_id))
    chain: set[str] = set()
    training: set[str] = set()
    for (_, index), state in view.queue.states.items():
        if state.queued:
            (chain if index is None else training).add(state.job_id.partition("_")[0])
    scancel(chain)  # else the end of the ladder would set the seal free
    scancel(training)
    return sorted(chain | training)


def mark(home: Path, why: str = BY_PERSON) -> None:
    """Note in a run's folder that it is cancelled until a person submits it again."""
    text = json.dumps({"unix_time": now(), "why": why})
    write_atomic(home / CANCELLED_NAME, text + "\n")


def is_marked(home: Path) -> bool:
    """Whether the run was cancelled and nobody submitted it since."""
    return (home / CANCELLED_NAME).exists()


def unmark(folder: Path, run_ids: Iterable[str]) -> None:
    """A person wants these runs again."""
    for run_id in run_ids:
        (run_folder(folder, run_id) / CANCELLED_NAME).unlink(missing_ok=True)


def scancel(job_ids: Iterable[str]) -> None:
    """Cancel jobs by id, in one call; OSError with Slurm's words where it refuses."""
    listed = sorted(job_ids)
    if not listed:
        return
    done = call("scancel", *listed)
    if done.returncode:
        raise OSError(f"scancel: {done.stderr.strip() or f'exit status {done.returncode}'}")
