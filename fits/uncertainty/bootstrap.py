"""Resampling that keeps together what belongs together: runs, seeds of a budget, problems.

`resampled_weights` is the classical bootstrap (counts of drawn clusters) for a table of many
runs. `smooth_weights` is its Bayesian form (Rubin 1981: exponential weights), which never draws
the same rung k times, so that a ladder of three rungs still has a fit in every draw; it goes
with `seed_jitter`, since one seed at a rung shows nothing of that rung's own noise.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.estimators.search import Estimator
from fits.observations import FitError, Indices, Matrix, Observations, Vector

SEED_SD_PRIOR = 0.003  # sd of log loss between seeds: two-seed pairs of the tiny ladders of
SEED_SD_PRIOR_RUNS = 3  # 2e11-5e11 FLOPs gave .002 for the mean loss, up to .01 for one part


FEW_CLUSTERS = 20  # below this a resample too often repeats one rung to be a ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedNoise:
    """Sd of log loss between runs that differ by seed alone, and how it was learnt."""

    sd: float
    pairs: int  # degrees of freedom in the table; 0 means the prior alone
    measured: float | None


def seed_noise(obs: Observations) -> SeedNoise:
    """Pooled sd within groups alike in compute and every size known, shrunk to the prior.

    Checkpoints of one run that hardly differ say nothing of seeds: of them the first counts.
    """
    sizes = (obs.flops, obs.n, obs.tokens, obs.n_total, obs.n_experts, obs.unique_tokens)
    keys: list[Vector] = [np.asarray(np.round(np.log10(v), 3)) for v in sizes if v is not None]
    frame = pd.DataFrame({str(i): key for i, key in enumerate(keys)})
    first = ~frame.assign(run=obs.run_id).duplicated()
    frame, y = frame[first], pd.Series(obs.y)[first]
    centred = y - y.groupby([frame[c] for c in frame]).transform("mean")
    pairs = int(len(frame) - len(frame.drop_duplicates()))
    total = float((centred**2).sum())
    variance = (SEED_SD_PRIOR_RUNS * SEED_SD_PRIOR**2 + total) / (SEED_SD_PRIOR_RUNS + pairs)
    measured = float(np.sqrt(total / pairs)) if pairs else None
    return SeedNoise(sd=float(np.sqrt(variance)), pairs=pairs, measured=measured)


def resampled_weights(cluster: Indices, draws: int, rng: np.random.Generator) -> Matrix:
    """(draws, runs) how often each run's cluster was drawn."""
    size = int(cluster.max()) + 1
    counts = rng.multinomial(size, np.full(size, 1 / size), size=draws)
    return counts[:, cluster].astype(np.float64)


def smooth_weights(cluster: Indices, draws: int, rng: np.random.Generator) -> Matrix:
    """(draws, runs) exponential weights, one a cluster, with mean one in every draw."""
    size = int(cluster.max()) + 1
    weights = np.maximum(rng.exponential(size=(draws, size)), 1e-3)
    weights /= weights.mean(axis=1, keepdims=True)
    return np.asarray(weights[:, cluster])


def seed_jitter(
    obs: Observations, noise: SeedNoise, draws: int, rng: np.random.Generator
) -> Matrix:
    """(draws, runs) log losses with the seed noise that weights alone cannot show.

    Weights over m seeds of a budget carry (m - 1) / m of the variance of their mean; adding
    variance sd**2 / m to each run supplies the rest.
    """
    index = obs.budget
    per_budget = np.bincount(index)[index]
    shocks = rng.standard_normal((draws, obs.y.size))
    return np.asarray(obs.y + noise.sd / np.sqrt(per_budget) * shocks)


def intervals(
    estimator: Estimator,
    obs: Observations,
    *,
    draws: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """A row per constant: sd, lo90, hi90, lo95, hi95 over refits.

    Clusters are resampled where there are many; below FEW_CLUSTERS they are weighted and seed
    noise is added, as the forecaster does. Raises FitError where there are fewer than three, or
    where a refit's constant leaves the range of numbers.
    """
    cluster = np.unique(obs.cluster, return_inverse=True)[1].astype(np.int64)
    many = int(cluster.max()) + 1
    if many < 3:
        raise FitError("too_few_runs", "a bootstrap needs at least three clusters of runs")
    if many < FEW_CLUSTERS:
        y = seed_jitter(obs, seed_noise(obs), draws, rng)
        weight = smooth_weights(cluster, draws, rng) * obs.weight
    else:
        y = np.tile(obs.y, (draws, 1))
        weight = resampled_weights(cluster, draws, rng) * obs.weight
    curves = estimator.fit_draws(obs, y, weight)
    table = pd.DataFrame([curves.law(i).constants() for i in range(draws)])
    if not np.isfinite(table.to_numpy(dtype=np.float64)).all():
        raise FitError("not_finite", "a constant of some refit is beyond the range of numbers")
    levels = {"lo90": 0.05, "hi90": 0.95, "lo95": 0.025, "hi95": 0.975}
    columns = {name: table.quantile(level) for name, level in levels.items()}
    return pd.DataFrame({"sd": table.std(), **columns})
