"""Approach 2 of Hoffmann et al. 2022: a parabola in log n at each compute, then a line.

The parabola is of log loss, so its residuals are relative errors at every level. It is a local
form: over a wide or lopsided range of sizes its minimum leans towards the side where the true
curve is flatter (alpha and beta differ), which the cautions say where it may matter.
"""

import numpy as np
import pandas as pd

from fits.allocation.path import Found, line_at, require_draws
from fits.allocation.robust import robust_least_squares
from fits.allocation.slices import Slices, distinct, residual_sd
from fits.observations import FitError, Matrix, Vector
from fits.uncertainty.bootstrap import smooth_weights

WIDE = np.log(30.0)  # sizes of a level spanning more than this are no local neighbourhood
EDGE = 0.7  # of the way from the middle of the sampled log n to its border


def isoflop(slices: Slices, at: Vector, *, draws: int, rng: np.random.Generator) -> Found:
    """Log n at the parabolas' minima, as a robust line read at log compute `at`.

    Raises FitError `no_minimum_inside` if fewer than two levels have a minimum inside their sizes.
    """
    members = slices.log_n.size
    noise = residual_sd(slices)
    shock = noise * rng.standard_normal((draws, int(slices.cluster.max()) + 1))[:, slices.cluster]
    weight = np.concatenate([np.ones((1, members)), smooth_weights(slices.cluster, draws, rng)])
    rows = []
    minima = np.full((1 + draws, slices.log_flops.size), np.nan)
    for level in range(slices.log_flops.size):
        minima[:, level], row = _level(slices, level, shock, weight, noise)
        rows.append(row)
    evidence = pd.DataFrame(rows)
    good = (evidence["refused"] == "").to_numpy()
    if good.sum() < 2:
        raise FitError(
            "no_minimum_inside",
            f"at {(~good).sum()} of {good.size} computes the parabola has no minimum inside the "
            "sizes trained there; train sizes on both sides of the lowest loss",
        )
    sd = evidence["sd"].to_numpy()[good]
    trust = 1 / (sd**2 + np.median(sd) ** 2)  # a flat parabola says little, a sharp one not all
    log_n = line_at(slices.log_flops[good], minima[:, good], at, trust / trust.mean())
    require_draws(log_n, "the parabola")
    if draws:
        ends = np.nanquantile(np.exp(minima[1:, good]), [0.05, 0.95], axis=0)
        evidence.loc[good, "lo90"], evidence.loc[good, "hi90"] = ends
    return Found(log_n=log_n, evidence=evidence, cautions=_cautions(evidence))


def _level(
    slices: Slices, level: int, shock: Matrix, weight: Matrix, noise: float
) -> tuple[Vector, dict[str, object]]:
    """Log n at the minimum (1 + draws), NaN where a draw's curve has none, and the level's row.

    Weights over m runs carry (m - 3) / m of the variance of a parabola of three constants; the
    shocks supply the rest. A draw's minimum may lie beyond the sizes by as much as they span.
    """
    rows = np.flatnonzero(np.isfinite(slices.y[level]))
    log_n, y = slices.log_n[rows], slices.y[level, rows]
    middle = float(log_n.mean())
    x = log_n - middle
    copies = np.concatenate([y[None], y + np.sqrt(3 / rows.size) * shock[:, rows]])
    design = np.stack([np.ones_like(x), x, x**2], axis=1)
    theta = robust_least_squares(design, copies, weight[:, rows], scale=noise)
    span = float(np.ptp(x))
    convex = theta[:, 2] > 0
    lowest = np.divide(
        -theta[:, 1], 2 * theta[:, 2], where=convex, out=np.full(convex.size, np.nan)
    )
    inside = bool(convex[0] and x.min() < lowest[0] < x.max())
    row: dict[str, object] = {
        "flops": float(np.exp(slices.log_flops[level])),
        "sizes": distinct(log_n),
        "n_low": float(np.exp(log_n.min())),
        "n_high": float(np.exp(log_n.max())),
        "n": float(np.exp(lowest[0] + middle)) if inside else np.nan,
        "loss": float(np.exp(theta[0, 0] - theta[0, 2] * lowest[0] ** 2)) if inside else np.nan,
        "curvature": float(theta[0, 2]) if inside else np.nan,
        "sd": noise * _lever(design, theta[0]) if inside else np.nan,
        "refused": "" if inside else "no_minimum_inside",
    }
    return np.clip(lowest, x.min() - span, x.max() + span) + middle, row


def _lever(design: Matrix, theta: Vector) -> float:
    """Sd of log n at the minimum for noise of sd 1 in log loss (delta method)."""
    slope = np.array([0.0, -1 / (2 * theta[2]), theta[1] / (2 * theta[2] ** 2)])
    return float(np.sqrt(slope @ np.linalg.pinv(design.T @ design) @ slope))


def _cautions(evidence: pd.DataFrame) -> tuple[str, ...]:
    good = evidence[evidence["refused"] == ""]
    notes = []
    refused = evidence[evidence["refused"] != ""]
    if len(refused):
        names = ", ".join(f"{v:.3g}" for v in refused["flops"][:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        notes.append(f"no minimum inside the sizes at {names}{more} FLOPs; they are left out")
    if len(good) < 4:
        notes.append(f"the line goes through {len(good)} minima only")
    low, high = (np.log(good[name].to_numpy()) for name in ("n_low", "n_high"))
    span = high - low
    if np.median(span) > WIDE:
        notes.append(
            f"the sizes of a level span {np.exp(np.median(span)):.0f}x: a parabola is local, and "
            "its minimum leans where loss rises unequally on the two sides"
        )
    off = np.abs(np.log(good["n"].to_numpy()) - 0.5 * (low + high)) / (0.5 * span)
    if (off > EDGE).any():
        notes.append(f"{int((off > EDGE).sum())} minima lie near the border of the sampled sizes")
    return tuple(notes)
