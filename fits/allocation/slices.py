"""Runs cut at equal compute: what the first two approaches of Hoffmann et al. 2022 look at.

A table of final runs is cut where runs of at least three sizes lie within 20 % in compute, the
densest such windows first. A table of training curves (several rows a run_id) is cut by
interpolating every curve at common computes; a checkpoint of a decaying schedule lies above a run
that ends there, so curves should have a constant learning rate (Hoffmann et al. 2022, section 3).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.allocation.robust import MAD
from fits.observations import BUDGET_DECADES, FitError, Indices, Matrix, Observations, Vector
from fits.uncertainty.bootstrap import SEED_SD_PRIOR, SEED_SD_PRIOR_RUNS

MIN_SIZES = 3
MIN_CURVES, MIN_CHECKPOINTS = 3, 3
CUTS = 32  # computes at which curves are cut
SAME_SIZE = 0.02  # sizes within 2 % count as one
STEADY = 0.003  # sd of log compute within levels below which no slope is learnt from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Log losses at common compute: a row a level, a column a member (a run, or a curve)."""

    log_flops: Vector  # (levels,) ascending
    y: Matrix  # (levels, members), NaN where the member has no loss at the level
    log_n: Vector  # (members,)
    cluster: Indices  # (members,) what a bootstrap moves together, from 0
    curves: bool
    between: int  # runs at no level

    def table(self) -> pd.DataFrame:
        """A row per level and member: flops, n, loss."""
        level, member = np.nonzero(np.isfinite(self.y))
        return pd.DataFrame({
            "flops": np.exp(self.log_flops[level]),
            "n": np.exp(self.log_n[member]),
            "loss": np.exp(self.y[level, member]),
        })  # fmt: skip


def cut(obs: Observations) -> Slices:
    """The slices of a table; FitError `no_sizes`, `too_few_sizes` or `one_compute_level`."""
    if obs.n is None:
        raise FitError("no_sizes", "an allocation needs n_active and tokens for every run")
    slices = _cut_curves(obs, np.log(obs.n)) if has_curves(obs) else _cut_runs(obs, np.log(obs.n))
    if not slices.log_flops.size:
        raise FitError(
            "too_few_sizes",
            f"no compute has runs of {MIN_SIZES} sizes within 20 %; train more sizes at equal "
            "compute",
        )
    if slices.log_flops.size < 2:
        raise FitError(
            "one_compute_level",
            f"runs of {MIN_SIZES} sizes meet at one compute only, {np.exp(slices.log_flops[0]):.3g}"
            " FLOPs, and one level shows no exponent; add a second",
        )
    return slices


def has_curves(obs: Observations) -> bool:
    """Whether most rows are checkpoints: three rows or more of at least three runs."""
    counts = np.bincount(obs.cluster)
    curves = counts >= MIN_CHECKPOINTS
    return bool(curves.sum() >= MIN_CURVES and counts[curves].sum() > obs.flops.size / 2)


def last_rows(obs: Observations) -> Observations:
    """The last checkpoint of every run; all runs as they are where there are no curves."""
    if not has_curves(obs):
        return obs
    last = {int(c): i for i, c in enumerate(obs.cluster)}  # rows ascend in compute
    return obs.take(np.array(sorted(last.values()), dtype=np.int64))


def distinct(log_n: Vector) -> int:
    """How many sizes there are, 2 % counting as none."""
    steps = np.diff(np.sort(log_n))
    return int((steps > SAME_SIZE).sum()) + 1 if log_n.size else 0


def residual_sd(slices: Slices) -> float:
    """Robust sd of log loss about the levels' parabolas, shrunk to the prior of seed noise."""
    residuals, free = [], 0
    for level in range(slices.log_flops.size):
        rows = np.flatnonzero(np.isfinite(slices.y[level]))
        x = slices.log_n[rows] - slices.log_n[rows].mean()
        design = np.stack([np.ones_like(x), x, x**2], axis=1)
        y = slices.y[level, rows]
        residuals.append(y - design @ np.linalg.lstsq(design, y, rcond=None)[0])
        free += max(rows.size - 3, 0)
    rest = np.concatenate(residuals)
    measured = MAD * float(np.median(np.abs(rest))) * np.sqrt(rest.size / max(free, 1))
    total = SEED_SD_PRIOR_RUNS * SEED_SD_PRIOR**2 + free * measured**2
    return float(np.sqrt(total / (SEED_SD_PRIOR_RUNS + free)))


def _cut_runs(obs: Observations, log_n: Vector) -> Slices:
    """Final runs: a level is a window of compute; losses are brought to its mean compute."""
    level = level_index(obs.x, log_n)
    used = np.flatnonzero(level >= 0)
    levels = int(level.max()) + 1 if used.size else 0
    log_c = np.log(obs.flops)
    centre = np.array([log_c[level == k].mean() for k in range(levels)])
    y = np.full((levels, used.size), np.nan)
    if levels:
        off = log_c[used] - centre[level[used]]
        slope = _slope_within(level[used], log_n[used], off, obs.y[used])
        y[level[used], np.arange(used.size)] = obs.y[used] - slope * off
    cluster = np.unique(obs.cluster[used], return_inverse=True)[1].astype(np.int64)
    return Slices(log_flops=centre, y=y, log_n=log_n[used], cluster=cluster, curves=False,
                  between=obs.flops.size - used.size)  # fmt: skip


def level_index(x: Vector, log_n: Vector) -> Indices:
    """Level of each run, ascending in compute, -1 for none; x is log10 of compute, ascending.

    The window of 20 % with the most runs is a level first, so that levels of a digitised figure
    are not split at an arbitrary border.
    """
    level = np.full(x.size, -1, dtype=np.int64)
    free = np.arange(x.size)
    found = []
    while free.size >= MIN_SIZES:
        ends = np.searchsorted(x[free], x[free] + BUDGET_DECADES + 1e-9, side="right")
        count = ends - np.arange(free.size)
        first = int(count.argmax())
        if count[first] < MIN_SIZES:
            break
        window = free[first : ends[first]]
        free = np.setdiff1d(free, window)
        if distinct(log_n[window]) >= MIN_SIZES:
            found.append(window)
    for k, window in enumerate(sorted(found, key=lambda rows: float(x[rows].mean()))):
        level[window] = k
    return level


def _slope_within(level: Indices, log_n: Vector, off: Vector, y: Vector) -> float:
    """d log loss / d log compute inside levels, beside a parabola in log n of each level."""
    if off.std() < STEADY:
        return 0.0
    blocks = np.eye(int(level.max()) + 1)[level]
    mean = (blocks.T @ log_n) / blocks.sum(axis=0)
    x = log_n - mean[level]
    design = np.concatenate([blocks, blocks * x[:, None], blocks * x[:, None] ** 2], axis=1)
    if y.size <= design.shape[1] + 1:
        return 0.0
    residual = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (off, y)]
    square = float(residual[0] @ residual[0])
    return float(residual[0] @ residual[1]) / square if square > STEADY**2 else 0.0


def _cut_curves(obs: Observations, log_n: Vector) -> Slices:
    """Training curves, interpolated in log compute at common levels."""
    clusters = np.unique(obs.cluster)
    log_c = np.log(obs.flops)
    grid = np.linspace(log_c.min(), log_c.max(), CUTS + 2)[1:-1]
    y = np.full((grid.size, clusters.size), np.nan)
    sizes = np.empty(clusters.size)
    for k, c in enumerate(clusters):
        rows = np.flatnonzero(obs.cluster == c)
        sizes[k] = log_n[rows[-1]]
        y[:, k] = np.interp(grid, log_c[rows], obs.y[rows], left=np.nan, right=np.nan)
    enough = np.array([distinct(sizes[np.isfinite(row)]) >= MIN_SIZES for row in y], dtype=bool)
    return Slices(log_flops=grid[enough], y=y[enough], log_n=sizes,
                  cluster=np.arange(clusters.size), curves=True, between=0)  # fmt: skip
