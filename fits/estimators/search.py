"""What every estimator shares: the result, the protocol, and the search from many starts."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fits.estimators.solver import Problem, descend, polish
from fits.observations import FitError, Matrix, Observations, Points, Vector

LOWEST_EXPONENT, HIGHEST_EXPONENT = 1e-3, 4.0
LOWEST_FLOOR = 1e-4  # of the smallest loss: below this a free floor counts as none
AGREE = 1e-3  # starts agree when their objectives are within 0.1 %
EXACT = 1e-7  # of log loss: residuals below this are none


class Law(Protocol):
    """A frozen law: what it predicts in nats per token, and its constants by name."""

    def predict(self, at: Points) -> Vector: ...

    def constants(self) -> dict[str, float]: ...


class Curves(Protocol):
    """Fitted constants of many draws, ready to predict."""

    @property
    def theta(self) -> Matrix: ...

    def log_loss(self, at: Points) -> Matrix:
        """(draws, points) log loss; ValueError where a column that the law needs is unknown."""
        ...

    def law(self, draw: int = 0) -> Law:
        """One draw as a law in the table's own units."""
        ...


class Estimator(Protocol):
    """What bootstrap, backtest and forecaster ask of an estimator."""

    @property
    def name(self) -> str: ...

    def fit(self, obs: Observations) -> "Fit": ...

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> Curves:
        """Refit each row of y (log losses) with its row of weights."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A law with how it was found."""

    law: Law
    objective: float
    starts: int
    starts_agreeing: int  # reached the best objective within 0.1 %
    cautions: tuple[str, ...]


def best_draws(problem: Problem, starts: list[Vector]) -> Matrix:
    """For each draw the best end among the given starts."""
    draws = problem.y.shape[0]
    ends = [descend(problem, np.tile(s, (draws, 1)), steps=400, tolerance=1e-6) for s in starts]
    scores = np.stack([problem.objective(problem.terms.log_loss(e)) for e in ends])
    return np.asarray(np.stack(ends)[scores.argmin(axis=0), np.arange(draws)])


def best_of(problem: Problem, starts: Matrix) -> tuple[Vector, float, int, int]:
    """The best optimum from many starts: constants, objective, starts, how many agreed."""
    rough = descend(problem, starts, steps=300, tolerance=1e-8)
    scores = problem.objective(problem.terms.log_loss(rough))
    if not np.isfinite(scores).any():
        raise FitError("no_optimum", "no start ended at a finite objective; look for wild values")
    order = np.argsort(scores)[:3]
    ends = [polish(problem, rough[i]) for i in order]
    theta, objective = min(ends, key=lambda end: end[1])
    exact = 0.5 * float(problem.weight.sum()) * EXACT**2
    margin = objective * (1 + AGREE) + exact
    return theta, objective, len(starts), int((scores <= margin).sum())


def require_runs(obs: Observations, constants: int, law: str) -> None:
    """Raise FitError if the runs cannot fix that many constants."""
    different = int(obs.budget.max()) + 1 if obs.flops.size else 0
    if obs.flops.size < constants:
        raise FitError(
            "too_few_runs",
            f"{obs.flops.size} runs cannot fix the {constants} constants of {law}",
        )
    if law != "chinchilla" and different < constants:
        raise FitError(
            "too_few_budgets",
            f"{different} budgets cannot fix the {constants} constants of {law}",
        )
