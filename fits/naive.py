"""The guesses any forecast must beat: the last rung, and the line through the last two."""

import numpy as np

from fits.observations import Observations, budget_means


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
