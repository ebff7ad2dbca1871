"""A law in sizes as a member of a forecast: refits, and form error from its own backtests."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fits.estimators.search import Curves, Estimator
from fits.observations import Matrix, Observations, Points, budget_means
from fits.uncertainty.backtest import (
    PRIOR_SCALE,
    FormError,
    Predictor,
    form_error,
    growth,
    leave_future_out,
    surface_span,
)
from fits.uncertainty.bootstrap import SeedNoise, seed_jitter, smooth_weights

REFITS = 200
BACKTEST_REFITS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """A law in sizes: bootstrap refits, and form error beyond its largest budget."""

    curves: Curves
    form: FormError
    span: float  # decades over which it takes its slope
    last: float  # log10 compute of the largest budget
    run_id: tuple[str, ...]

    def draws(self, at: Points, count: int, rng: np.random.Generator) -> Matrix:
        """(count, points) log loss; ValueError where a column that the law needs is unknown."""
        quantiles = (rng.permutation(count) + 0.5) / count
        shock = stats.t.ppf(quantiles, self.form.freedom) * self.form.scale
        far = growth(np.log10(at.flops) - self.last, self.span)
        lines = self.curves.log_loss(at)
        return np.asarray(lines[np.arange(count) % len(lines)] + np.outer(shock, far))

    def constants(self) -> dict[str, float]:
        """Medians over refits, and the scale of form error."""
        rows = [self.curves.law(i).constants() for i in range(0, REFITS, 4)]
        medians = pd.DataFrame(rows).median()
        found = {str(k): float(v) for k, v in medians.items()}
        return found | {"form_error_scale": self.form.scale}


def fit_surface(
    name: str, estimator: Estimator, obs: Observations, noise: SeedNoise, target: float, seed: int,
    prior_scale: float = PRIOR_SCALE,
) -> tuple[Surface, pd.DataFrame]:  # fmt: skip
    """The law's refits and its leave-future-out table; `target` is the farthest compute asked for.

    Raises FitError where the runs cannot fix the law's constants.
    """
    predict = refitted(estimator, noise, BACKTEST_REFITS)
    test = leave_future_out(name, predict, obs, noise, minimum=4, seed=seed)
    x = budget_means(obs)[0]
    ahead = float(np.log10(target)) - float(x[-1])
    form = form_error(test, ahead=ahead, prior_scale=prior_scale)
    curves = refits(estimator, obs, noise, REFITS, np.random.default_rng([seed, 11]))
    surface = Surface(
        curves=curves, form=form, span=surface_span(x), last=float(x[-1]), run_id=obs.run_id
    )
    return surface, test


def refitted(estimator: Estimator, noise: SeedNoise, draws: int) -> Predictor:
    """The law as a backtest asks for it."""

    def predict(
        small: Observations, large: Observations, rng: np.random.Generator
    ) -> tuple[Matrix, float]:
        curves = refits(estimator, small, noise, draws, rng)
        return curves.log_loss(large), surface_span(budget_means(small)[0])

    return predict


def refits(
    estimator: Estimator, obs: Observations, noise: SeedNoise, draws: int, rng: np.random.Generator
) -> Curves:
    """Refits to reweighted, jittered copies of the runs."""
    cluster = np.unique(obs.cluster, return_inverse=True)[1].astype(np.int64)
    y = seed_jitter(obs, noise, draws, rng)
    return estimator.fit_draws(obs, y, smooth_weights(cluster, draws, rng) * obs.weight)
