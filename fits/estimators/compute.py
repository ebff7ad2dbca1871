"""Estimators of laws in compute: frozen values whose `fit` turns observations into a law.

`PowerHuber(floor=0.0)` pins the floor at 0 by name, for few budgets; `PowerHuber(floor=None)`
leaves it free, for five budgets over 1.5 decades or more. `BrokenHuber()` allows one smooth break,
for seven budgets or more; a floor and a break bend the same way, so pin the floor where few
budgets lie beyond the break.

They minimise the SUMMED Huber loss of log residuals (Hoffmann et al. 2022, eq. 3) with analytic
gradients from many starts; floors stay between 0 and the smallest loss, exponents above 0.
`fit_draws` refits many resampled copies at once and is what the bootstrap calls.
"""

from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np

from fits.estimators.chart import NOTHING, Axis, Chart, ChartCurves, exponent, floor_axis, reading
from fits.estimators.forms import Array, Curved, columns, slope_table, stacked
from fits.estimators.identify import require_budgets, require_count
from fits.estimators.multistart import check_settings, estimate, floor_levels, log_floor, refit
from fits.estimators.search import Fit
from fits.estimators.solver import Terms
from fits.laws.compute import BrokenPowerLaw, PowerLaw
from fits.observations import Matrix, Observations, Points, Vector


def power_terms(flops: Vector, centre: float, floor: float | None) -> Terms:
    """Exponents log a - b (log C - centre) and, unless the floor is pinned at 0, log c."""
    x = np.log(flops) - centre
    reducible = np.stack([np.ones_like(x), -x], axis=1)
    if floor == 0:
        return Terms(offset=np.zeros((1, x.size)), design=reducible[None])
    if floor is not None:
        offset = np.stack([np.zeros_like(x), np.full_like(x, np.log(floor))])
        return Terms(offset=offset, design=np.stack([reducible, np.zeros_like(reducible)]))
    wide = np.concatenate([reducible, np.zeros((x.size, 1))], axis=1)
    constant = np.zeros_like(wide)
    constant[:, 2] = 1
    return Terms(offset=np.zeros((2, x.size)), design=np.stack([wide, constant]))


def _power_form(at: Points, centre: float) -> Terms:
    return power_terms(at.flops, centre, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerHuber:
    """Estimates PowerLaw; `floor` None is free, a number pins it (0 is the plain power law)."""

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
    floors: tuple[float, ...] = (0.02, 0.3, 0.6, 0.85, 0.97)  # of the smallest loss

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def name(self) -> str:
        """`power`, `power_floor`, or `power_pinned` with the pinned value."""
        if self.floor is None:
            return "power_floor"
        return "power" if self.floor == 0 else f"power_pinned({self.floor:g})"

    def require(self, obs: Observations) -> None:
        """Raise FitError for fewer budgets than constants."""
        free = 3 if self.floor is None else 2
        require_count(obs, free, self.name)
        require_budgets(obs, free, self.name)

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log a at the middle of the table, b, log irreducible."""
        centre = float(np.log(obs.flops).mean())
        axes = (Axis(name="a"), exponent("b"), floor_axis(self.floor))
        readings = {
            "a": reading(axes, "a", log=True, b=centre),
            "b": reading(axes, "b"),
            "irreducible": reading(axes, "irreducible", log=True),
        }
        form = partial(_power_form, centre=centre)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=PowerLaw)

    def starts(self, obs: Observations) -> Matrix:
        """Exponents × floors, the level such that the median run is met."""
        centred = np.log(obs.flops) - np.log(obs.flops).mean()
        rows = []
        for slope, floor in product(self.exponents, floor_levels(obs, self.floors, self.floor)):
            level = np.log(np.maximum(obs.loss - floor, 1e-3 * obs.loss)) + slope * centred
            rows.append([float(np.median(level)), slope, log_floor(floor)])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for fewer budgets than constants."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw from a low, a middle and a high floor, and keep the best."""
        low, high = (row.copy() for row in self.starts(obs)[[0, -1]])
        low[2] = NOTHING  # the solver clips it to the lowest floor there is
        also = (low, high) if self.floor is None else ()
        return refit(self, obs, y, weight, also=also)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenHuber:
    """Estimates BrokenPowerLaw; the break is sought inside the ladder, two budgets from its ends.

    A width beyond WIDEST e-folds of compute is no break but a bend, which a floor describes.
    """

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.03, 0.1, 0.3)
    ratios: tuple[float, ...] = (0.4, 1.0, 2.5)  # exponent after the break over the one before
    places: tuple[float, ...] = (0.25, 0.5, 0.75)  # of the break, between the ends of its box
    floors: tuple[float, ...] = (0.02, 0.5, 0.85)  # of the smallest loss
    name: str = field(default="broken", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError for fewer than one budget more than the law has constants."""
        budgets = BUDGETS if self.floor is None else BUDGETS - 1
        require_count(obs, budgets, self.name)
        require_budgets(obs, budgets, self.name)

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log a at the middle, b, b_after, log at, log width, log irreducible."""
        centre = float(np.log(obs.flops).mean())
        low, high = _inside(obs)
        axes = (
            Axis(name="a"), exponent("b"), exponent("b_after"),
            Axis(name="at", low=low - centre, high=high - centre),
            Axis(name="width", low=np.log(SHARPEST), high=np.log(WIDEST)),
            floor_axis(self.floor),
        )  # fmt: skip
        readings = {
            "a": reading(axes, "a", log=True, b=centre),
            "b": reading(axes, "b"),
            "b_after": reading(axes, "b_after"),
            "at": reading(axes, "at", log=True, offset=centre),
            "width": reading(axes, "width", log=True),
            "irreducible": reading(axes, "irreducible", log=True),
        }
        form = partial(_broken_form, centre=centre)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=BrokenPowerLaw)

    def starts(self, obs: Observations) -> Matrix:
        """Exponents × ratios × places × floors, the level such that the median run is met."""
        x = np.log(obs.flops) - np.log(obs.flops).mean()
        low, high = (end - np.log(obs.flops).mean() for end in _inside(obs))
        floors = floor_levels(obs, self.floors, self.floor)
        rows = []
        for b, ratio, place, floor in product(self.exponents, self.ratios, self.places, floors):
            at = low + place * (high - low)
            bent = b * x + (ratio - 1) * b * np.maximum(x - at, 0)
            level = np.log(np.maximum(obs.loss - floor, 1e-3 * obs.loss)) + bent
            rows.append([float(np.median(level)), b, ratio * b, at, 0.0, log_floor(floor)])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for too few budgets."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw from the best two optima of the whole table."""
        return refit(self, obs, y, weight, basins=2)


BUDGETS = 7  # six constants and one to spare
SHARPEST, WIDEST = 0.1, 4.0  # e-folds of compute


def _inside(obs: Observations) -> tuple[float, float]:
    """Log compute of the third budget and of the third from the end: where a break can show."""
    index = obs.budget
    at = np.bincount(index, np.log(obs.flops)) / np.bincount(index)
    return float(at[2]), float(at[-3])


def _broken_form(at: Points, centre: float) -> Curved:
    return Curved(partial(_broken_exponents, np.log(at.flops) - centre))


def _broken_exponents(x: Vector, theta: Matrix) -> tuple[Array, Array]:
    """log a - b x - (b_after - b) w softplus((x - at) / w), and log irreducible."""
    a, b, after, at, log_width, floor = columns(theta)
    width = np.exp(log_width)
    past = (x - at) / width
    soft = np.logaddexp(0.0, past)
    share = np.exp(past - soft)  # of the way past the break
    bent = (after - b) * width
    value = stacked(a - b * x - bent * soft, floor, runs=x.size)
    slopes = slope_table(
        theta,
        x.size,
        {
            0: 1.0,
            1: width * soft - x,
            2: -width * soft,
            3: (after - b) * share,
            4: -bent * (soft - share * past),
        },
        {5: 1.0},
    )
    return value, slopes
