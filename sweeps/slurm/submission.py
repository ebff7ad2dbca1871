"""What was submitted: one numbered folder a submission, and its record.

A job's record is written before `sbatch` is called and completed with the id after it, so a process
that dies in between leaves a job that can still be found, by its name.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model.records import from_json, read_json, to_json, write_atomic
from sweeps.slurm.arrays import JobKind
from sweeps.slurm.profile import Profile, Resources

SLURM_FOLDER = "slurm"  # in the sweep's folder
RECORD_NAME = "submission.json"
CODE_FOLDER, JOBS_FOLDER, WORKERS_FOLDER = "code", "jobs", "workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One sbatch: an array of training jobs, or a single job of the chain."""

    label: str  # within the submission
    kind: JobKind
    name: str  # that Slurm knows it by; never used twice
    job_id: str | None  # None until sbatch has answered
    dependency: str | None
    resources: Resources
    slots: int
    tasks: tuple[tuple[str, ...], ...]  # run ids by array index; none: not an array


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Everything that one `submit` added."""

    schema: int = 1
    sweep: str
    number: int
    unix_time: float
    generation: int  # 0: by a person; above: the cluster submitted what was missing
    cluster: str = ""  # its name; empty where it did not tell
    profile: Profile
    data_folder: str
    model_source: str
    jobs: tuple[Job, ...]

    def job(self, label: str) -> Job:
        """The job of that label; ValueError where there is none."""
        for job in self.jobs:
            if job.label == label:
                return job
        raise ValueError(f"submission {self.number} has no job {label!r}")


@dataclass(frozen=True, slots=True)
class Task:
    """Where a run was last submitted."""

    place: Path  # the submission's folder
    job: Job
    index: int
    unix_time: float  # of the submission


def slurm_folder(folder: Path) -> Path:
    """All submissions of the sweep in `folder`."""
    return folder / SLURM_FOLDER


def new_place(folder: Path) -> Path:
    """A new folder for a submission: the next number, whoever else asks for one."""
    parent = slurm_folder(folder)
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        place = next_place(folder)
        try:
            place.mkdir()
        except FileExistsError:
            continue
        return place


def next_place(folder: Path) -> Path:
    """The folder that the next submission would have."""
    numbers = [int(path.name) for path in slurm_folder(folder).glob("[0-9]*") if path.is_dir()]
    return slurm_folder(folder) / f"{max(numbers, default=0) + 1:04d}"


def job_log(place: Path, job_id: str) -> Path:
    """What a job of the submission in `place` wrote, by Slurm's id, with the array index."""
    return place / JOBS_FOLDER / f"{job_id}_0_log.out"


def job_name(sweep: str, place: Path, label: str) -> str:
    """A name for a job that no other job has or had."""
    return f"{sweep}-{place.name}-{label}-{secrets.token_hex(3)}"


def save_submission(place: Path, submission: Submission) -> None:
    """Write the record into the submission's folder."""
    write_atomic(place / RECORD_NAME, json.dumps(to_json(submission), indent=1) + "\n")


def keep_throttle(place: Path, throttle: int) -> None:
    """Note that a submission's arrays have another throttle now."""
    record = load_submission(place)
    profile = dataclasses.replace(record.profile, throttle=throttle)
    save_submission(place, dataclasses.replace(record, profile=profile))


def with_id(submission: Submission, label: str, job_id: str) -> Submission:
    """The same submission, one job's id known."""
    return dataclasses.replace(
        submission,
        jobs=tuple(
            dataclasses.replace(job, job_id=job_id) if job.label == label else job
            for job in submission.jobs
        ),
    )


def load_submission(place: Path) -> Submission:
    """The record in a submission's folder; ValueError where it cannot be read."""
    path = place / RECORD_NAME
    try:
        return from_json(Submission, read_json(path), where=str(path))
    except FileNotFoundError:
        raise ValueError(
            f"{place}: not the folder of a submission ({path.name} is missing)"
        ) from None


def submissions(folder: Path) -> Iterator[tuple[Path, Submission]]:
    """Every submission of the sweep, the newest first; folders without a record are left out."""
    for path in sorted(slurm_folder(folder).glob(f"[0-9]*/{RECORD_NAME}"), reverse=True):
        yield path.parent, load_submission(path.parent)


def last_tasks(found: Iterable[tuple[Path, Submission]]) -> dict[str, Task]:
    """Where each run was last submitted, by run id; `found` has the newest submission first."""
    tasks: dict[str, Task] = {}
    for place, submission in found:
        for job in submission.jobs:
            for index, run_ids in enumerate(job.tasks):
                for run_id in run_ids:
                    tasks.setdefault(run_id, Task(place, job, index, submission.unix_time))
    return tasks


def now() -> float:
    """Seconds since 1970, as records hold them."""
    return round(time.time(), 3)
