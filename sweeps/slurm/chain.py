"""Seal and report: what became of them as they note it themselves, else Slurm's word."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model.records import read_json, write_atomic
from sweeps.slurm.arrays import JobKind
from sweeps.slurm.submission import Job, Submission, job_log, now
from sweeps.slurm.words import ENDED_BADLY, job_words

if TYPE_CHECKING:
    from sweeps.slurm.states import View

STAGES: tuple[JobKind, ...] = ("seal", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """How the newest job of a stage stands."""

    stage: str
    state: str  # a run's words, or "running"
    message: str  # what came of it, or why it waits or failed
    job: str  # Slurm's id; empty: none
    log: str  # the file to read where it ended badly


def note(place: Path, stage: str, state: Literal["finished", "failed"], message: str) -> None:
    """Keep what came of a stage in the submission's folder, where that can be written at all."""
    record = {"state": state, "message": message, "unix_time": now()}
    with contextlib.suppress(OSError):  # a full disk must not undo what the stage has done
        write_atomic(_path(place, stage), json.dumps(record, indent=1) + "\n")


def noted(place: Path, stage: str) -> tuple[str, str] | None:
    """(state, message) that a stage noted; None where it has not ended, or could note nothing."""
    try:
        record = read_json(_path(place, stage))
        return str(record["state"]), str(record["message"])
    except (OSError, ValueError, KeyError):
        return None


def stage_states(view: View) -> list[StageState]:
    """Seal and report of the newest submissions that have them."""
    return [_stage(view, place, job) for place, job in _newest(view.submissions)]


def open_stages(records: Iterable[tuple[Path, Submission]]) -> list[Job]:
    """The jobs of the newest stages that noted no end: Slurm is to say how they stand."""
    return [job for place, job in _newest(records) if noted(place, job.kind) is None]


def _stage(view: View, place: Path, record: Job) -> StageState:
    job = view.queue.get(record.name, None)
    told = noted(place, record.kind)
    state, message = told or job_words(job, record.job_id, view.queue.answered)
    if state == "waiting" and job is not None:
        state, message = "running", f"on {job.node}"
    job_id = record.job_id or (job.job_id if job else "")
    log = str(job_log(place, job_id)) if job_id and state in ENDED_BADLY else ""
    return StageState(
        stage=record.kind, state=state or "unknown", message=message, job=job_id, log=log
    )


def _newest(records: Iterable[tuple[Path, Submission]]) -> list[tuple[Path, Job]]:
    """The newest job of each stage, and its submission's folder."""
    found: dict[str, tuple[Path, Job]] = {}
    for place, submission in records:  # the newest first
        for job in submission.jobs:
            if job.kind in STAGES:
                found.setdefault(job.kind, (place, job))
    return [found[kind] for kind in STAGES if kind in found]


def _path(place: Path, stage: str) -> Path:
    return place / f"{stage}.json"
