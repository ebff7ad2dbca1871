"""The compute-optimal path n(C), tokens(C) that one approach found, with intervals from draws."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fits.allocation.cost import Cost
from fits.allocation.robust import robust_least_squares
from fits.observations import FitError, Matrix, Vector

Mask = npt.NDArray[np.bool_]
LEAST_DRAWS = 0.5  # share of the resampled tables that must give an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Log optimal n at the asked computes: the whole table first, then draws (NaN: no answer)."""

    log_n: Matrix  # (1 + draws, points)
    evidence: pd.DataFrame  # what the path rests on; columns by approach
    cautions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate from the whole table and the 90 % interval of its draws."""

    value: float
    lo90: float
    hi90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """How n and tokens grow with compute: n ~ C**a, tokens ~ C**b, and both at given computes."""

    approach: str  # envelope, isoflop or parametric
    a: Interval  # exponent of n, over the table's own computes
    b: Interval  # exponent of tokens
    at: pd.DataFrame  # flops, n, n_lo90, n_hi90, tokens, tokens_lo90, tokens_hi90
    curve: pd.DataFrame  # the same columns over all computes, for drawing
    evidence: pd.DataFrame
    draws: int  # resampled tables that gave an answer
    cautions: tuple[str, ...]


def line_at(log_flops: Vector, log_n: Matrix, at: Vector, weight: Vector | None = None) -> Matrix:
    """Robust log-log line through each row's points, read at `at`; NaN with fewer than two.

    `weight` is of the points, equal by default.
    """
    known = np.isfinite(log_n)
    weights = known * (np.ones(log_flops.size) if weight is None else weight)
    centre = float(log_flops.mean())
    design = np.stack([np.ones_like(log_flops), log_flops - centre], axis=1)
    theta = np.full((log_n.shape[0], 2), np.nan)
    enough = known.sum(axis=1) >= 2
    theta[enough] = robust_least_squares(
        design, np.where(known, log_n, 0.0)[enough], weights[enough]
    )
    return np.asarray(theta @ np.stack([np.ones_like(at), at - centre]))


def require_draws(log_n: Matrix, what: str) -> float:
    """Share of draws without an answer; FitError if that is more than half."""
    if len(log_n) < 2:
        return 0.0
    failed = float(1 - np.isfinite(log_n[1:]).all(axis=1).mean())
    if failed > 1 - LEAST_DRAWS:
        raise FitError(
            "no_minimum_inside",
            f"in {failed:.0%} of the resampled tables {what} has no minimum inside the sizes at "
            "two computes; train more sizes at equal compute",
        )
    return failed


def trace(
    approach: str, found: Found, cost: Cost, log_flops: Vector, asked: int, ends: tuple[int, int]
) -> Path:
    """The path of what was found at `log_flops`, whose first `asked` points were asked for.

    `ends` are the places of the table's smallest and largest compute, between which the
    exponents are taken.
    """
    answered: Mask = np.isfinite(found.log_n).all(axis=1) | (np.arange(len(found.log_n)) == 0)
    log_n = found.log_n[answered]
    log_tokens = cost.log_tokens(log_n, log_flops)
    first, last = ends
    step = log_flops[last] - log_flops[first]
    whole = pd.DataFrame({
        "flops": np.exp(log_flops), **_columns("n", log_n), **_columns("tokens", log_tokens)
    })  # fmt: skip
    return Path(
        approach=approach,
        a=_interval((log_n[:, last] - log_n[:, first]) / step),
        b=_interval((log_tokens[:, last] - log_tokens[:, first]) / step),
        at=whole.iloc[:asked].reset_index(drop=True),
        curve=whole.iloc[asked:].reset_index(drop=True),
        evidence=found.evidence,
        draws=int(answered.sum()) - 1,
        cautions=found.cautions,
    )


def _interval(values: Vector) -> Interval:
    ends = np.quantile(values[1:], [0.05, 0.95]) if values.size > 1 else (np.nan, np.nan)
    return Interval(value=float(values[0]), lo90=float(ends[0]), hi90=float(ends[1]))


def _columns(name: str, logs: Matrix) -> dict[str, Vector]:
    values = np.exp(logs)
    ends = np.full((2, values.shape[1]), np.nan)
    if len(values) > 1:
        ends = np.quantile(values[1:], [0.05, 0.95], axis=0)
    return {name: values[0], f"{name}_lo90": ends[0], f"{name}_hi90": ends[1]}
