"""Leave-future-out: fit the small budgets, predict the larger ones that were held out.

The errors tell how far a law may be trusted on THIS ladder; `form_error` turns them into an sd.

Form error of a law in sizes (that in compute has its own, `fits.uncertainty.drift`). If the local
log-log slope of loss in compute wanders like a random walk of scale tau per root decade, a law
that takes its slope over `span` decades misses h decades beyond its end with

    sd = tau * g,   g**2 = h**3 / 3 + (13/35) * span * h**2

(first term: the slope keeps wandering; second: the fitted slope lags the slope at the end).
The prior scale is 0.012 in natural-log loss, worth 4 degrees of freedom (Student-t): of 0.008,
0.012, 0.018, 0.02 and 0.035 it has the best weighted interval score in two of three bands on the
public tables (docs/log.md), and the choice is flat: half as much or twice costs 3 to 5 %. Inner
backtests move it, less the part of an error that seed noise explains; a short test counts less
than one that imitates the wanted distance; a quarter of the prior scale is the floor.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from fits.observations import FitError, Matrix, Observations, Vector, budget_means
from fits.uncertainty.bootstrap import SeedNoise

PRIOR_SCALE = 0.012
PRIOR_RUNS = 4.0
MAX_CUTOFFS = 6


class Predictor(Protocol):
    """A way to predict some runs from smaller ones."""

    def __call__(
        self, small: Observations, large: Observations, rng: np.random.Generator
    ) -> tuple[Matrix, float]:
        """(draws, runs) log loss of the large runs without form error; span of the law, decades."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FormError:
    """Scale of form error per decade**1.5 and its degrees of freedom."""

    scale: float
    freedom: float
    cutoffs: int


def growth(h: float | Matrix, span: float) -> Matrix:
    """g of the module docstring; 0 inside the ladder."""
    ahead = np.maximum(np.asarray(h, dtype=np.float64), 0)
    return np.asarray(np.sqrt(ahead**3 / 3 + (13 / 35) * span * ahead**2))


def surface_span(x: Vector) -> float:
    """Decades over which a law with a floor takes its slope at the end of budgets at `x`.

    0.6 of all, for its slope changes on the way: the end slope of a fitted parabola lags a
    wandering slope with variance 0.23 span, that of a line with 13/35 span.
    """
    return 0.6 * float(x[-1] - x[0])


def leave_future_out(
    law: str,
    predict: Predictor,
    obs: Observations,
    noise: SeedNoise,
    *,
    minimum: int,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per cutoff and held-out budget: law, cutoff, h, span, error, noise_sd of log loss.

    `minimum` is the least number of budgets to fit; at most six cutoffs, the largest first.
    """
    index = obs.budget
    last = int(index.max())
    cutoffs = np.arange(minimum, last + 1)
    if cutoffs.size > MAX_CUTOFFS:
        spread = np.linspace(0, cutoffs.size - 1, MAX_CUTOFFS).round().astype(int)
        cutoffs = cutoffs[spread]
    rows: list[dict[str, object]] = []
    for cutoff in cutoffs.tolist():
        small, large = obs.take(index < cutoff), obs.take(index >= cutoff)
        try:
            drawn, span = predict(small, large, np.random.default_rng([seed, cutoff]))
        except FitError:
            continue
        rows += [
            {"law": law, "cutoff": cutoff, "span": span, **row}
            for row in _errors(drawn, small, large, noise)
        ]
    return pd.DataFrame(rows, columns=["law", "cutoff", "h", "span", "error", "noise_sd"])


def _errors(
    drawn: Matrix, small: Observations, large: Observations, noise: SeedNoise
) -> list[dict[str, float]]:
    """By held-out budget: distance h in decades, mean error, sd that seed noise explains."""
    end = float(budget_means(small)[0][-1])
    centre, sd, budget = np.median(drawn, axis=0), drawn.std(axis=0), large.budget
    rows = []
    for b in range(int(budget.max()) + 1):
        here = budget == b
        own = noise.sd / np.sqrt(here.sum())
        rows.append({
            "h": float(large.x[here].mean()) - end,
            "error": float((large.y[here] - centre[here]).mean()),
            "noise_sd": float(np.hypot(sd[here].mean(), own)),
        })  # fmt: skip
    return rows


def form_error(
    backtest: pd.DataFrame, *, ahead: float = 0.0, prior_scale: float = PRIOR_SCALE
) -> FormError:
    """Posterior scale: each cutoff counts as one error, less where seed noise could explain it.

    A test that looks h decades ahead counts h / ahead of one that imitates the wanted distance
    `ahead`: short hops inside a ladder say little about a long jump beyond it.
    """
    evidence = freedom = 0.0
    cutoffs = 0
    for _, rows in backtest.groupby("cutoff"):
        h, spans = rows["h"].to_numpy(), rows["span"].to_numpy()
        size = np.array([float(growth(a, b)) for a, b in zip(h, spans, strict=True)])
        expected = (prior_scale * size) ** 2
        noise = rows["noise_sd"].to_numpy() ** 2
        relevant = np.minimum(1.0, np.maximum(h, 0) / max(ahead, 1e-9))
        informative = relevant * expected / (expected + noise)
        surprise = rows["error"].to_numpy() ** 2 / (expected + noise)
        evidence += float((informative * surprise).mean())
        freedom += float(informative.mean())
        cutoffs += 1
    variance = prior_scale**2 * (PRIOR_RUNS + evidence) / (PRIOR_RUNS + freedom)
    scale = max(float(np.sqrt(variance)), prior_scale / 4)
    return FormError(scale=scale, freedom=PRIOR_RUNS + freedom, cutoffs=cutoffs)
