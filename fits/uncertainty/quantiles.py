"""Draws to quantiles, and draws of parts to draws of their mean."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fits.observations import Matrix, Vector

LEVELS = {
    "median": 0.5,
    "lo50": 0.25,
    "hi50": 0.75,
    "lo90": 0.05,
    "hi90": 0.95,
    "lo95": 0.025,
    "hi95": 0.975,
}


def quantile_table(draws: Matrix, flops: Vector) -> pd.DataFrame:
    """A row per column of draws: flops and the quantiles of LEVELS."""
    values = np.quantile(draws, list(LEVELS.values()), axis=0)
    return pd.DataFrame({"flops": flops, **dict(zip(LEVELS, values, strict=True))})


def comonotone(draws: Sequence[Matrix], weights: Sequence[float]) -> Matrix:
    """Draws of the weighted mean if all parts were at the same quantile at once.

    Parts of one model share data, recipe and law, so their form errors go together. The quantiles
    of the result are the weighted means of the parts' quantiles: no error averages out, which is
    the conservative choice.
    """
    total = float(sum(weights))
    parts = [w / total * np.sort(d, axis=0) for d, w in zip(draws, weights, strict=True)]
    return np.asarray(np.sum(parts, axis=0))
