"""Estimators of laws in sizes whose two terms are coupled: Kaplan's, and the joint form with k.

Both are k log(exp(size / k) + exp(data / k)) in log loss, a soft maximum of what size and what data
leave to learn; Kaplan's has no irreducible loss and k equal to the exponent of data.
"""

from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np

from fits.estimators.chart import Axis, Chart, ChartCurves, exponent, floor_axis, reading
from fits.estimators.forms import Array, Curved, columns, slope_table, softmax_of_two, stacked
from fits.estimators.identify import require_count, require_plane
from fits.estimators.multistart import check_settings, estimate, refit
from fits.estimators.search import Fit
from fits.estimators.sizes import SHARES, centres, reducible_parts
from fits.laws.checks import known
from fits.laws.sizes import CoupledLaw, KaplanLaw
from fits.observations import Matrix, Observations, Points, Vector

TIGHTEST, LOOSEST = 0.1, 10.0  # of k; below, the scarcer term alone counts


@dataclass(frozen=True, slots=True, kw_only=True)
class KaplanHuber:
    """Estimates KaplanLaw: summed Huber loss on log residuals, best of many starts."""

    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.04, 0.08, 0.16, 0.32)
    shares: tuple[float, ...] = SHARES
    floor: None = field(default=None, init=False)  # there is none to pin
    name: str = field(default="kaplan", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError for fewer than five runs, or n and tokens on one line."""
        require_count(obs, 5, self.name)
        require_plane(obs, self.name)

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log n_c and log d_c at the centres, alpha, beta."""
        centre_n, centre_tokens = centres(obs)
        axes = (Axis(name="n_c"), Axis(name="d_c"), exponent("alpha"), exponent("beta"))
        readings = {
            "n_c": reading(axes, "n_c", log=True, offset=centre_n),
            "d_c": reading(axes, "d_c", log=True, offset=centre_tokens),
            "alpha": reading(axes, "alpha"),
            "beta": reading(axes, "beta"),
        }
        form = partial(_kaplan_form, centre_n=centre_n, centre_tokens=centre_tokens)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=KaplanLaw)

    def starts(self, obs: Observations) -> Matrix:
        """Exponents × exponents × shares of size, such that the median run is met."""
        level = float(np.median(obs.y))
        rows = []
        for alpha, beta, share in product(self.exponents, self.exponents, self.shares):
            by_size, by_data = level + beta * np.log(share), level + beta * np.log(1 - share)
            rows.append([by_size / alpha, by_data / beta, alpha, beta])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for fewer than five runs, or n and tokens on one line."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw from the best two optima of the whole table."""
        return refit(self, obs, y, weight, basins=2)


def _kaplan_form(at: Points, centre_n: float, centre_tokens: float) -> Curved:
    n, tokens = known(at, "n", "tokens")
    return Curved(partial(_kaplan_exponents, np.log(n) - centre_n, np.log(tokens) - centre_tokens))


def _kaplan_exponents(x: Vector, z: Vector, theta: Matrix) -> tuple[Array, Array]:
    n_c, d_c, alpha, beta = columns(theta)
    value, weight, by_log_k = softmax_of_two(alpha * (n_c - x), beta * (d_c - z), beta)
    slopes = {
        0: weight * alpha,
        1: (1 - weight) * beta,
        2: weight * (n_c - x),
        3: (1 - weight) * (d_c - z) + by_log_k / beta,
    }
    return stacked(value, runs=x.size), slope_table(theta, x.size, slopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoupledHuber:
    """Estimates CoupledLaw: summed Huber loss on log residuals, best of many starts."""

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.15, 0.35, 0.7)
    shares: tuple[float, ...] = (0.3, 0.7)
    couplings: tuple[float, ...] = (0.5, 1.0, 2.0)
    name: str = field(default="coupled", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError for fewer than eight runs, or n and tokens on one line."""
        require_count(obs, 8 if self.floor is None else 7, self.name)
        require_plane(obs, self.name)

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log a, log b at the centres, log E, alpha, beta, log k."""
        centre_n, centre_tokens = centres(obs)
        axes = (
            Axis(name="a"), Axis(name="b"), floor_axis(self.floor),
            exponent("alpha"), exponent("beta"),
            Axis(name="k", low=np.log(TIGHTEST), high=np.log(LOOSEST)),
        )  # fmt: skip
        readings = {
            "irreducible": reading(axes, "irreducible", log=True),
            "a": reading(axes, "a", log=True, alpha=centre_n),
            "b": reading(axes, "b", log=True, beta=centre_tokens),
            "alpha": reading(axes, "alpha"),
            "beta": reading(axes, "beta"),
            "k": reading(axes, "k", log=True),
        }
        form = partial(_coupled_form, centre_n=centre_n, centre_tokens=centre_tokens)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=CoupledLaw)

    def starts(self, obs: Observations) -> Matrix:
        """Exponents × exponents × floors × shares × couplings, such that the median run is met."""
        rows = []
        for alpha, beta, k in product(self.exponents, self.exponents, self.couplings):
            for by_size, by_data, floor in reducible_parts(obs, self.shares, self.floor):
                rest = np.logaddexp(by_size, by_data)
                parts = [rest + k * (by_size - rest), rest + k * (by_data - rest), floor]
                rows.append([*parts, alpha, beta, np.log(k)])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for fewer than eight runs, or n and tokens on one line."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw from the best two optima of the whole table."""
        return refit(self, obs, y, weight, basins=2)


def _coupled_form(at: Points, centre_n: float, centre_tokens: float) -> Curved:
    n, tokens = known(at, "n", "tokens")
    return Curved(partial(_coupled_exponents, np.log(n) - centre_n, np.log(tokens) - centre_tokens))


def _coupled_exponents(x: Vector, z: Vector, theta: Matrix) -> tuple[Array, Array]:
    a, b, floor, alpha, beta, log_k = columns(theta)
    value, weight, by_log_k = softmax_of_two(a - alpha * x, b - beta * z, np.exp(log_k))
    slopes = {0: weight, 1: 1 - weight, 3: -weight * x, 4: -(1 - weight) * z, 5: by_log_k}
    return stacked(value, floor, runs=x.size), slope_table(theta, x.size, slopes, {2: 1.0})
