"""The jobs of the chain behind a ladder; their words are STAGE FOLDER [LABEL].

FOLDER is the submission's. `seal` fits and seals, `target` trains the target once that is sealed,
`report` writes the report. A stage that finds runs missing submits them again, with a new chain,
and ends with status 1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from model.records import write_atomic
from sweeps.layout import run_folder
from sweeps.lock import hold
from sweeps.planned import PlannedRun
from sweeps.run_files import standing
from sweeps.slurm import attempts, chain
from sweeps.slurm.cancel import cancel_runs, is_marked
from sweeps.slurm.job import serve
from sweeps.slurm.ranks import Rank
from sweeps.slurm.states import OVER, look
from sweeps.slurm.turns import say
from workbench.cluster import needs, reopen, submit_again
from workbench.errors import explain
from workbench.pipeline import (
    WALL_NAME,
    prediction_line,
    read_wall,
    report_sweep,
    seal_predictions,
    stage,
    verdict,
)
from workbench.prepare import Prepared
from workbench.seal import refuse_broken
from workbench.target_entries import note_finished, note_started

PATIENCE = 600.0  # seconds for a submission that is being made
HELD_BACK = "held back: its prediction was refused; `workbench submit` again trains it"


def seal(place: Path) -> int:
    """Fit the ladder and seal the predictions."""
    submission, prepared = reopen(place)
    if not _whole(prepared, prepared.plan.ladder):
        return _again(place)
    with (
        hold(prepared.folder, "pipeline.lock", patience=PATIENCE),
        stage(prepared.folder, "fit"),
    ):
        predictions = seal_predictions(prepared)
    lines = [prediction_line(prediction) for prediction in predictions]
    refused = all(prediction.loss.refused for prediction in predictions)
    if predictions and refused and submission.profile.after_refusal == "stop":
        lines.append(f"the target is {HELD_BACK}")
        _hold_back(prepared)
    _say_all(lines)
    chain.note(place, "seal", "finished", "; ".join(lines))
    return 0


def target(place: Path, label: str) -> int:
    """Train the target; refused with status 1 where its prediction is not sealed.

    Of several tasks the first does so, and the others follow its worker.
    """
    _, prepared = reopen(place)
    if is_marked(_target_home(prepared)):
        say("the target is cancelled")
        return 0
    if Rank.read(os.environ).rank:
        return serve(place, label)
    if "seal" in needs(prepared):
        say("the target waits: its prediction is not sealed. `workbench submit` again adds that")
        return 1
    status = serve(place, label, ledger_head=note_started(prepared, say))
    note_finished(prepared)
    return status


def report(place: Path) -> int:
    """Write the report, with the wall time that the cluster took."""
    _, prepared = reopen(place)
    cancelled = is_marked(_target_home(prepared))  # then the report is of the prediction alone
    if not _whole(prepared, prepared.plan.ladder if cancelled else prepared.plan.runs):
        return _again(place)
    note_finished(prepared)
    with hold(prepared.folder, "pipeline.lock", patience=PATIENCE):
        wall = read_wall(prepared.folder)
        wall["ladder"] = _span(prepared, prepared.plan.ladder)
        wall["target"] = _span(prepared, (prepared.plan.target,))
        write_atomic(prepared.folder / WALL_NAME, json.dumps(wall, indent=1) + "\n")
        with stage(prepared.folder, "report"):
            files = report_sweep(prepared.folder)
    lines = [f"written to {files.shown}", *verdict(files)]
    _say_all(lines)
    refuse_broken(files.json)
    chain.note(place, "report", "finished", "; ".join(lines))
    return 0


def _whole(prepared: Prepared, runs: tuple[PlannedRun, ...]) -> bool:
    """Whether all the runs have ended; those that have not are named.

    Raises ValueError where a result cannot be read: training again would not mend it.
    """
    whole = True
    for run in runs:
        found = standing(run_folder(prepared.folder, str(run.run_id)))
        if found.state == "corrupt":
            raise ValueError(f"{run.name}: {found.message}")
        if found.state not in OVER:
            say(f"missing: {run.name} ({run.run_id})")
            whole = False
    return whole


def _hold_back(prepared: Prepared) -> None:
    """Take the target out of the queue until a person submits it again."""
    view = look(prepared.folder, (run.run_id for run in prepared.plan.runs))
    cancel_runs(prepared.folder, view, [str(prepared.plan.target.run_id)], HELD_BACK)


def _target_home(prepared: Prepared) -> Path:
    return run_folder(prepared.folder, str(prepared.plan.target.run_id))


def _again(place: Path) -> int:
    submitted = submit_again(place, os.environ["SLURM_JOB_ID"], say)
    say(f"submitted again: {submitted.place}")
    return 1


def _say_all(lines: list[str]) -> None:
    for line in lines:
        say(line)


def _span(prepared: Prepared, runs: tuple[PlannedRun, ...]) -> float:
    """Seconds from the first start of any of the runs to the last end."""
    found = [
        attempt
        for run in runs
        for attempt in attempts.read(run_folder(prepared.folder, str(run.run_id)))
    ]
    if not found:
        return 0.0
    return max(a.ended or a.begun for a in found) - min(a.begun for a in found)


STAGES: dict[str, Callable[..., int]] = {"seal": seal, "target": target, "report": report}


def main() -> int:
    """`STAGE FOLDER [LABEL]` on the command line; errors are two lines in the job's log."""
    name, place, *label = sys.argv[1:]
    try:
        return STAGES[name](Path(place), *label)
    except Exception as error:
        told = explain(error, "workbench submit")
        say(f"error: {told.what}")
        say(f"  do: {told.remedy}")
        if name in chain.STAGES:
            chain.note(Path(place), name, "failed", f"{told.what} (do: {told.remedy})")
        return 1
