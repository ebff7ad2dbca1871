"""Estimators of laws in sizes: frozen values whose `fit` turns observations into a law.

`ChinchillaHuber()` estimates E + A/n**alpha + B/tokens**beta where n and tokens do not lie on one
line.

They minimise the SUMMED Huber loss of log residuals (Hoffmann et al. 2022, eq. 3) with analytic
gradients from many starts; floors stay between 0 and the smallest loss, exponents above 0.
`fit_draws` refits many resampled copies at once and is what the bootstrap calls.
"""

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from fits.estimators.search import (
    HIGHEST_EXPONENT,
    LOWEST_EXPONENT,
    LOWEST_FLOOR,
    Fit,
    best_draws,
    best_of,
    require_runs,
)
from fits.estimators.solver import Problem, Terms
from fits.laws.sizes import ChinchillaLaw
from fits.observations import FitError, Matrix, Observations, Points, Vector


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChinchillaHuber:
    """Estimates ChinchillaLaw: summed Huber loss on log residuals, best of many starts."""

    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.15, 0.35, 0.7)
    shares: tuple[float, ...] = (0.2, 0.5, 0.8)
    name: str = field(default="chinchilla", init=False)

    def _problem(
        self, obs: Observations, y: Matrix, weight: Matrix
    ) -> tuple[Problem, float, float]:
        if obs.n is None or obs.tokens is None:
            raise FitError("no_sizes", "a Chinchilla fit needs n_active and tokens for every run")
        centres = float(np.log(obs.n).mean()), float(np.log(obs.tokens).mean())
        lowest = y.min(axis=1)
        upper = np.full((y.shape[0], 5), np.inf)
        upper[:, 2], upper[:, 3:] = lowest - 1e-9, HIGHEST_EXPONENT
        floor = obs.y.min() + np.log(LOWEST_FLOOR)
        lower = np.array([-np.inf, -np.inf, floor, LOWEST_EXPONENT, LOWEST_EXPONENT])
        terms = chinchilla_terms(obs.n, obs.tokens, *centres)
        problem = Problem(
            terms=terms, y=y, weight=weight, delta=self.delta, lower=lower, upper=upper
        )
        return problem, *centres

    def _starts(self, obs: Observations) -> Matrix:
        middle, least = float(np.median(obs.loss)), float(obs.loss.min())
        rows = []
        for alpha, beta in product(self.exponents, self.exponents):
            for floor, share in product(self.shares, self.shares):
                rest = middle - floor * least
                parts = [np.log(share * rest), np.log((1 - share) * rest), np.log(floor * least)]
                rows.append([*parts, alpha, beta])
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for fewer than six runs, or n and tokens on one line."""
        require_runs(obs, 6, self.name)
        if not has_plane(obs):
            raise FitError(
                "one_line", "n and tokens lie on one line, so only a law in compute can be fitted"
            )
        problem, centre_n, centre_d = self._problem(obs, obs.y[None], obs.weight[None])
        theta, objective, starts, agreeing = best_of(problem, self._starts(obs))
        curves = ChinchillaCurves(theta=theta[None], centre_n=centre_n, centre_tokens=centre_d)
        cautions = []
        if theta[2] <= problem.lower[2] + 1e-6:
            cautions.append("the irreducible loss is at its bound of 0")
        if min(theta[3], theta[4]) <= LOWEST_EXPONENT * (1 + 1e-6):
            cautions.append("an exponent is at its lower bound")
        return Fit(law=curves.law(), objective=objective, starts=starts,
                   starts_agreeing=agreeing, cautions=tuple(cautions))  # fmt: skip

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> ChinchillaCurves:
        """Refit every draw, starting from the optimum of the whole table."""
        problem, centre_n, centre_d = self._problem(obs, y, weight)
        whole, _, _ = self._problem(obs, obs.y[None], obs.weight[None])
        theta = best_of(whole, self._starts(obs))[0]
        ends = best_draws(problem, [theta])
        return ChinchillaCurves(theta=ends, centre_n=centre_n, centre_tokens=centre_d)


def has_plane(obs: Observations) -> bool:
    """Whether n and tokens vary apart: sd of log tokens off its line on log n above 0.15."""
    if obs.n is None or obs.tokens is None or obs.n.size < 3:
        return False
    x, y = np.log(obs.n), np.log(obs.tokens)
    if np.ptp(x) < 0.5 or np.ptp(y) < 0.5:
        return False
    x, y = x - x.mean(), y - y.mean()
    rest = y - x * (x @ y) / (x @ x)
    other = x - y * (x @ y) / (y @ y)
    return bool(min(rest.std(), other.std()) > 0.15)
