"""The forecaster and what it must beat, all asked alike: runs and targets in, quantiles out.

A method is a function (train, targets) -> (targets, 7) quantiles of the loss at LEVELS. It refuses
with FitError, or one target by a row of NaN. The plain methods each fit one law and nothing else:

| method | law | source |
|---|---|---|
| envelope | c + a / C**b, on the runs that no run of less compute beats | arXiv:2303.08774 |
| chinchilla | E + A / n**alpha + B / tokens**beta | arXiv:2203.15556 |
| tied | the same with alpha = beta | arXiv:2403.08540 |
| last_two | the log-log line through the last two rungs of the envelope; a point | |
| simple_scaling_laws | the package of that name, where it is installed; never a dependency | |

The three fits minimise the Huber loss of log residuals (delta 1e-3). Their intervals are a
bootstrap's: runs (clusters) are resampled and the law refitted; where fewer than 20 clusters make
that degenerate, they are weighted at random and seed noise is added. To each refit comes one of its
own residuals, since a target is a run and not a curve. Nothing widens them beyond the ladder.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pandas as pd

from fits.estimators.compute import PowerHuber
from fits.estimators.search import Curves
from fits.estimators.sizes import ChinchillaHuber, TiedHuber
from fits.forecast import forecast
from fits.observations import FitError, Matrix, Observations, budget_means, observe, points
from fits.uncertainty.bootstrap import (
    FEW_CLUSTERS,
    resampled_weights,
    seed_jitter,
    seed_noise,
    smooth_weights,
)

LEVELS = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
COLUMNS = ["lo95", "lo90", "lo50", "median", "hi50", "hi90", "hi95"]
REFITS = 200
RESIDUALS = 10  # drawn for each refit
RUNG = 0.3  # decades between two rungs of `last_two`

Predict = Callable[[pd.DataFrame, pd.DataFrame], Matrix]


class Refitter(Protocol):
    """An estimator, as far as the bootstrap needs it."""

    def require(self, obs: Observations) -> None: ...

    def fit_draws(self, obs: Observations, y: Matrix, weight: Matrix) -> Curves: ...


def forecaster(train: pd.DataFrame, targets: pd.DataFrame) -> Matrix:
    """`fits.forecast.forecast` as it stands; a row of NaN for a target that it refuses."""
    return forecast(train, targets).table[COLUMNS].to_numpy(dtype=np.float64)


def envelope(train: pd.DataFrame, targets: pd.DataFrame) -> Matrix:
    """A power law with a free floor on the lower envelope."""
    return bootstrap(PowerHuber(), lower_envelope(observe(train)), targets)


def chinchilla(train: pd.DataFrame, targets: pd.DataFrame) -> Matrix:
    """Hoffmann's law on all runs."""
    return bootstrap(ChinchillaHuber(), observe(train), targets)


def tied(train: pd.DataFrame, targets: pd.DataFrame) -> Matrix:
    """Hoffmann's law with one exponent, on all runs."""
    return bootstrap(TiedHuber(), observe(train), targets)


def last_two(train: pd.DataFrame, targets: pd.DataFrame) -> Matrix:
    """The line through the last rung and the next one at most half its compute: no interval."""
    x, y, _ = budget_means(lower_envelope(observe(train)))
    below = np.flatnonzero(x <= x[-1] - RUNG)
    if not below.size:
        raise FitError("too_few_budgets", "no rung at half the compute of the last or less")
    slope = (y[-1] - y[below[-1]]) / (x[-1] - x[below[-1]])
    at = np.log10(targets["flops"].to_numpy(dtype=np.float64))
    return np.tile(np.exp(y[-1] + slope * (at - x[-1]))[:, None], (1, len(LEVELS)))


def lower_envelope(obs: Observations) -> Observations:
    """The runs whose loss is below that of every run of no more compute."""
    best = np.minimum.accumulate(obs.loss)
    return obs.take(np.asarray(obs.loss < np.concatenate([[np.inf], best[:-1]])))


def bootstrap(estimator: Refitter, obs: Observations, targets: pd.DataFrame) -> Matrix:
    """Quantiles of refits, a residual of each added; the same draws whenever it is called."""
    estimator.require(obs)
    rng = np.random.default_rng(0)
    cluster = np.unique(obs.cluster, return_inverse=True)[1].astype(np.int64)
    if int(cluster.max()) + 1 < FEW_CLUSTERS:
        y = seed_jitter(obs, seed_noise(obs), REFITS, rng)
        weight = smooth_weights(cluster, REFITS, rng) * obs.weight
    else:
        y = np.tile(obs.y, (REFITS, 1))
        weight = resampled_weights(cluster, REFITS, rng) * obs.weight
    curves = estimator.fit_draws(obs, y, weight)
    residuals = obs.y - curves.log_loss(obs)
    picked = rng.integers(0, obs.y.size, (REFITS, RESIDUALS))
    added = np.take_along_axis(residuals, picked, axis=1)
    drawn = curves.log_loss(points(targets))[:, None, :] + added[:, :, None]
    flat = drawn.reshape(REFITS * RESIDUALS, len(targets))
    return np.asarray(np.exp(np.quantile(flat, LEVELS, axis=0)).T)


def simple_scaling_laws(train: pd.DataFrame, targets: pd.DataFrame) -> Matrix:
    """That package's default law in n and tokens, or in compute alone, for a new run."""
    if not installed("simple_scaling_laws"):
        raise FitError("not_installed", "simple-scaling-laws cannot be imported")
    package: Any = importlib.import_module("simple_scaling_laws")
    polars: Any = importlib.import_module("polars")
    sized = {"n_active", "tokens"} <= set(train.columns)
    names = {"n_active": "model_size__n", "tokens": "dataset_size__tokens"}
    names = names if sized else {"flops": "model_size__flops"}

    def frame(table: pd.DataFrame) -> dict[str, Any]:
        return {to: table[name].astype(float).tolist() for name, to in names.items()}

    runs = frame(train) | {
        "training_run_id": [f"run {i}" for i in range(len(train))],
        "test_loss__loss": train["loss"].tolist(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a target lies beyond the runs is the point
        model = package.fit(polars.DataFrame(runs), n_draws=REFITS, seed=0)
        asked = polars.DataFrame(frame(targets))
        found = model.predict(asked, kind="new-run", quantiles=LEVELS)
    suffixes = ["median" if q == 0.5 else f"q{1000 * q:03.0f}" for q in LEVELS]
    return np.stack([found[f"test_loss__loss__{s}"].to_numpy() for s in suffixes], axis=1)


def installed(package: str) -> bool:
    """Whether the package could be imported."""
    return importlib.util.find_spec(package) is not None


METHODS: dict[str, Predict] = {
    "forecaster": forecaster,
    "envelope": envelope,
    "chinchilla": chinchilla,
    "tied": tied,
    "last_two": last_two,
    "simple_scaling_laws": simple_scaling_laws,
}
