"""Where every run of a sweep stands, from its run folders alone: nothing needs to be running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.layout import run_folder
from sweeps.planned import PlannedRun, load_plan
from sweeps.run_files import read_metrics, standing

STATES = (
    "finished",
    "diverged",
    "running",
    "interrupted",
    "failed",
    "waiting",
    "corrupt",
    "unplanned",  # the plan was made before data set and execution were known
)
COLUMNS = (
    "run_id",
    "name",
    "role",
    "rung",
    "seed",
    "state",
    "step",
    "steps",
    "loss",
    "eta_seconds",
    "restarts",
    "flops",
    "message",
)


def status(folder: Path) -> pd.DataFrame:
    """One row a planned run, in the plan's order, with the columns COLUMNS.

    `loss` is the held-out loss of a finished run, else the last training loss; `eta_seconds` what
    is left of a run at its own pace, or at the plan's where it has not begun.
    """
    rows = [_row(folder, run) for run in load_plan(folder).runs]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(folder: Path, run: PlannedRun) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run_id": run.run_id,
        "name": run.name,
        "role": run.role,
        "rung": run.rung,
        "seed": run.seed,
        "state": "unplanned",
        "step": 0,
        "steps": run.steps,
        "loss": None,
        "eta_seconds": run.expected_seconds,
        "restarts": None,
        "flops": run.flops,
        "message": "",
    }
    if run.run_id is None:
        return row
    home = run_folder(folder, run.run_id)
    found = standing(home)
    row |= {"state": found.state, "message": found.message}
    if found.result is not None:
        ended = found.result
        row |= {"step": ended.steps, "loss": ended.loss, "restarts": ended.restarts}
        return row | {"eta_seconds": 0.0}
    try:
        return row | _going(read_metrics(home), run)
    except ValueError as error:
        return row | {"state": "corrupt", "message": str(error)}


def _going(lines: list[dict[str, Any]], run: PlannedRun) -> dict[str, Any]:
    """What the lines of an unfinished run say."""
    if not lines:
        return {}
    found: dict[str, Any] = {"restarts": sum(line.get("kind") == "resume" for line in lines)}
    trained = [line for line in lines if line.get("kind") == "train"]
    if trained:
        last = trained[-1]
        step, seconds = int(last["step"]), float(last.get("seconds") or 0.0)
        found |= {"step": step, "loss": last.get("loss")}
        if step and seconds:
            found["eta_seconds"] = seconds / step * (run.steps - step)
    return found
