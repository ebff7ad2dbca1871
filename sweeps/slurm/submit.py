"""What is missing of a sweep → jobs in Slurm's queue, each run once.

    draft = draft_jobs(planned, view, …)    what would be added; empty: all is done or queued
    submit(draft, folder, plan_file, …)      adds it, as one new submission

The chain behind the ladder: `ladder ─afterany→ seal ─afterok→ target ─afterany→ report`. What seals
and reports is not known here: the chain's jobs have the words MODULE STAGE FOLDER.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.layout import PLAN_NAME
from sweeps.planned import Plan
from sweeps.slurm.arrays import Array, Assumed, JobKind, make_arrays
from sweeps.slurm.client import call
from sweeps.slurm.limits import Limits
from sweeps.slurm.profile import Profile, Resources
from sweeps.slurm.script import Request, sbatch, script_text
from sweeps.slurm.snapshot import snapshot
from sweeps.slurm.states import View
from sweeps.slurm.submission import (
    CODE_FOLDER,
    Job,
    Submission,
    job_name,
    keep_throttle,
    new_place,
    now,
    save_submission,
    with_id,
)

JOB_MODULE = "sweeps.slurm.job"
CHAIN_JOBS = 3  # seal, target, report: room that the ladder leaves in the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One sbatch to come. `after`: ids of jobs, or labels of steps of the same draft."""

    label: str
    kind: JobKind
    resources: Resources
    array: Array | None = None
    condition: str = ""  # "afterany" or "afterok"
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a submission would add, and what it would change of jobs in the queue."""

    steps: tuple[Step, ...]
    waits: tuple[tuple[str, tuple[str, ...]], ...]  # (queued seal, what it must wait for too)
    # (submission, queued array, its throttle) where that is not the profile's
    throttles: tuple[tuple[Path, str, int], ...]
    throttle: int

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of training jobs."""
        return tuple(step.array for step in self.steps if step.array is not None)


def draft_jobs(
    planned: Plan,
    view: View,
    profile: Profile,
    limits: Limits,
    *,
    needs: Collection[JobKind],
    assumed: Assumed | None = None,
) -> Draft:
    """The jobs that are missing; `needs` holds "seal" and "report" where those are not done.

    Raises ValueError where a run fits into no job of the profile, or no job into the queue.
    """
    room = None if limits.room is None else limits.room - CHAIN_JOBS
    wanted = [run for run in planned.ladder if view.missing(run.run_id)]
    arrays = make_arrays(
        wanted, "ladder", profile, largest=limits.max_array, room=room, assumed=assumed
    )
    steps = [_training(array) for array in arrays]
    queued = sorted({found for run in planned.ladder if (found := view.array_id(run.run_id))})
    behind = (*(step.label for step in steps), *queued)
    seal, waits = view.chain("seal"), []
    if seal is not None and steps:
        waits.append((seal, behind))
    if "seal" in needs and seal is None:
        steps.append(_stage("seal", profile, "afterany" if behind else "", behind))
        seal = "seal"
    target = view.array_id(planned.target.run_id)
    if view.missing(planned.target.run_id):
        condition, after = ("afterok", (seal,)) if seal and "seal" in needs else ("", ())
        (array,) = make_arrays(
            [planned.target], "target", profile, largest=limits.max_array, assumed=assumed
        )
        steps.append(_training(array, condition, after))
        target = array.label
    if (steps or "report" in needs) and view.chain("report") is None:
        after = (target,) if target else ()
        steps.append(_stage("report", profile, "afterany" if after else "", after))
    return Draft(
        steps=tuple(steps),
        waits=tuple(waits),
        throttles=_other_throttles(view, profile.throttle),
        throttle=profile.throttle,
    )


def submit(
    draft: Draft,
    folder: Path,
    plan_file: Path,
    profile: Profile,
    *,
    data_folder: Path,
    chain: str,
    cluster: str = "",
    generation: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[Path, Submission] | None:
    """Add the draft to the queue: (the submission's folder, its record), None where it is empty.

    `plan_file` is the plan that the draft was made from; the submission keeps a copy. Raises
    SubmissionFailed where sbatch refuses; what it took before stays and is on record.
    """
    for home, array_id, before in draft.throttles:
        if _scontrol(f"JobId={array_id}", f"ArrayTaskThrottle={draft.throttle}"):
            keep_throttle(home, draft.throttle)
            tell(f"job {array_id}: throttle {before} -> {draft.throttle}")
    if not draft.steps:
        return None
    place, source = _opened(folder, plan_file)
    jobs = tuple(_job(step, place, folder.name) for step in draft.steps)
    submission = Submission(
        sweep=folder.name,
        number=int(place.name),
        unix_time=now(),
        generation=generation,
        cluster=cluster,
        profile=profile,
        data_folder=str(data_folder.resolve()),
        model_source=source,
        jobs=jobs,
    )
    ids: dict[str, str] = {}
    for step, job in zip(draft.steps, jobs, strict=True):
        dependency = _dependency(step, ids)
        submission = _changed(submission, step.label, dependency)
        save_submission(place, submission)
        ids[step.label] = sbatch(request_of(step, job.name, place, chain, dependency), profile)
        submission = with_id(submission, step.label, ids[step.label])
        save_submission(place, submission)
        tell(f"{step.label}: job {ids[step.label]}" + (f", {dependency}" if dependency else ""))
    for job_id, after in draft.waits:
        found = ":".join(ids.get(name, name) for name in after)
        _scontrol(f"JobId={job_id}", f"Dependency=afterany:{found}")
    return place, submission


def _opened(folder: Path, plan_file: Path) -> tuple[Path, str]:
    """A new submission's folder with code and plan in it, and what names that code."""
    place = new_place(folder).resolve()
    try:
        source = snapshot(place / CODE_FOLDER)
        shutil.copyfile(plan_file, place / PLAN_NAME)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)  # half a copy would keep a full disk full
        error.filename = error.filename or str(place)
        raise
    return place, source


def scripts(draft: Draft, place: Path, sweep: str, profile: Profile, chain: str) -> dict[str, str]:
    """The sbatch scripts of a draft by label, as `place` would hold them.

    A job id that only sbatch will give stands as <label>, the token of a name as 000000.
    """
    ids = {step.label: f"<{step.label}>" for step in draft.steps}
    return {
        step.label: script_text(
            request_of(
                step,
                f"{sweep}-{place.name}-{step.label}-000000",
                place,
                chain,
                _dependency(step, ids),
            ),
            profile,
        )
        for step in draft.steps
    }


def request_of(step: Step, name: str, place: Path, chain: str, dependency: str | None) -> Request:
    """What is asked of sbatch for a step."""
    words: tuple[str, ...] = (str(place),) if step.array is None else (str(place), step.label)
    if step.kind != "ladder":
        words = (step.kind, *words)
    return Request(
        name=name,
        place=place,
        module=JOB_MODULE if step.kind == "ladder" else chain,
        words=words,
        resources=step.resources,
        tasks=len(step.array.tasks) if step.array else 0,
        throttle=step.array.throttle if step.array else 1,
        dependency=dependency,
    )


def _training(array: Array, condition: str = "", after: Sequence[str] = ()) -> Step:
    return Step(
        label=array.label,
        kind=array.kind,
        resources=array.resources,
        array=array,
        condition=condition,
        after=tuple(after),
    )


def _stage(kind: JobKind, profile: Profile, condition: str, after: Sequence[str]) -> Step:
    return Step(
        label=kind,
        kind=kind,
        resources=profile.resources("service"),
        condition=condition,
        after=tuple(after),
    )


def _job(step: Step, place: Path, sweep: str) -> Job:
    tasks = step.array.tasks if step.array else ()
    return Job(
        label=step.label,
        kind=step.kind,
        name=job_name(sweep, place, step.label),
        job_id=None,
        dependency=None,
        resources=step.resources,
        slots=step.array.slots if step.array else 1,
        tasks=tuple(tuple(str(run.run_id) for run in task) for task in tasks),
    )


def _dependency(step: Step, ids: dict[str, str]) -> str | None:
    if not step.after:
        return None
    return f"{step.condition}:" + ":".join(ids.get(name, name) for name in step.after)


def _changed(submission: Submission, label: str, dependency: str | None) -> Submission:
    jobs = tuple(
        dataclasses.replace(job, dependency=dependency) if job.label == label else job
        for job in submission.jobs
    )
    return dataclasses.replace(submission, jobs=jobs)


def _other_throttles(view: View, throttle: int) -> tuple[tuple[Path, str, int], ...]:
    """Queued arrays of submissions whose profile had another throttle."""
    found = set()
    for home, submission in view.submissions:
        if submission.profile.throttle == throttle:
            continue
        for job in submission.jobs:
            for index in range(len(job.tasks)):
                state = view.queue.get(job.name, index)
                if state is not None and state.living:
                    array_id = state.job_id.partition("_")[0]
                    found.add((home, array_id, submission.profile.throttle))
    return tuple(sorted(found))


def _scontrol(*words: str) -> bool:
    """Whether `scontrol update` took the change; a job that began meanwhile takes none."""
    return call("scontrol", "update", *words).returncode == 0
