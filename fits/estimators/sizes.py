"""Estimators of laws in sizes: frozen values whose `fit` turns observations into a law.

`ChinchillaHuber()` estimates E + A/n**alpha + B/tokens**beta where n and tokens do not lie on one
line. `TiedHuber()` has one exponent for both, which few runs identify better. For laws without an
irreducible loss, or with the two terms coupled, see `fits.estimators.coupled`.

They minimise the SUMMED Huber loss of log residuals (Hoffmann et al. 2022, eq. 3) with analytic
gradients from many starts; floors stay between 0 and the smallest loss, exponents above 0.
`fit_draws` refits many resampled copies at once and is what the bootstrap calls.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import numpy as np

from fits.estimators.chart import Axis, Chart, ChartCurves, exponent, floor_axis, reading
from fits.estimators.identify import apart, require_count, require_plane
from fits.estimators.multistart import check_settings, estimate, floor_levels, log_floor, refit
from fits.estimators.search import Fit
from fits.estimators.solver import Terms
from fits.laws.checks import known
from fits.laws.sizes import ChinchillaLaw, TiedLaw
from fits.observations import Matrix, Observations, Points, Vector

SHARES = (0.2, 0.5, 0.8)  # of the floor in the smallest loss, and of size in what is reducible


@dataclass(frozen=True, slots=True, kw_only=True)
class ChinchillaCurves:
    """Draws of (log A, log B at the centres, log E, alpha, beta)."""

    theta: Matrix
    centre_n: float
    centre_tokens: float

    def log_loss(self, at: Points) -> Matrix:
        """(draws, points) log loss; ValueError where n or tokens is unknown."""
        n, tokens = at.sizes()
        terms = chinchilla_terms(n, tokens, self.centre_n, self.centre_tokens)
        return terms.log_loss(self.theta)

    def law(self, draw: int = 0) -> ChinchillaLaw:
        """One draw as a law in the table's own units."""
        log_a, log_b, log_e, alpha, beta = (float(v) for v in self.theta[draw])
        return ChinchillaLaw(
            irreducible=float(np.exp(log_e)),
            a=float(np.exp(log_a + alpha * self.centre_n)),
            b=float(np.exp(log_b + beta * self.centre_tokens)),
            alpha=alpha,
            beta=beta,
        )


def chinchilla_terms(n: Vector, tokens: Vector, centre_n: float, centre_tokens: float) -> Terms:
    """Exponents log A - alpha (log n - centre), log B - beta (log D - centre), log E."""
    design = np.zeros((3, n.size, 5))
    design[0, :, 0] = design[1, :, 1] = design[2, :, 2] = 1
    design[0, :, 3] = -(np.log(n) - centre_n)
    design[1, :, 4] = -(np.log(tokens) - centre_tokens)
    return Terms(offset=np.zeros((3, n.size)), design=design)


def centres(obs: Observations, size: str = "n") -> tuple[float, float]:
    """Mean log size and mean log tokens."""
    sizes, tokens = known(obs, size, "tokens")
    return float(np.log(sizes).mean()), float(np.log(tokens).mean())


def surface_chart(obs: Observations, floor: float | None, law_type: type, size: str = "n") -> Chart:
    """Coordinates (log A, log B at the centres, log E, alpha, beta) over the named size."""
    centre_n, centre_tokens = centres(obs, size)
    axes = (
        Axis(name="a"), Axis(name="b"), floor_axis(floor), exponent("alpha"), exponent("beta"),
    )  # fmt: skip
    readings = {
        "irreducible": reading(axes, "irreducible", log=True),
        "a": reading(axes, "a", log=True, alpha=centre_n),
        "b": reading(axes, "b", log=True, beta=centre_tokens),
        "alpha": reading(axes, "alpha"),
        "beta": reading(axes, "beta"),
    }
    form = partial(_surface_form, size=size, centre_n=centre_n, centre_tokens=centre_tokens)
    return Chart(axes=axes, readings=readings, form_at=form, law_type=law_type)


def _surface_form(at: Points, size: str, centre_n: float, centre_tokens: float) -> Terms:
    sizes, tokens = known(at, size, "tokens")
    return chinchilla_terms(sizes, tokens, centre_n, centre_tokens)


def surface_starts(
    obs: Observations, exponents: tuple[float, ...], shares: tuple[float, ...], floor: float | None
) -> Matrix:
    """Exponents × exponents × floors × shares, in the coordinates of `surface_chart`."""
    rows = []
    for alpha, beta in product(exponents, exponents):
        for parts in reducible_parts(obs, shares, floor):
            rows.append([*parts, alpha, beta])
    return np.array(rows)


def reducible_parts(
    obs: Observations, shares: tuple[float, ...], floor: float | None
) -> list[list[float]]:
    """Logs of what size, data and nothing can reduce in the median run, for floors × shares."""
    middle = float(np.median(obs.loss))
    rows = []
    for level, share in product(floor_levels(obs, shares, floor), shares):
        rest = max(middle - level, 1e-3 * middle)
        parts = [float(np.log(share * rest)), float(np.log((1 - share) * rest))]
        rows.append([*parts, log_floor(level)])
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ChinchillaHuber:
    """Estimates ChinchillaLaw: summed Huber loss on log residuals, best of many starts."""

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.15, 0.35, 0.7)
    shares: tuple[float, ...] = SHARES
    name: str = field(default="chinchilla", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError for fewer than six runs, or n and tokens on one line."""
        require_count(obs, 6 if self.floor is None else 5, self.name)
        require_plane(obs, self.name)

    def chart(self, obs: Observations) -> Chart:
        """The coordinates of `surface_chart`."""
        return surface_chart(obs, self.floor, ChinchillaLaw)

    def starts(self, obs: Observations) -> Matrix:
        """Exponents × exponents × floors × shares of size in what is reducible."""
        return surface_starts(obs, self.exponents, self.shares, self.floor)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for fewer than six runs, or n and tokens on one line."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChinchillaCurves:
        """Refit every draw, starting from the optimum of the whole table."""
        theta = refit(self, obs, y, weight).theta
        centre_n, centre_tokens = centres(obs)
        return ChinchillaCurves(theta=theta, centre_n=centre_n, centre_tokens=centre_tokens)


# Chinchilla's five coordinates from four: log A, log B, log E, and one exponent twice.
TIE: Matrix = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1.0]])


@dataclass(frozen=True, slots=True, kw_only=True)
class TiedHuber:
    """Estimates TiedLaw: Chinchilla's terms with one exponent."""

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.1, 0.2, 0.35, 0.7)
    shares: tuple[float, ...] = SHARES
    name: str = field(default="tied", init=False)

    def __post_init__(self) -> None:
        check_settings(self)

    def require(self, obs: Observations) -> None:
        """Raise FitError for fewer than five runs, or n and tokens on one line."""
        require_count(obs, 5 if self.floor is None else 4, self.name)
        require_plane(obs, self.name)

    def chart(self, obs: Observations) -> Chart:
        """Coordinates log A, log B at the centres, log E, alpha."""
        centre_n, centre_tokens = centres(obs)
        axes = (Axis(name="a"), Axis(name="b"), floor_axis(self.floor), exponent("alpha"))
        readings = {
            "irreducible": reading(axes, "irreducible", log=True),
            "a": reading(axes, "a", log=True, alpha=centre_n),
            "b": reading(axes, "b", log=True, alpha=centre_tokens),
            "alpha": reading(axes, "alpha"),
        }
        form = partial(_tied_form, centre_n=centre_n, centre_tokens=centre_tokens)
        return Chart(axes=axes, readings=readings, form_at=form, law_type=TiedLaw)

    def starts(self, obs: Observations) -> Matrix:
        """Exponents × floors × shares of size in what is reducible."""
        parts = reducible_parts(obs, self.shares, self.floor)
        return np.array([[*row, alpha] for alpha, row in product(self.exponents, parts)])

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for fewer than five runs, or n and tokens on one line."""
        return estimate(self, obs)

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChartCurves:
        """Refit every draw, starting from the optimum of the whole table."""
        return refit(self, obs, y, weight)


def _tied_form(at: Points, centre_n: float, centre_tokens: float) -> Terms:
    terms = _surface_form(at, "n", centre_n, centre_tokens)
    return replace(terms, design=terms.design @ TIE)


def has_plane(obs: Observations) -> bool:
    """Whether n and tokens vary apart: sd of log tokens off its line on log n above 0.15."""
    return obs.n is not None and obs.tokens is not None and apart(obs.n, obs.tokens)
