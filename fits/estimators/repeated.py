"""The estimator of the law of repeated data."""

from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np

from fits.estimators.chart import Axis, Chart, ChartCurves, exponent, floor_axis, reading
from fits.estimators.forms import Array, Curved, columns, slope_table, stacked
from fits.estimators.identify import require_count, require_plane, require_repeats
from fits.estimators.multistart import check_settings, estimate, refit
from fits.estimators.search import Fit
from fits.estimators.sizes import centres, reducible_parts
from fits.laws.checks import known
from fits.laws.repeated import RepeatedDataLaw
from fits.observations import Matrix, Observations, Points, Vector

LEAST_DECAY, MOST_DECAY = 0.1, 1e3  # repetitions
FARTHEST = 50.0  # e-folds of n beyond its optimum; the exponential has long vanished


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedDataHuber:
    """Estimates RepeatedDataLaw: summed Huber loss on log residuals, best of many starts.

    r_n shows only where some runs hold more parameters than their distinct tokens deserve;
    elsewhere the fit says that it is not identified.
    """

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.2, 0.35, 0.6)
    shares: tuple[float, ...] = (0.3, 0.7)
    decays: tuple[float, ...] = (4.0, 20.0)  # repetitions
    name: str = field(default="repeated", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError unless nine runs vary n and tokens apart, and some repeat tokens."""
        require_count(obs, 9 if self.floor is None else 8, self.name)
        require_plane(obs, self.name)
        require_repeats(obs, self.name)

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log A, log B at the centres, log E, alpha, beta, log r_d, log r_n."""
        centre_n, centre_tokens = centres(obs)
        low, high = np.log(LEAST_DECAY), np.log(MOST_DECAY)
        axes = (
            Axis(name="a"), Axis(name="b"), floor_axis(self.floor),
            exponent("alpha"), exponent("beta"),
            Axis(name="r_d", low=low, high=high), Axis(name="r_n", low=low, high=high),
        )  # fmt: skip
        readings = {
            "irreducible": reading(axes, "irreducible", log=True),
            "a": reading(axes, "a", log=True, alpha=centre_n),
            "b": reading(axes, "b", log=True, beta=centre_tokens),
            "alpha": reading(axes, "alpha"),
            "beta": reading(axes, "beta"),
            "r_d": reading(axes, "r_d", log=True),
            "r_n": reading(axes, "r_n", log=True),
        }
        form = partial(_repeated_form, centre_n=centre_n, centre_tokens=centre_tokens)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=RepeatedDataLaw)

    def starts(self, obs: Observations) -> Matrix:
        """All combinations of the tuples above, such that the median run is met."""
        rows = []
        for alpha, beta, r_d, r_n in product(
            self.exponents, self.exponents, self.decays, self.decays
        ):
            for parts in reducible_parts(obs, self.shares, self.floor):
                rows.append([*parts, alpha, beta, np.log(r_d), np.log(r_n)])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError unless nine runs vary n and tokens apart, and some repeat tokens."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw from the best two optima of the whole table."""
        return refit(self, obs, y, weight, basins=2)


def _repeated_form(at: Points, centre_n: float, centre_tokens: float) -> Curved:
    n, tokens, unique = known(at, "n", "tokens", "unique_tokens")
    unique = np.log(np.minimum(unique, tokens)) - centre_tokens
    x, z = np.log(n) - centre_n, np.log(tokens) - centre_tokens
    return Curved(partial(_repeated_exponents, x, z, unique))


def worth(beyond: Array, log_decay: Array) -> tuple[Array, Array, Array]:
    """What an amount exp(beyond) times its base is worth, log over the base; two slopes.

    The slopes are in `beyond` and in the log of the decay.
    """
    decay = np.exp(log_decay)
    repeats = np.expm1(beyond)
    left = np.exp(-repeats / decay)
    total = 1 + decay * (1 - left)
    by_decay = (decay * (1 - left) - repeats * left) / total
    return np.log(total), (1 + repeats) * left / total, by_decay


def _repeated_exponents(x: Vector, z: Vector, unique: Vector, theta: Matrix) -> tuple[Array, Array]:
    """log A - alpha n', log B - beta d', log E; n' starts from the optimum for `unique` tokens."""
    a, b, floor, alpha, beta, log_r_d, log_r_n = columns(theta)
    lead = a + np.log(alpha) - b - np.log(beta) + beta * unique
    optimum = lead / alpha
    beyond = np.clip(x - optimum, 0.0, FARTHEST)
    excess, by_beyond, by_r_n = worth(beyond, log_r_n)
    repeated, _, by_r_d = worth(z - unique, log_r_d)
    n_eff, d_eff = x - beyond + excess, unique + repeated
    moved = 1 - by_beyond  # slope of n_eff in the optimum; 0 where n is below it
    by_size = {
        0: 1 - moved,
        1: moved,
        3: -n_eff - moved * (1 - lead) / alpha,
        4: -moved * (unique - 1 / beta),
        6: -alpha * by_r_n,
    }
    by_data: dict[int, Array | float] = {1: 1.0, 4: -d_eff, 5: -beta * by_r_d}
    value = stacked(a - alpha * n_eff, b - beta * d_eff, floor, runs=x.size)
    return value, slope_table(theta, x.size, by_size, by_data, {2: 1.0})
