"""What the law in sizes needs to know of runs beforehand: how far each stands from the others."""

from dataclasses import dataclass

import numpy as np

from fits.observations import BUDGET_DECADES, Indices, Observations, Vector

STRAY = 0.05  # a run's smooth loss is at most this far from its own, in log loss
LOW, LOW_SPREADS = 0.06, 8.0  # lower than the smooth loss by this, and by so many spreads, is wrong
QUADRATIC = 12  # runs from which the smooth loss is a quadratic
NOISY = 2.0  # spreads above the best run that may be noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Smooth:
    """A smooth loss for every run, and how the runs scatter about it."""

    loss: Vector  # within STRAY of the run's own
    noise: float  # robust sd of log loss about it, as far as it may be chance
    low: Indices  # which runs are too low to be true


def surface(obs: Observations) -> Smooth:
    """The smooth loss of every run, and which runs are too low to be true.

    A robust quadratic of log loss in log n and log tokens (a plane where runs are few), the rows of
    one run counting as one. To divide by it and not by the measured loss keeps noise out of the
    scale: else a law that lies below every run would be rewarded for it. About a plane, which bends
    with nothing, runs scatter by more than chance: no noise is known there.
    """
    logs = np.stack([np.log(size) for size in obs.sizes()], axis=1)
    a, b = ((logs - logs.mean(axis=0)) / logs.std(axis=0)).T
    columns = [np.ones_like(a), a, b, *((a * a, a * b, b * b) if _many(obs) else ())]
    design, share = np.stack(columns, axis=1), row_share(obs)
    weight = np.ones_like(a)
    for _ in range(20):
        root = np.sqrt(weight * share)
        fit = design @ np.linalg.lstsq(design * root[:, None], obs.y * root, rcond=None)[0]
        away = obs.y - fit
        spread = 1.4826 * _median(np.abs(away), share) + 1e-9
        weight = np.minimum(1, 1.5 * spread / np.maximum(np.abs(away), 1e-12))
    low = away < -max(LOW, LOW_SPREADS * spread)
    loss = np.exp(np.clip(fit, obs.y - STRAY, obs.y + STRAY))
    return Smooth(loss=loss, noise=spread * _many(obs), low=low)


def row_share(obs: Observations) -> Vector:
    """What each row counts: the checkpoints of a run err together and count as one."""
    return np.asarray(1 / np.bincount(obs.cluster)[obs.cluster])


def _many(obs: Observations) -> bool:
    """Whether the runs suffice for a quadratic."""
    return np.unique(obs.cluster).size >= QUADRATIC


def _median(values: Vector, weight: Vector) -> float:
    """Weighted median; of equal weights the usual one."""
    order = np.argsort(values)
    reached = np.cumsum(weight[order]) / weight.sum()
    at = int(np.searchsorted(reached, 0.5 - 1e-12))
    beyond = min(at + 1, values.size - 1) if reached[at] <= 0.5 + 1e-12 else at
    return float(values[order[at]] + values[order[beyond]]) / 2


def excess(obs: Observations, smooth: Smooth) -> Vector:
    """By how much log loss is further above the best run of at most its compute and 20 % than
    noise may put it; of a low run, ten times its distance from that best."""
    low = smooth.low
    reach = np.searchsorted(obs.flops, obs.flops * 10**BUDGET_DECADES, side="right") - 1
    best = np.minimum.accumulate(np.where(low, np.inf, obs.y))[reach]
    away = np.where(np.isfinite(best), np.abs(obs.y - best), 0.0)
    return np.where(low, 10 * away, np.maximum(away - NOISY * smooth.noise, 0))
