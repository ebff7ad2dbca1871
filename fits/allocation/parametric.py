"""Approach 3 of Hoffmann et al. 2022: the minimum of E + A/n**alpha + B/tokens**beta at C FLOPs.

The constants are those of `ChinchillaHuber`, which goes to the optimum itself: the published ones
came from a search that stopped early, and their intervals were too narrow (Besiroglu et al. 2024,
arXiv:2404.10102).
"""

import numpy as np
import pandas as pd

from fits.allocation.cost import Cost
from fits.allocation.path import Found
from fits.estimators.search import Law
from fits.estimators.sizes import ChinchillaCurves, ChinchillaHuber
from fits.observations import FitError, Matrix, Observations, Vector
from fits.uncertainty.bootstrap import (
    FEW_CLUSTERS,
    resampled_weights,
    seed_jitter,
    seed_noise,
    smooth_weights,
)

BATCH = 100_000  # draws times runs that are refitted at once
HALVINGS = 60


def parametric(
    obs: Observations, cost: Cost, at: Vector, *, draws: int, rng: np.random.Generator
) -> Found:
    """Log n of least loss at log compute `at`; FitError where no Chinchilla fit is due."""
    estimator = ChinchillaHuber()
    fit = estimator.fit(obs)
    curves = [_as_curves(fit.law), *_refits(estimator, obs, draws, rng)]
    log_n = np.concatenate([optimal_log_n(part, cost, at) for part in curves])
    rows = [part.law(i).constants() for part in curves for i in range(len(part.theta))]
    constants = pd.DataFrame(rows)
    evidence = pd.DataFrame({"constant": constants.columns, "value": constants.iloc[0].to_numpy()})
    if draws:
        for name, level in (("lo90", 0.05), ("hi90", 0.95)):
            evidence[name] = constants.iloc[1:].quantile(level).to_numpy()
    return Found(log_n=log_n, evidence=evidence, cautions=fit.cautions)


def optimal_log_n(curves: ChinchillaCurves, cost: Cost, log_flops: Vector) -> Matrix:
    """(draws, points) log n of least loss at each compute.

    With cost c n in closed form, G (C / c)**(beta / (alpha + beta)) where G is
    (alpha A / beta B)**(1 / (alpha + beta)) (Hoffmann et al. 2022, eq. 4); else by bisection of
    the derivative, which rises with n.
    """
    log_a, log_b, _, alpha, beta = (column[:, None] for column in curves.theta.T)
    log_a = log_a + alpha * curves.centre_n
    log_b = log_b + beta * curves.centre_tokens
    gain = np.log(alpha) + log_a - np.log(beta) - log_b
    plain = Cost(scale=cost.scale * (1 + cost.excess if cost.fade == 0 else 1))
    closed = (gain + beta * (log_flops - np.log(plain.scale))) / (alpha + beta)
    if cost.proportional:
        return np.asarray(closed)
    low, high = closed - 30.0, closed + 30.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        tokens = cost.log_tokens(middle, log_flops)
        rising = np.log(cost.slope(middle)) - beta * tokens + alpha * middle > gain
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    return np.asarray(0.5 * (low + high))


def _as_curves(law: Law) -> ChinchillaCurves:
    """One fitted law as a batch of one draw, centred at one parameter and one token."""
    value = law.constants()
    logs = [float(np.log(value[name])) for name in ("a", "b", "irreducible")]
    theta = np.array([[*logs, value["alpha"], value["beta"]]])
    return ChinchillaCurves(theta=theta, centre_n=0.0, centre_tokens=0.0)


def _refits(
    estimator: ChinchillaHuber, obs: Observations, draws: int, rng: np.random.Generator
) -> list[ChinchillaCurves]:
    """Refits of resampled clusters; below FEW_CLUSTERS of weighted ones with seed noise."""
    cluster = np.unique(obs.cluster, return_inverse=True)[1].astype(np.int64)
    many = int(cluster.max()) + 1
    if draws and many < 3:
        raise FitError("too_few_runs", "a bootstrap needs at least three clusters of runs")
    noise = seed_noise(obs)
    found = []
    size = max(BATCH // obs.flops.size, 1)
    for start in range(0, draws, size):
        count = min(size, draws - start)
        if many < FEW_CLUSTERS:
            y = seed_jitter(obs, noise, count, rng)
            weight = smooth_weights(cluster, count, rng)
        else:
            y, weight = np.tile(obs.y, (count, 1)), resampled_weights(cluster, count, rng)
        found.append(estimator.fit_draws(obs, y, weight * obs.weight))
    return found
