"""Estimators of laws for sparse models.

| estimator | needs | when |
|---|---|---|
| `ChinchillaTotalHuber` | n_total, tokens | sparsity is constant |
| `ClarkHuber` | n_active, n_experts, four expert counts | routed models on one amount of data |
| `SparseHuber` | n_active, n_total, tokens, all apart | density, size and data vary |
| `SparseSizeHuber` | n_active, n_total | density and size vary on one amount of data |

All minimise the summed Huber loss of log residuals from many starts.
"""

from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np

from fits.estimators.chart import Axis, Chart, ChartCurves, exponent, floor_axis, reading
from fits.estimators.forms import Array, Curved, columns, slope_table, stacked
from fits.estimators.identify import (
    require_amounts,
    require_count,
    require_density,
    require_one_amount,
    require_plane,
    require_sizes,
)
from fits.estimators.multistart import check_settings, estimate, floor_levels, log_floor, refit
from fits.estimators.search import Fit
from fits.estimators.sizes import SHARES, centres, reducible_parts, surface_chart, surface_starts
from fits.laws.checks import known
from fits.laws.experts import ChinchillaTotalLaw, SparseLaw, SparseSizeLaw
from fits.observations import Matrix, Observations, Points, Vector

LEAST_SATURATION, MOST_SATURATION = 1e-5, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ChinchillaTotalHuber:
    """Estimates ChinchillaTotalLaw: Chinchilla with every parameter held in place of n_active."""

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.15, 0.35, 0.7)
    shares: tuple[float, ...] = SHARES
    name: str = field(default="chinchilla_total", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError for fewer than six runs, or n_total and tokens on one line."""
        require_count(obs, 6 if self.floor is None else 5, self.name)
        require_plane(obs, self.name, "n_total")

    def chart(self, obs: Observations) -> Chart:
        """Chinchilla's coordinates over n_total."""
        return surface_chart(obs, self.floor, ChinchillaTotalLaw, "n_total")

    def starts(self, obs: Observations) -> Matrix:
        """Exponents × exponents × floors × shares of size in what is reducible."""
        return surface_starts(obs, self.exponents, self.shares, self.floor)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for fewer than six runs, or n_total and tokens on one line."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw, starting from the optimum of the whole table."""
        return refit(self, obs, y, weight)


def log_gain(dilution: Vector, saturation: Array) -> tuple[Array, Array]:
    """Log of the gain of n_total / n_active = exp(dilution), and its slope in log saturation."""
    density = np.exp(-dilution)
    below = density + (1 - density) * saturation
    return -np.log(below), -(1 - density) * saturation / below


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseHuber:
    """Estimates SparseLaw: active and total parameters and tokens together."""

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.15, 0.35, 0.7)
    shares: tuple[float, ...] = (0.3, 0.7)  # of the floor, and of size in what is reducible
    counted: tuple[float, ...] = (0.3, 0.8)  # share of the extra parameters
    saturations: tuple[float, ...] = (1e-3, 0.05)
    name: str = field(default="sparse", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError unless nine runs vary size, tokens and density apart."""
        require_count(obs, 9 if self.floor is None else 8, self.name)
        require_amounts(obs, self.name, "sparse_fixed_tokens")
        require_plane(obs, self.name)
        require_density(obs, self.name, "n", "tokens")

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log A, log B, log E, alpha, beta, share, log saturation."""
        centre_n, centre_tokens = centres(obs)
        axes = (
            Axis(name="a"), Axis(name="b"), floor_axis(self.floor),
            exponent("alpha"), exponent("beta"), Axis(name="share", low=0.0, high=1.0),
            Axis(name="saturation", low=np.log(LEAST_SATURATION), high=np.log(MOST_SATURATION)),
        )  # fmt: skip
        readings = {
            "irreducible": reading(axes, "irreducible", log=True),
            "a": reading(axes, "a", log=True, alpha=centre_n),
            "b": reading(axes, "b", log=True, beta=centre_tokens),
            "alpha": reading(axes, "alpha"),
            "beta": reading(axes, "beta"),
            "share": reading(axes, "share"),
            "saturation": reading(axes, "saturation", log=True),
        }
        form = partial(_sparse_form, centre_n=centre_n, centre_tokens=centre_tokens)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=SparseLaw)

    def starts(self, obs: Observations) -> Matrix:
        """All combinations of the tuples above, such that the median run is met."""
        n, n_total = known(obs, "n", "n_total")
        middle = np.array(np.median(np.log(n_total / n)))
        rows = []
        for alpha, beta, share, saturation in product(
            self.exponents, self.exponents, self.counted, self.saturations
        ):
            lift = alpha * share * float(log_gain(middle, np.array(saturation))[0])
            for a, b, floor in reducible_parts(obs, self.shares, self.floor):
                rows.append([a + lift, b, floor, alpha, beta, share, np.log(saturation)])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError unless nine runs vary size, tokens and density apart."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw from the best two optima of the whole table."""
        return refit(self, obs, y, weight, basins=2)


def _sparse_form(at: Points, centre_n: float, centre_tokens: float) -> Curved:
    n, n_total, tokens = known(at, "n", "n_total", "tokens")
    x, z = np.log(n) - centre_n, np.log(tokens) - centre_tokens
    return Curved(partial(_sparse_exponents, x, np.log(n_total / n), z))


def _sparse_exponents(x: Vector, dilution: Vector, z: Vector, theta: Matrix) -> tuple[Array, Array]:
    a, b, floor, alpha, beta, share, log_saturation = columns(theta)
    gain, by_saturation = log_gain(dilution, np.exp(log_saturation))
    value = stacked(a - alpha * (x + share * gain), b - beta * z, floor, runs=x.size)
    by_size: dict[int, Array | float] = {
        0: 1.0,
        3: -(x + share * gain),
        5: -alpha * gain,
        6: -alpha * share * by_saturation,
    }
    return value, slope_table(theta, x.size, by_size, {1: 1.0, 4: -z}, {2: 1.0})


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseSizeHuber:
    """Estimates SparseSizeLaw: active and total parameters, on one amount of data."""

    floor: float | None = None  # nats per token; of these tokens, not of endless ones
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.06, 0.15, 0.35, 0.7)
    floors: tuple[float, ...] = (0.05, 0.4, 0.8)  # of the smallest loss
    counted: tuple[float, ...] = (0.2, 0.5, 0.9)  # share of the extra parameters
    saturations: tuple[float, ...] = (1e-3, 0.03)
    name: str = field(default="sparse_fixed_tokens", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError unless seven runs of one amount of data vary size and density apart."""
        require_count(obs, 7 if self.floor is None else 6, self.name)
        require_sizes(obs, self.name)
        require_density(obs, self.name, "n")
        require_one_amount(obs, self.name)

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log A at the centre, log E, alpha, share, log saturation."""
        (n,) = known(obs, "n")
        centre = float(np.log(n).mean())
        axes = (
            Axis(name="a"), floor_axis(self.floor), exponent("alpha"),
            Axis(name="share", low=0.0, high=1.0),
            Axis(name="saturation", low=np.log(LEAST_SATURATION), high=np.log(MOST_SATURATION)),
        )  # fmt: skip
        readings = {
            "irreducible": reading(axes, "irreducible", log=True),
            "a": reading(axes, "a", log=True, alpha=centre),
            "alpha": reading(axes, "alpha"),
            "share": reading(axes, "share"),
            "saturation": reading(axes, "saturation", log=True),
        }
        form = partial(_sparse_size_form, centre=centre)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=SparseSizeLaw)

    def starts(self, obs: Observations) -> Matrix:
        """All combinations of the tuples above, such that the median run is met."""
        n, n_total = known(obs, "n", "n_total")
        x, dilution = np.log(n) - np.log(n).mean(), np.log(n_total / n)
        floors = floor_levels(obs, self.floors, self.floor)
        rows = []
        for alpha, share, saturation, floor in product(
            self.exponents, self.counted, self.saturations, floors
        ):
            effective = x + share * log_gain(dilution, np.array(saturation))[0]
            rest = np.log(np.maximum(obs.loss - floor, 1e-3 * obs.loss))
            level = float(np.median(rest + alpha * effective))
            rows.append([level, log_floor(floor), alpha, share, np.log(saturation)])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError unless seven runs of one amount of data vary size and density apart."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw from the best two optima of the whole table."""
        return refit(self, obs, y, weight, basins=2)


def _sparse_size_form(at: Points, centre: float) -> Curved:
    n, n_total = known(at, "n", "n_total")
    return Curved(partial(_sparse_size_exponents, np.log(n) - centre, np.log(n_total / n)))


def _sparse_size_exponents(x: Vector, dilution: Vector, theta: Matrix) -> tuple[Array, Array]:
    a, floor, alpha, share, log_saturation = columns(theta)
    gain, by_saturation = log_gain(dilution, np.exp(log_saturation))
    value = stacked(a - alpha * (x + share * gain), floor, runs=x.size)
    by_size: dict[int, Array | float] = {
        0: 1.0,
        2: -(x + share * gain),
        3: -alpha * gain,
        4: -alpha * share * by_saturation,
    }
    return value, slope_table(theta, x.size, by_size, {1: 1.0})
