"""A sweep on a Slurm cluster: what `submit` adds, and what the cluster adds by itself.

`submit_sweep` plans here and puts everything that is missing into the queue, the chain behind the
ladder included: seal, target, report. `submit_again` is the same from within that chain, where runs
turn out to be missing. Both leave done and queued runs alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from model.data.manifest import read_manifest
from sweeps.layout import PLAN_NAME, kept_sweep
from sweeps.lock import hold
from sweeps.planned import Plan, load_plan
from sweeps.slurm.arrays import JobKind
from sweeps.slurm.cancel import scancel, unmark
from sweeps.slurm.limits import Limits, read_limits
from sweeps.slurm.profile import Profile, differences
from sweeps.slurm.query import Queue
from sweeps.slurm.rehearsal import objections
from sweeps.slurm.states import View, look
from sweeps.slurm.submission import Submission, load_submission, next_place, slurm_folder
from sweeps.slurm.submit import Draft, draft_jobs, submit
from sweeps.slurm.words import hopeless
from sweeps.sweep_file import load_sweep
from workbench import ledger
from workbench.errors import Failure, InputError
from workbench.prepare import (
    LEDGER_NAME,
    Elsewhere,
    Prepared,
    data_line,
    data_progress,
    is_built,
    prepare,
)
from workbench.seal import first_seals
from workbench.target_entries import ledger_kinds

STAGES_MODULE = "workbench.stages"
REPORT_NAME = "report.json"
PATIENCE = 120.0  # seconds that a second submission waits for the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What one `submit` did."""

    folder: Path  # of the sweep
    place: Path | None  # of the submission; None: everything was done or queued
    draft: Draft
    submission: Submission | None


def submit_sweep(
    sweep_path: Path, runs: Path, profile: Profile, tell: Callable[[str], None]
) -> Submitted:
    """Plan the sweep here and queue whatever is missing of it.

    Raises ValueError for bad input, SweepBusy where another submission takes too long, Failure
    where runs of an earlier plan are queued or Slurm cannot be asked, SubmissionFailed where sbatch
    refuses.
    """
    if shutil.which("sbatch") is None:
        raise Failure(
            "sbatch is not installed here, so nothing can be submitted",
            "submit from a login node of the cluster; --dry-run works anywhere",
        )
    sweep, runs = load_sweep(sweep_path), runs.resolve()
    folder = sweep_folder(runs, sweep.name)
    ledger.check(runs / LEDGER_NAME)
    if not is_built(sweep, sweep_path, runs):
        _rehearse(profile, next_place(folder), tell)
    with hold(slurm_folder(folder), "submit.lock", patience=PATIENCE):
        views: list[View] = []

        def check(planned: Plan) -> None:
            views.append(look(folder, (run.run_id for run in planned.runs)))
            _refuse_blind(views[0].queue)
            _refuse_other_plan(folder, planned, views[0])
            _refuse_ending(folder, planned, views[0])

        with (
            hold(folder, "pipeline.lock", patience=PATIENCE),
            data_progress() as progress,
        ):
            prepared = prepare(
                sweep, sweep_path, runs, progress, elsewhere=elsewhere(profile), check=check
            )
        tell(data_line(prepared))
        plan_file = folder / PLAN_NAME
        return _queue(prepared, views[0], profile, plan_file, generation=0, tell=tell)


def submit_again(place: Path, own_job: str, tell: Callable[[str], None]) -> Submitted:
    """From within a job of the chain: queue what turned out to be missing, and a new chain.

    Raises Failure, saying why, where a person cancelled runs or the profile's resubmissions are
    used up.
    """
    folder = place.resolve().parents[1]
    with hold(slurm_folder(folder), "submit.lock", patience=PATIENCE):
        submission, prepared = reopen(place)
        profile = submission.profile
        view = look(folder, (run.run_id for run in prepared.plan.runs))
        _refuse_blind(view.queue)
        again = f"`workbench submit` for {prepared.sweep.name} again adds them"
        if cancelled := view.cancelled(submission):
            raise Failure(f"{', '.join(cancelled)}: cancelled by a person", again)
        if submission.generation >= profile.resubmissions:
            raise Failure(
                f"{_missing(view)} run(s) are missing after {submission.generation} resubmissions",
                f"`workbench status {folder}` says why; {again}",
            )
        chain = {view.array_id(prepared.plan.target.run_id), view.chain("report")}
        scancel(job for job in {*chain, view.chain("seal")} if job and job != own_job)
        return _queue(
            prepared,
            _without_chain(view),
            profile,
            place / PLAN_NAME,
            generation=submission.generation + 1,
            tell=tell,
        )


def reopen(place: Path) -> tuple[Submission, Prepared]:
    """A submission's record, and its sweep as it was planned then."""
    place = place.resolve()
    submission, folder = load_submission(place), place.parents[1]
    data_folder = Path(submission.data_folder)
    return submission, Prepared(
        sweep=kept_sweep(folder),
        folder=folder,
        data_folder=data_folder,
        manifest=read_manifest(data_folder),
        plan=load_plan(place),
    )


def needs(prepared: Prepared) -> tuple[JobKind, ...]:
    """The stages of the chain that are not done."""
    target = prepared.plan.target
    entries = ledger.read(prepared.ledger).entries
    sealed = first_seals(entries, prepared.sweep.name, str(target.run_id))
    names = {f"x{ratio:g}" for ratio in prepared.sweep.ladder.ratios}
    missing: list[JobKind] = []
    if not names <= sealed.keys() and "target_started" not in ledger_kinds(prepared):
        missing.append("seal")
    if not (prepared.folder / REPORT_NAME).exists():
        missing.append("report")
    return tuple(missing)


def _queue(
    prepared: Prepared,
    view: View,
    profile: Profile,
    plan_file: Path,
    *,
    generation: int,
    tell: Callable[[str], None],
) -> Submitted:
    folder, planned = prepared.folder, prepared.plan
    limits: Limits = read_limits(profile.resources("ladder"))
    draft = draft_jobs(planned, view, profile, limits, needs=needs(prepared))
    scancel(view.stuck())
    if generation:  # what a person has asked for since stays
        draft = replace(draft, throttles=())
    else:
        marked = [run_id for run_id in view.runs if view.missing(run_id)]
        unmark(folder, marked)
        for caution in queued_otherwise(view, profile, folder):
            tell(f"caution: {caution}")
    added = submit(
        draft,
        folder,
        plan_file,
        profile,
        data_folder=prepared.data_folder,
        chain=STAGES_MODULE,
        cluster=limits.cluster,
        generation=generation,
        tell=tell,
    )
    place, submission = added if added is not None else (None, None)
    return Submitted(folder=folder, place=place, draft=draft, submission=submission)


def queued_otherwise(view: View, profile: Profile, folder: Path) -> list[str]:
    """What of the sweep stays queued that this profile would not have, or that will not start."""
    found = []
    for home, record in view.submissions:
        changed = differences(record.profile, profile)
        living = [one for one in view.runs if (task := view.living(one)) and task.place == home]
        if changed and living:
            found.append(
                f"{len(living)} run(s) stay queued or at work as profile {record.profile.name} had "
                f"it then ({', '.join(changed)}); `workbench cancel --all {folder}`, then submit "
                "again, changes that"
            )
    return found + hopeless(view.reasons(), folder)


def sweep_folder(runs: Path, name: str) -> Path:
    """The sweep's folder; InputError where Slurm would not take its path as it is written."""
    folder = runs.resolve() / name
    if {"%", "\\"} & set(str(folder)) or not str(folder).isprintable():
        raise InputError(
            f"{str(folder)!r}: Slurm reads % and \\ in a path as patterns, a line's end as an end",
            "choose another folder with --runs",
        )
    return folder


def elsewhere(profile: Profile) -> Elsewhere:
    """What the profile says of the machines that will train."""
    execution = profile.execution.execution() if profile.execution else None
    target = profile.resources("target")
    return Elsewhere(
        execution=execution,
        target_threads=target.cpus_per_task,
        gpus=bool(target.gpus or profile.ladder.gpus),
    )


def _without_chain(view: View) -> View:
    """The view as if nothing but the ladder's jobs were in the queue."""
    names = {
        job.name for _, record in view.submissions for job in record.jobs if job.kind != "ladder"
    }
    states = {key: state for key, state in view.queue.states.items() if key[0] not in names}
    return replace(view, queue=replace(view.queue, states=states))


def _missing(view: View) -> int:
    return sum(not run.done for run in view.runs.values())


def _rehearse(profile: Profile, place: Path, tell: Callable[[str], None]) -> None:
    """What the cluster never takes should fail before minutes go into the data."""
    for objection in objections(profile, place):
        if not objection.passing:
            raise Failure(str(objection), "correct the profile, then the same command again")
        tell(f"caution: {objection}")


def _refuse_blind(queue: Queue) -> None:
    """Without Slurm's answer nobody knows what is queued already."""
    if not queue.answered:
        raise Failure(
            f"cannot tell what is queued already: {'; '.join(queue.problems)}",
            "submit from a machine of the cluster, when its controller answers",
        )


def _refuse_ending(folder: Path, planned: Plan, view: View) -> None:
    """A cancelled run that has not ended yet is neither missing nor wanted again."""
    ending = [run.name for run in planned.runs if run.run_id and view.ending(run.run_id)]
    if ending:
        raise Failure(
            f"{', '.join(ending)}: cancelled, and still saving",
            f"submit again when `workbench status {folder}` no longer shows that, in a minute",
        )


def _refuse_other_plan(folder: Path, planned: Plan, view: View) -> None:
    """Jobs of an earlier plan would go on training runs that this one does not have."""
    known = {run.run_id for run in planned.runs}
    others: Collection[str] = [run_id for run_id in view.tasks if run_id not in known]
    living = [run_id for run_id in others if view.living(run_id)]
    if living:
        raise InputError(
            f"{folder}: {len(living)} run(s) of an earlier plan are still queued or running; the "
            "sweep file or the model code has changed since",
            f"let them end, or `workbench cancel --all {folder}`, then submit again",
        )
