"""What a report is made from: tables as plain DataFrames, sealed predictions, and facts.

The columns are those of the run, samples and curves tables; a column that is missing leaves out
what it would have fed, so a bare table of flops and loss still gives a report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.predictions.prediction import Prediction

SEAL_STATES = ("held", "broken", "unanchored")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """Everything that a report shows; nothing is read from elsewhere.

    predictions: the first is the headline. actual: loss, loss_se, loss_<part>, pass_rate,
    pass_rate_buckets, flops, run_id, as far as they were measured; None before the target is
    trained; {"status": "diverged"} with no loss where it diverged. seal: state,
    sealed_before_target, head, sealed_at, target_started_at, problems,
    prior_targets_seen; None where no ledger was kept. wall: seconds by stage. backtest: what
    would have been said of the largest runs, its columns those of reports.figures.backtest.
    """

    title: str
    runs: pd.DataFrame
    predictions: tuple[Prediction, ...]
    family: Mapping[str, str | float | int | None] = field(default_factory=dict)
    curves: pd.DataFrame | None = None
    samples: pd.DataFrame | None = None
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    actual: Mapping[str, Any] | None = None
    seal: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] | None = None
    wall: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    backtest: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if not self.predictions:
            raise ValueError("predictions is empty; a report needs at least one prediction")
        names = [prediction.name for prediction in self.predictions]
        if len(set(names)) < len(names):
            raise ValueError(f"prediction names {names} repeat; each must be different")
        missing = {"flops", "loss"} - set(self.runs.columns)
        if missing:
            raise ValueError(f"the table of runs has no column {sorted(missing)}; it needs both")
        if self.seal is not None and self.seal.get("state") not in SEAL_STATES:
            raise ValueError(f"seal state {self.seal.get('state')!r}; one of {SEAL_STATES}")

    @property
    def diverged(self) -> bool:
        """Whether the target was trained and diverged."""
        return (self.actual or {}).get("status") == "diverged"

    @property
    def rung(self) -> str:
        """What runs of one compute are called: rungs of a ladder, or budgets of any table."""
        planned = "rung" in self.runs.columns and bool(self.runs["rung"].notna().any())
        return "rung" if planned else "budget"

    @property
    def headline(self) -> Prediction:
        """The prediction that the report is about."""
        return self.predictions[0]


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the report was written."""

    pdf: Path | None  # None where typst is not installed
    json: Path

    @property
    def shown(self) -> str:
        """The file for people, or the numbers and what the pages need."""
        if self.pdf is None:
            return f"{self.json} (no PDF: that needs the package typst, pip install typst)"
        return str(self.pdf)


def floats(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """The column as floats, NaN where it is missing, not a number, or absent."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return np.asarray(pd.to_numeric(table[column], errors="coerce"), dtype=float)


def texts(table: pd.DataFrame, column: str) -> list[str]:
    """The column as strings, empty where it is missing or absent."""
    if column not in table.columns:
        return [""] * len(table)
    return ["" if pd.isna(value) else str(value) for value in table[column]]


def number(value: object) -> float | None:
    """A finite float, or None for whatever is missing, infinite or no number."""
    if value is None or isinstance(value, bool | np.bool_):
        return None
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None


def finished(runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Which runs have ended as they should; a table that tells no status has only such runs."""
    return np.array([status in ("", "finished") for status in texts(runs, "status")], dtype=bool)


def part_column(part: str) -> str:
    """The run-table column of a loss part, whether it is called text or loss_text."""
    return part if part.startswith("loss_") else f"loss_{part}"


def part_name(part: str) -> str:
    """The part's name without its prefix."""
    return part.removeprefix("loss_")


def part_names(inputs: ReportInputs) -> list[str]:
    """The loss parts that were predicted or measured, in order of first mention."""
    found = [part_name(part) for item in inputs.predictions for part in item.parts]
    for column in inputs.runs.columns:
        name = str(column)
        measured = name.startswith("loss_") and not name.endswith("_se")
        if measured and bool(np.isfinite(floats(inputs.runs, name)).any()):
            found.append(part_name(name))
    return list(dict.fromkeys(found))
