"""An estimator whose Huber threshold is measured in the table's own seed noise.

The published delta of 1e-3 is far below the noise of most tables, so nearly every residual is
weighed by its sign alone, as in least absolute deviations: safe against wild runs, and about a
third less efficient than need be where noise is Gaussian. Dividing every residual by the seed
noise and setting delta to HUBER there is the same fit as delta = HUBER · sd with residuals left
alone, so that is what `in_units_of_noise` returns.

One pooled sd serves all runs. A sd per budget would rest on two or three seeds, which know it to
a factor of two: weights from it would mostly follow chance.
"""

from dataclasses import replace
from typing import Any, TypeVar

from fits.observations import Observations
from fits.uncertainty.bootstrap import SeedNoise, seed_noise

HUBER = 1.345  # 95 % of the efficiency of least squares on Gaussian noise (Huber 1964)

Kind = TypeVar("Kind", bound=Any)


def in_units_of_noise(
    estimator: Kind, obs: Observations, *, noise: SeedNoise | None = None, times: float = HUBER
) -> Kind:
    """The estimator with delta = `times` · the sd of log loss between seeds of the table.

    Where no two runs differ by seed alone the sd is `seed_noise`'s prior. Raises ValueError for a
    threshold that is not above 0.
    """
    if not times > 0:
        raise ValueError(f"times is {times}; it must be above 0")
    sd = (noise or seed_noise(obs)).sd
    return replace(estimator, delta=times * sd)
