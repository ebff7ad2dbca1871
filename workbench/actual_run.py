"""Which run of a table is the target of a prediction: by its compute and sizes, or by its name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fits.observations import run_names
from fits.predictions.prediction import Prediction
from workbench.errors import InputError
from workbench.output import plain
from workbench.targets import TARGET_KEYS

SAME_TARGET = 0.02  # a run is a target within 2 % of its compute and sizes


def sealed_run(runs: pd.DataFrame, sealed: Mapping[str, Prediction]) -> str | None:
    """The run that a sealed prediction was made of, if it has come into the table since.

    It has the target's compute and sizes within SAME_TARGET and was not fitted; None where the
    table names its target itself, or has no such run.
    """
    if ((runs["role"] == "target") & ended(runs)).any():
        return None
    for prediction in sealed.values():
        found = alike(runs, prediction.target)
        fitted = set(prediction.loss.runs_used)
        names = [name for name in run_names(runs[found]) if name not in fitted]
        if names:
            return names[0]
    return None


def ended(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each run finished or diverged, at a known compute."""
    return runs["status"].isin(["finished", "diverged"]) & (runs["flops"] > 0)


def alike(runs: pd.DataFrame, target: Mapping[str, Any]) -> "pd.Series[bool]":
    """The runs that have ended, of the target's compute and sizes within SAME_TARGET."""
    found = ended(runs)
    for key in TARGET_KEYS:
        wanted = target.get(key)
        if wanted is not None and key in runs.columns:
            found &= (pd.to_numeric(runs[key]) / float(wanted) - 1).abs() < SAME_TARGET
    return found


def is_of(measured: Mapping[str, Any], target: Mapping[str, Any]) -> bool:
    """Whether a run has the target's compute and sizes, as far as both are known, within
    SAME_TARGET: runs of equal compute and other sizes are other targets."""
    known = [key for key in TARGET_KEYS if key in measured and target.get(key) is not None]
    return all(abs(float(measured[k]) / float(target[k]) - 1) <= SAME_TARGET for k in known)


def with_actual(
    runs: pd.DataFrame, path: Path, name: str | None
) -> tuple[pd.DataFrame, dict[str, Any] | None, list[str]]:
    """The runs with the target's role set, what the target measured, and what to know of it."""
    runs, over, chosen = runs.copy(), ended(runs), pd.Series(True, runs.index)
    if name is not None:
        chosen = (runs["run_id"] == name) | pd.Series(run_names(runs), runs.index).eq(name)
        if not chosen.any() and "name" in runs.columns:
            chosen = runs["name"] == name
        if not chosen.any():
            raise InputError(f"{path} has no run {name!r}", "name one of its run_id")
        if not (chosen & over).any():
            what = f"{path}: run {name!r} has not ended, or its flops are empty"
            raise InputError(what, "name a run that finished or diverged")
        runs.loc[chosen, "role"] = "target"
    rows = runs[(runs["role"] == "target") & over & chosen]
    if rows.empty:
        return runs, None, []
    row = rows.iloc[0]
    notes = []
    if len(rows) > 1:
        notes.append(f"{len(rows)} rows are targets; {run_names(rows)[0]} is compared, the first")
    lost = row["status"] == "diverged"
    keys = ("run_id", *TARGET_KEYS, *(() if lost else ("loss", "loss_se")))
    measured = {key: plain(row[key]) for key in keys if key in row and pd.notna(row[key])}
    return runs, measured | ({"status": "diverged"} if lost else {}), notes
