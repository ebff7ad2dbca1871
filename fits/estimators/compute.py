"""Estimators of laws in compute: frozen values whose `fit` turns observations into a law.

`PowerHuber(floor=0.0)` pins the floor at 0 by name, for few budgets; `PowerHuber(floor=None)`
leaves it free, for five budgets over 1.5 decades or more.

They minimise the SUMMED Huber loss of log residuals (Hoffmann et al. 2022, eq. 3) with analytic
gradients from many starts; floors stay between 0 and the smallest loss, exponents above 0.
`fit_draws` refits many resampled copies at once and is what the bootstrap calls.
"""

from dataclasses import dataclass
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
from fits.estimators.solver import Problem, Terms, descend
from fits.laws.compute import PowerLaw
from fits.observations import FitError, Matrix, Observations, Points, Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCurves:
    """Draws of (log a at the centre, b[, log c]); a pinned floor is kept apart."""

    theta: Matrix
    centre: float
    floor: float | None

    def terms(self, flops: Vector) -> Terms:
        """Exponents of the law at these computes."""
        return power_terms(flops, self.centre, self.floor)

    def log_loss(self, at: Points) -> Matrix:
        """(draws, points) log loss; sizes do not matter to this law."""
        return self.terms(at.flops).log_loss(self.theta)

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
