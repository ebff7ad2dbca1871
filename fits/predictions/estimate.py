"""What is predicted for one number: quantiles or a named refusal, as plain values for JSON."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from fits.observations import FitError

Row = dict[str, float]

# Cautions that tell what was done and speak neither for nor against the result.
NEUTRAL = (
    "the curve flattens with compute",
    "the mean of the buckets' forecasts",
    "n and tokens do not vary apart",
    "n_active and tokens of the runs are not known",
    "exact duplicate row(s) were counted once",
)


def is_neutral(caution: str) -> bool:
    """Whether a caution is only a remark."""
    return any(words in caution for words in NEUTRAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One predicted number with 50 and 90 % intervals, or why there is none."""

    median: float | None = None
    lo50: float | None = None
    hi50: float | None = None
    lo90: float | None = None
    hi90: float | None = None
    refused: str | None = None  # short name of the refusal
    reason: str | None = None  # one sentence
    weights: dict[str, float] = field(default_factory=dict)  # by law
    constants: dict[str, dict[str, float]] = field(default_factory=dict)  # by law
    cautions: tuple[str, ...] = ()
    naive: dict[str, float | None] = field(default_factory=dict)  # last_rung, last_two_rungs
    band: tuple[Row, ...] = ()  # flops, median, lo50, hi50, lo90, hi90
    runs_used: tuple[str, ...] = ()
    left_out: tuple[dict[str, str], ...] = ()  # run_id, reason
    conventions: dict[str, float] = field(default_factory=dict)  # median by counting convention

    def __post_init__(self) -> None:
        if (self.median is None) == (self.refused is None):
            raise ValueError(f"Estimate with median {self.median} and refusal {self.refused!r}")
        if self.median is not None:
            ends = (self.lo90, self.lo50, self.median, self.hi50, self.hi90)
            known = [e for e in ends if e is not None and math.isfinite(e)]
            if len(known) < 5 or known != sorted(known):
                raise ValueError(f"Estimate quantiles {ends} must be finite and ascending")


def estimate_from_json(data: dict[str, Any], where: str = "estimate") -> Estimate:
    """The Estimate that `asdict` and JSON made; ValueError for unknown keys."""
    allowed = {f.name for f in fields(Estimate)}
    unknown = set(data) - allowed
    if unknown:
        raise ValueError(f"{where}: unknown key {sorted(unknown)[0]!r}; allowed: {sorted(allowed)}")
    listed = ("cautions", "band", "runs_used", "left_out")
    tuples: dict[str, Any] = {key: tuple(data[key]) for key in listed if key in data}
    values: dict[str, Any] = data | tuples
    return Estimate(**values)


def refusal(error: FitError) -> Estimate:
    """The refusal as an estimate; runs that screens left out come with it."""
    rows = () if error.left_out is None else named_rows(error.left_out)
    return Estimate(refused=error.name, reason=str(error), left_out=rows)


def named_rows(left_out: pd.DataFrame) -> tuple[dict[str, str], ...]:
    """Left-out runs as plain rows."""
    return tuple(
        {"run_id": str(r), "reason": str(why)}
        for r, why in zip(left_out["run_id"], left_out["reason"], strict=True)
    )


def plain(row: pd.Series) -> Row:
    """A quantile row as a dict of floats, without the 95 % ends."""
    return {str(k): float(v) for k, v in row.items() if str(k) not in ("lo95", "hi95")}


def band_rows(curve: pd.DataFrame) -> tuple[Row, ...]:
    """The curve as plain rows for drawing."""
    return tuple(plain(row) for _, row in curve.iterrows())


def inside(values: dict[str, Any]) -> dict[str, Any]:
    """Values for JSON: numpy scalars to Python, NaN to None."""

    def one(value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    return {str(k): one(v) for k, v in values.items()}
