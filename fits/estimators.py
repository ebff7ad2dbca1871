"""Estimators: frozen values whose `fit` turns observations into a law and its diagnostics.

| estimator | law | when |
|---|---|---|
| `PowerHuber(floor=0.0)` | a * C**-b, floor pinned at 0 by name | few budgets |
| `PowerHuber(floor=None)` | a * C**-b + c, c free | five budgets over 1.5 decades, or more |
| `ChinchillaHuber()` | E + A/N**alpha + B/D**beta | N and D not on one line |

All minimise the SUMMED Huber loss of log residuals (Hoffmann et al. 2022, eq. 3) with analytic
gradients from many starts; floors stay between 0 and the smallest loss, exponents above 0.
`fit_draws` refits many resampled copies at once and is what the bootstrap calls.
"""

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from fits.laws import ChinchillaLaw, PowerLaw
from fits.observations import FitError, Matrix, Observations, Vector
from fits.search import (
    HIGHEST_EXPONENT,
    LOWEST_EXPONENT,
    LOWEST_FLOOR,
    Fit,
    best_draws,
    best_of,
    require_runs,
)
from fits.solver import Problem, Terms, descend


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCurves:
    """Draws of (log a at the centre, b[, log c]); a pinned floor is kept apart."""

    theta: Matrix
    centre: float
    floor: float | None

    def terms(self, flops: Vector) -> Terms:
        """Exponents of the law at these computes."""
        return power_terms(flops, self.centre, self.floor)

    def log_loss(self, flops: Vector, n: Vector | None, tokens: Vector | None) -> Matrix:
        """(draws, points) log loss; n and tokens do not matter to this law."""
        return self.terms(flops).log_loss(self.theta)

    def law(self, draw: int = 0) -> PowerLaw:
        """One draw as a law in the table's own units."""
        theta = self.theta[draw]
        floor = float(np.exp(theta[2])) if self.floor is None else self.floor
        return PowerLaw(float(np.exp(theta[0] + theta[1] * self.centre)), float(theta[1]), floor)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerHuber:
    """Estimates PowerLaw; `floor` None is free, a number pins it (0 is the plain power law)."""

    floor: float | None = None  # nats per token
    delta: float = 1e-3  # in log-loss units
    exponents: tuple[float, ...] = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
    floors: tuple[float, ...] = (0.02, 0.3, 0.6, 0.85, 0.97)  # of the smallest loss

    def __post_init__(self) -> None:
        if self.floor is not None and not (np.isfinite(self.floor) and self.floor >= 0):
            raise ValueError(f"floor is {self.floor}; it must be None or at least 0")
        if not self.delta > 0:
            raise ValueError(f"delta is {self.delta}; it must be above 0")

    @property
    def name(self) -> str:
        """`power`, `power_floor`, or `power_pinned` with the pinned value."""
        if self.floor is None:
            return "power_floor"
        return "power" if self.floor == 0 else f"power_pinned({self.floor:g})"

    def _problem(self, obs: Observations, y: Matrix, weight: Matrix) -> tuple[Problem, float]:
        if self.floor is not None and self.floor >= obs.loss.min():
            raise FitError(
                "floor_above_loss",
                f"the pinned floor {self.floor:g} is not below the smallest loss, "
                f"{obs.loss.min():g}",
            )
        centre = float(np.log(obs.flops).mean())
        lowest = y.min(axis=1, keepdims=True)
        upper = np.concatenate(
            [np.full_like(lowest, np.inf), np.full_like(lowest, HIGHEST_EXPONENT), lowest - 1e-9],
            axis=1,
        )
        lower = np.array([-np.inf, LOWEST_EXPONENT, obs.y.min() + np.log(LOWEST_FLOOR)])
        size = 3 if self.floor is None else 2
        terms = power_terms(obs.flops, centre, self.floor)
        problem = Problem(
            terms=terms, y=y, weight=weight, delta=self.delta,
            lower=lower[:size], upper=upper[:, :size],
        )  # fmt: skip
        return problem, centre

    def _starts(self, obs: Observations) -> Matrix:
        floors = self.floors if self.floor is None else (self.floor / obs.loss.min(),)
        rows = []
        for exponent, share in product(self.exponents, floors):
            floor = share * obs.loss.min()
            centred = np.log(obs.flops) - np.log(obs.flops).mean()
            level = np.log(np.maximum(obs.loss - floor, 1e-3 * obs.loss)) + exponent * centred
            row = [float(np.median(level)), exponent]
            rows.append([*row, np.log(floor)] if self.floor is None else row)
        return np.array(rows)

    def fit(self, obs: Observations) -> Fit:
        """Raise FitError for fewer budgets than constants."""
        free = 3 if self.floor is None else 2
        require_runs(obs, free, self.name)
        problem, centre = self._problem(obs, obs.y[None], obs.weight[None])
        theta, objective, starts, agreeing = best_of(problem, self._starts(obs))
        curves = PowerCurves(theta=theta[None], centre=centre, floor=self.floor)
        cautions = []
        if self.floor is None and theta[2] <= problem.lower[2] + 1e-6:
            cautions.append("the floor is at its bound of 0: these runs do not show one")
        if theta[1] <= LOWEST_EXPONENT * (1 + 1e-6):
            cautions.append("the exponent is at its lower bound: the loss hardly falls")
        return Fit(law=curves.law(), objective=objective, starts=starts,
                   starts_agreeing=agreeing, cautions=tuple(cautions))  # fmt: skip

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> PowerCurves:
        """Refit every draw from a low, a middle and a high floor, and keep the best."""
        problem, centre = self._problem(obs, y, weight)
        starts = self._starts(obs)
        problem_all, _ = self._problem(obs, obs.y[None], obs.weight[None])
        reached = descend(problem_all, starts, steps=40)
        order = np.argsort(problem_all.objective(problem_all.terms.log_loss(reached)))
        chosen = [reached[order[0]]]
        if self.floor is None:
            low, high = chosen[0].copy(), starts[-1].copy()
            low[2] = problem_all.lower[2]
            chosen += [low, high]
        return PowerCurves(theta=best_draws(problem, chosen), centre=centre, floor=self.floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChinchillaCurves:
    """Draws of (log A, log B at the centres, log E, alpha, beta)."""

    theta: Matrix
    centre_n: float
    centre_tokens: float

    def log_loss(self, flops: Vector, n: Vector | None, tokens: Vector | None) -> Matrix:
        """(draws, points) log loss; ValueError where n or tokens is unknown."""
        if n is None or tokens is None:
            raise ValueError("a Chinchilla law predicts only where n and tokens are given")
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
