"""The guesses any forecast must beat: the last rung, and the line through the last two."""

from dataclasses import dataclass

import numpy as np

from fits.observations import Matrix, Observations, Vector, budget_means


def last_rung(obs: Observations) -> float:
    """Mean loss (geometric) of the largest budget."""
    return float(np.exp(budget_means(obs)[1][-1]))


def last_two_rungs(obs: Observations, flops: float) -> float | None:
    """The log-log line through the two largest budgets, at `flops`; None with one budget."""
    x, y, _ = budget_means(obs)
    if x.size < 2:
        return None
    slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
    return float(np.exp(y[-1] + slope * (np.log10(flops) - x[-1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCurves:
    """Draws of budget means, joined by straight lines in log-log and extended by the end slopes."""

    theta: Matrix  # (draws, budgets) log loss
    x: Vector  # log10 compute of the budgets

    def log_loss(self, flops: Vector, n: Vector | None, tokens: Vector | None) -> Matrix:
        """(draws, points) log loss."""
        at = np.log10(flops)
        left = np.clip(np.searchsorted(self.x, at) - 1, 0, self.x.size - 2)
        share = (at - self.x[left]) / (self.x[left + 1] - self.x[left])
        low, high = self.theta[:, left], self.theta[:, left + 1]
        return np.asarray(low + share * (high - low))


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTwoSlope:
    """The line through the last two budgets, as a member of the forecaster's set of laws."""

    name: str = "last_two"

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> LineCurves:
        """Budget means of every draw."""
        index = obs.budget
        member = (index[:, None] == np.arange(index.max() + 1)).astype(np.float64)
        total = weight @ member
        return LineCurves(theta=((weight * y) @ member) / total, x=budget_means(obs)[0])
