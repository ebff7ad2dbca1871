"""What a finished sweep spent beside training, out of the files it left, and its report's time."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from benchmarks.measured import Row
from model.training.result import RunResult, load_result
from sweeps.layout import run_folder
from sweeps.planned import Plan, load_plan
from sweeps.sweep_file import load_sweep
from workbench.pipeline import read_wall, report_sweep
from workbench.prepare import worker_count

OUTSIDE_TRAINING = 0.25  # at most, of the wall time
REPORT_SECONDS = 5.0
STAGES = ("start", "evaluate", "save")
TRAINING_STAGES = ("ladder", "target")
OUTSIDE = "wall time outside training"
REPORT = "writing the report"


def sweep_rows(runs: Path, name: str) -> list[Row]:
    """Rows on the sweep in runs/name; each says what is missing where it cannot be filled."""
    folder = runs / name
    try:
        planned = load_plan(folder)
        results = finished(planned, folder)
        reason = "" if results else f"no run of {folder} has a result"
    except ValueError as error:
        reason = str(error).splitlines()[0]
    if reason:
        reason = f"{reason}: train it first (make demo)"
        return [_missing(what, reason) for what in (*map(_beside, STAGES), OUTSIDE, REPORT)]
    return [
        *(_stage_row(stage, list(results.values())) for stage in STAGES),
        outside_row(folder, planned, results),
        _report_row(folder),
    ]


def finished(planned: Plan, folder: Path) -> dict[str, RunResult]:
    """The results that there are, by run id."""
    found = {}
    for run in planned.runs:
        result = None if run.run_id is None else load_result(run_folder(folder, run.run_id))
        if result is not None:
            found[result.run_id] = result
    return found


def outside_row(folder: Path, planned: Plan, results: dict[str, RunResult]) -> Row:
    """The share of the whole sweep's wall time in which nothing was trained.

    The ladder's workers train side by side: their seconds of training count by their number.
    """
    wall = read_wall(folder)
    without = [run.name for run in planned.runs if run.run_id not in results]
    stages = [stage for stage in (*TRAINING_STAGES, "report") if stage not in wall]
    if without or stages:
        lacks = f"{len(without)} of {len(planned.runs)} runs" if without else ", ".join(stages)
        return _missing(OUTSIDE, f"{folder} is not finished: it lacks {lacks}")
    workers = min(worker_count(load_sweep(folder / "sweep.toml")), len(planned.ladder))
    by_role = {run.run_id: run.role for run in planned.runs}
    ladder = sum(r.seconds.train for r in results.values() if by_role[r.run_id] != "target")
    target = sum(r.seconds.train for r in results.values() if by_role[r.run_id] == "target")
    total = sum(wall.values())
    stages_told = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in wall.items())
    return Row(
        what=OUTSIDE,
        measured=1 - (ladder / workers + target) / total,
        at_most=OUTSIDE_TRAINING,
        detail=(
            f"of {total:.0f} s: ladder {ladder:.0f} s of training on {workers} workers, "
            f"target {target:.0f} s; by stage {stages_told}"
        ),
    )


def _stage_row(stage: str, results: list[RunResult]) -> Row:
    spent = [float(getattr(result.seconds, stage)) for result in results]
    training = statistics.median(result.seconds.train for result in results)
    return Row(
        what=_beside(stage),
        measured=statistics.median(spent),
        unit="s",
        detail=(
            f"median of {len(spent)} runs, at most {max(spent):.2g} s; training {training:.3g} s"
        ),
    )


def _report_row(folder: Path) -> Row:
    start = time.perf_counter()
    try:
        report_sweep(folder)
    except ValueError as error:
        return _missing(REPORT, str(error).splitlines()[0])
    return Row(
        what=REPORT,
        measured=time.perf_counter() - start,
        unit="s",
        at_most=REPORT_SECONDS,
        detail="report.pdf, report.json and the tables, once more",
    )


def _beside(stage: str) -> str:
    return f"a run beside training: {stage}"


def _missing(what: str, reason: str) -> Row:
    return Row(what=what, measured=None, detail=reason)
