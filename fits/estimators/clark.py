"""The estimator of Clark's law: active parameters and a saturating expert count, on one corpus."""

from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np

from fits.estimators.chart import Axis, Chart, ChartCurves, exponent, reading
from fits.estimators.forms import Array, Curved, columns, slope_table, stacked
from fits.estimators.identify import (
    require_count,
    require_experts,
    require_one_amount,
    require_sizes,
)
from fits.estimators.multistart import check_settings, estimate, refit
from fits.estimators.search import LOWEST_EXPONENT, Fit
from fits.laws.checks import known
from fits.laws.experts import ClarkLaw
from fits.observations import Matrix, Observations, Points, Vector

LN10 = float(np.log(10))
EXPERT_COUNTS = 4  # the level, its exponent, e_start and e_max
MOST_START, LEAST_MAX, MOST_MAX = 16.0, 32.0, 1e5  # of e_start, of e_max


@dataclass(frozen=True, slots=True, kw_only=True)
class ClarkHuber:
    """Estimates ClarkLaw: summed Huber loss on log residuals, best of many starts.

    The exponents of n at one expert and at the table's most are coordinates of their own, both
    above 0, so that the loss falls with n wherever the table has runs.
    """

    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.05, 0.1, 0.2)  # of n at one expert
    ratios: tuple[float, ...] = (0.6, 1.0)  # exponent of n at most experts over that at one
    gains: tuple[float, ...] = (0.03, 0.1)  # exponent of experts at the middle size
    e_starts: tuple[float, ...] = (1.02, 2.0)
    e_maxs: tuple[float, ...] = (100.0, 1000.0)
    floor: None = field(default=None, init=False)  # there is none to pin
    name: str = field(default="experts", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError unless seven runs on one amount of data vary size and experts."""
        require_count(obs, 7, self.name)
        require_experts(obs, EXPERT_COUNTS, self.name)
        require_sizes(obs, self.name)
        require_one_amount(obs, self.name)

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log loss and gain at the middle, two exponents of n, log e_start, log e_max.

        With x = log n - centre, e = log of the saturated count and top the log of the table's most
        experts: log loss = d - (a (1 - e / top) + c e / top) x - b e, in names of the axes.
        """
        n, n_experts = known(obs, "n", "n_experts")
        centre, top = float(np.log(n).mean()), float(np.log(n_experts.max()))
        axes = (
            Axis(name="d"), exponent("a"), exponent("c"),
            Axis(name="b", low=LOWEST_EXPONENT / 10, high=4.0, kind="exponent"),
            Axis(name="e_start", low=0.0, high=np.log(MOST_START)),
            Axis(name="e_max", low=np.log(LEAST_MAX), high=np.log(MOST_MAX)),
        )  # fmt: skip
        readings = {
            "a": reading(axes, "a", scale=-1.0),
            "b": reading(axes, "b", scale=-1.0, a=-centre / top, c=centre / top),
            "c": reading(axes, "c", scale=-LN10 / top, a=LN10 / top),
            "d": reading(axes, "d", scale=1 / LN10, a=centre / LN10),
            "e_start": reading(axes, "e_start", log=True),
            "e_max": reading(axes, "e_max", log=True),
        }
        form = partial(_clark_form, centre=centre, top=top)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=ClarkLaw)

    def starts(self, obs: Observations) -> Matrix:
        """All combinations of the tuples above, such that the median run is met."""
        n, n_experts = known(obs, "n", "n_experts")
        x, e = np.log(n) - np.log(n).mean(), np.log(n_experts)
        rows = []
        for a, ratio, b, first, most in product(
            self.exponents, self.ratios, self.gains, self.e_starts, self.e_maxs
        ):
            level = obs.y + a * (1 + (ratio - 1) * e / e.max()) * x + b * e
            rows.append([float(np.median(level)), a, ratio * a, b, np.log(first), np.log(most)])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError unless seven runs on one amount of data vary size and experts."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw from the best two optima of the whole table."""
        return refit(self, obs, y, weight, basins=2)


def _clark_form(at: Points, centre: float, top: float) -> Curved:
    n, n_experts = known(at, "n", "n_experts")
    return Curved(partial(_clark_exponents, np.log(n) - centre, n_experts, top))


def saturated(n_experts: Vector, log_start: Array, log_max: Array) -> tuple[Array, Array, Array]:
    """Log of the saturated expert count, and its slopes in log e_start and log e_max."""
    by_start, by_max = np.exp(-log_start), np.exp(-log_max)
    first = by_start - by_max  # 1 / the count that a dense model stands for, before saturation
    ratio = 1 / ((n_experts - 1) * first + 1)
    inverse = first * ratio + by_max
    return -np.log(inverse), by_start * ratio**2 / inverse, by_max * (1 - ratio**2) / inverse


def _clark_exponents(
    x: Vector, n_experts: Vector, top: float, theta: Matrix
) -> tuple[Array, Array]:
    d, a, c, b, log_start, log_max = columns(theta)
    e, by_start, by_max = saturated(n_experts, log_start, log_max)
    part = e / top
    by_e = (a - c) / top * x - b
    slopes: dict[int, Array | float] = {
        0: 1.0,
        1: -(1 - part) * x,
        2: -part * x,
        3: -e,
        4: by_e * by_start,
        5: by_e * by_max,
    }
    value = stacked(d - (a + (c - a) * part) * x - b * e, runs=x.size)
    return value, slope_table(theta, x.size, slopes)
