"""Approach 1 of Hoffmann et al. 2022: at each compute the run of the lowest loss.

A winner counts only where a smaller and a larger run at the same compute are worse; at the border
of the sampled sizes the winner says where the sampling ended, not where the optimum is.

Draws are a parametric bootstrap by run: each run's losses move by the scatter about the parabolas
of the second approach, and each winner by up to half the step to the next size, since the optimum
may lie anywhere between sizes. Resampling runs would take the winners themselves away, which moves
the envelope to wherever the next run happens to be.
"""

import numpy as np
import pandas as pd

from fits.allocation.path import Found, line_at, require_draws
from fits.allocation.slices import SAME_SIZE, Slices, residual_sd
from fits.observations import FitError, Indices, Matrix, Vector

OFTEN = 0.05  # share of resampled tables without an envelope that is worth a word


def envelope(slices: Slices, at: Vector, *, draws: int, rng: np.random.Generator) -> Found:
    """Log n on the envelope at log compute `at`.

    Raises FitError `no_minimum_inside` if fewer than two levels have a winner inside.
    """
    winner = winners(slices, slices.y)
    inside = np.flatnonzero(winner >= 0)
    lost = slices.log_flops.size - inside.size
    if inside.size < 2:
        raise FitError(
            "no_minimum_inside",
            f"at {lost} of {slices.log_flops.size} computes the lowest loss is at the smallest or "
            "largest size; train sizes on both sides of it",
        )
    rows = [np.where(winner >= 0, slices.log_n[winner], np.nan)]
    noise = residual_sd(slices)
    for _ in range(draws):
        shock = noise * rng.standard_normal(int(slices.cluster.max()) + 1)
        shift = rng.uniform(size=slices.log_n.size)
        rows.append(_between_sizes(slices, slices.y + shock[slices.cluster], shift))
    log_n = line_at(slices.log_flops, np.array(rows), at)
    failed = require_draws(log_n, "the envelope")
    evidence = pd.DataFrame({
        "flops": np.exp(slices.log_flops[inside]),
        "n": np.exp(slices.log_n[winner[inside]]),
        "loss": np.exp(slices.y[inside, winner[inside]]),
    })  # fmt: skip
    notes = []
    if lost:
        notes.append(
            f"at {lost} of {slices.log_flops.size} computes the lowest loss is at the smallest or "
            "largest size; they are left out"
        )
    if inside.size < 4:
        notes.append(f"the line goes through {inside.size} computes only")
    if failed > OFTEN:
        notes.append(f"{failed:.0%} of the resampled tables have no envelope inside the sizes")
    return Found(log_n=log_n, evidence=evidence, cautions=tuple(notes))


def winners(slices: Slices, y: Matrix) -> Indices:
    """Index of the lowest-loss member of each level, -1 where it is at the border of the sizes."""
    known = np.isfinite(y)
    best = np.where(known, y, np.inf).argmin(axis=1)
    size = slices.log_n[best][:, None]
    smaller = (known & (slices.log_n < size - SAME_SIZE)).any(axis=1)
    larger = (known & (slices.log_n > size + SAME_SIZE)).any(axis=1)
    return np.where(smaller & larger, best, -1).astype(np.int64)


def _between_sizes(slices: Slices, y: Matrix, shift: Vector) -> Vector:
    """Winners' log n, each moved within half a step to its neighbours in size at that level."""
    best = winners(slices, y)
    moved = np.full(best.size, np.nan)
    for level in np.flatnonzero(best >= 0):
        sizes = slices.log_n[np.isfinite(y[level])]
        size = slices.log_n[best[level]]
        down = size - sizes[sizes < size - SAME_SIZE].max()
        up = sizes[sizes > size + SAME_SIZE].min() - size
        moved[level] = size + 0.5 * (shift[best[level]] * (down + up) - down)
    return moved
