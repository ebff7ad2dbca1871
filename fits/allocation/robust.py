"""Straight lines and parabolas through many resampled copies at once, wild points weighed down.

Iteratively reweighted least squares with Huber's weights (Huber 1964), batched over draws.
"""

import numpy as np

from fits.observations import Matrix, Vector

TUNING = 1.345  # Huber's constant: 95 % efficiency under normal noise
MAD = 1.4826  # median absolute deviation to sd
STEPS = 15


def robust_least_squares(
    design: Matrix, y: Matrix, weight: Matrix, scale: float | None = None
) -> Matrix:
    """Coefficients (draws, p) of y (draws, rows) on design (rows, p).

    Rows of weight 0 do not count; `scale` is the sd of the noise, by default learnt from each
    draw's own residuals.
    """
    theta = _solve(design, y, weight)
    for _ in range(STEPS):
        size = np.abs(np.where(weight > 0, y - theta @ design.T, 0.0))
        sd = _spread(size, weight) if scale is None else np.full(y.shape[0], scale)
        limit = TUNING * np.maximum(sd, 1e-12)[:, None]
        theta = _solve(design, y, weight * np.minimum(1.0, limit / np.maximum(size, 1e-300)))
    return theta


def _spread(size: Matrix, weight: Matrix) -> Vector:
    """Robust sd of each draw's residuals, rows of weight 0 left out."""
    known = np.where(weight > 0, size, np.nan)
    return np.asarray(MAD * np.nanmedian(known, axis=1))


def _solve(design: Matrix, y: Matrix, weight: Matrix) -> Matrix:
    """Weighted least squares of each draw; the least possible ridge keeps it solvable."""
    weighted = weight[:, :, None] * design
    normal = np.swapaxes(weighted, 1, 2) @ design
    right = np.einsum("bnp,bn->bp", weighted, np.where(weight > 0, y, 0.0))
    ridge = 1e-12 * np.einsum("bpp->b", normal)[:, None, None] + 1e-300
    return np.asarray(
        np.linalg.solve(normal + ridge * np.eye(design.shape[1]), right[:, :, None])[:, :, 0]
    )
