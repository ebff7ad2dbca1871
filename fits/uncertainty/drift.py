"""A power law over a floor whose slope may drift: the forecaster's law in compute.

For budget means at t = log10 of compute above the smallest budget,

    log(L - c) = u - s t + d(t) + e,

where d is an integrated random walk (its slope wanders by kappa * tau per root decade) and e is
scatter. d is the model discrepancy of Kennedy & O'Hagan 2001 with the prior behind smoothing
splines (Wahba 1978): inside the ladder the law bends with the data, beyond it the newest slope
counts most, and its error h decades on grows like tau * h**1.5. kappa = L / (L - c) at the last
budget makes tau a drift of log loss, whatever the floor. u and s have flat priors.

Given the floor, the drift and the scatter everything is linear and Gaussian, so the posterior is
a weighted grid of cells in closed form and nothing is optimised. Its priors:

| constant | values | prior |
|---|---|---|
| c / smallest loss | 0; .05 … .9 | half at 0, the rest falling as exp(-share / .3); a tenth at 0 \
and the rest even where n or tokens is held fixed |
| tau | .004 … .06 | mostly .015 to .06 |
| scatter / seed noise | 1, 2, 4 | .6, .3, .1 |

(u and s being flat in log(L - c), a floor's evidence carries stretch**2 besides: with two budgets,
which say nothing, no floor has .29.) They were chosen on ladders whose targets had long been known
(docs/log.md): fourteen tiny ones of 8e10 to 1.3e13 FLOPs and 43 splits of public tables. Against a
line, a last slope and a free floor mixed by their spread, errors beyond 20x fell from 6.5 to 4.4 %
(public) and 4.0 to 3.8 % (tiny), and the 90 % interval's half width from 19 to 12 %, covering 94 %
and 100 %.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from fits.observations import Matrix, Observations, Points, Vector, budget_means
from fits.uncertainty.bootstrap import SeedNoise

SHARES: Vector = np.linspace(0.0, 0.9, 19)
DRIFTS: Vector = np.array([0.004, 0.008, 0.015, 0.03, 0.06])
DRIFT_PRIOR: Vector = np.array([0.2, 0.5, 1.0, 2.0, 2.0])
SCATTERS: Vector = np.array([1.0, 2.0, 4.0])
SCATTER_PRIOR: Vector = np.array([0.6, 0.3, 0.1])
NO_FLOOR = 0.5  # prior of c = 0
NO_FLOOR_HELD = 0.1
FLOOR_FALL = 0.3
HELD = 0.05  # spread in log n or log tokens below which it is held fixed along the ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The posterior given floor, drift and scatter: all that is needed to predict anywhere."""

    floor: float  # nats per token
    drift: float  # tau
    scatter: float  # of one run, in seed noise
    evidence: float  # log marginal likelihood plus log prior
    level: float  # u at the first budget
    slope: float  # s, per decade
    trend: Matrix  # covariance of (u, -s)
    gain: Vector  # inverse covariance times residual, by budget
    inverse: Matrix  # inverse covariance of the budgets
    scale: float  # kappa * tau


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftingPower:
    """Weighted cells over the budgets `x` (log10 compute)."""

    x: Vector
    cells: tuple[Cell, ...]
    weights: Vector
    last: float  # log loss of the largest budget

    def share(self, *, floor: bool) -> float:
        """Posterior weight of the cells with, or without, a floor."""
        return float(sum(w for c, w in self._pairs() if (c.floor > 0) == floor))

    def _pairs(self) -> "list[tuple[Cell, float]]":
        return list(zip(self.cells, self.weights.tolist(), strict=True))

    def scatter(self) -> float:
        """Root mean square over the posterior of a run's scatter, in units of seed noise."""
        return float(np.sqrt(sum(w * cell.scatter**2 for cell, w in self._pairs())))

    def moments(self, flops: Vector) -> tuple[Matrix, Matrix]:
        """(cells, points) mean and sd of log(L - c)."""
        t, at = self.x - self.x[0], np.log10(flops) - self.x[0]
        # below the first budget the walk has not begun: only the trend is carried on
        between, own = walk_covariance(t, np.maximum(at, 0)), np.maximum(at, 0) ** 3 / 3
        design = np.stack([np.ones_like(t), t], axis=1)
        wanted = np.stack([np.ones_like(at), at], axis=1)
        means, sds = [], []
        for cell in self.cells:
            cross = cell.scale**2 * between
            mean = cell.level - cell.slope * at + cross.T @ cell.gain
            rest = wanted - cross.T @ cell.inverse @ design
            seen = np.einsum("kp,kl,lp->p", cross, cell.inverse, cross)
            unsure = np.einsum("pi,ij,pj->p", rest, cell.trend, rest)
            means.append(mean)
            sds.append(np.sqrt(np.maximum(cell.scale**2 * own - seen + unsure, 0)))
        return np.stack(means), np.stack(sds)

    def draws(self, at: Points, count: int, rng: np.random.Generator) -> Matrix:
        """(count, points) log loss, seed noise left out; one shock moves all points of a draw.

        Beyond the ladder it never exceeds the last budget's: more compute along one recipe does
        not make a model worse.
        """
        flops = at.flops
        means, sds = self.moments(flops)
        edges = np.cumsum(self.weights)
        chosen = np.searchsorted(edges / edges[-1], (np.arange(count) + 0.5) / count)
        chosen = np.minimum(chosen, len(self.cells) - 1)
        shock = stats.norm.ppf((rng.permutation(count) + 0.5) / count)
        floor = np.array([cell.floor for cell in self.cells])[chosen]
        loss = floor[:, None] + np.exp(means[chosen] + shock[:, None] * sds[chosen])
        log_loss = np.log(loss)
        beyond = np.log10(flops) > self.x[-1]
        return np.asarray(np.where(beyond, np.minimum(log_loss, self.last), log_loss))

    def constants(self) -> dict[str, dict[str, float]]:
        """Posterior means of a, b (and c) of a * C**-b + c, without and with a floor."""
        found: dict[str, dict[str, float]] = {}
        for name, floor in (("power", False), ("power_floor", True)):
            chosen = [(c, w) for c, w in self._pairs() if (c.floor > 0) == floor]
            rows = np.array([(*self._chord(c), c.floor, c.drift) for c, _ in chosen])
            mean = np.average(rows, axis=0, weights=[w + 1e-300 for _, w in chosen])
            found[name] = {"a": float(np.exp(mean[0])), "b": float(mean[1])}
            if floor:
                found[name]["irreducible"] = float(mean[2])
            found[name]["drift"] = float(mean[3])
        return found

    def _chord(self, cell: Cell) -> tuple[float, float]:
        """log a and b of the a * C**-b that meets the smoothed curve at both ends of the ladder."""
        at = np.array([self.x[0], self.x[-1]]) - self.x[0]
        walk = cell.scale**2 * walk_covariance(self.x - self.x[0], at).T @ cell.gain
        first, last = (float(v) for v in cell.level - cell.slope * at + walk)
        b = (first - last) / float(at[1]) / np.log(10)
        return first + b * float(self.x[0]) * np.log(10), b


def fit_drifting_power(obs: Observations, noise: SeedNoise) -> DriftingPower:
    """Posterior from two or more budgets; `noise` is the seed noise of one run's log loss."""
    x, y, counts = budget_means(obs)
    sd = noise.sd / np.sqrt(counts)
    t, loss = x - x[0], np.exp(y)
    walk, design = walk_covariance(t, t), np.stack([np.ones_like(t), t], axis=1)
    cells: list[Cell] = []
    for share, of_share in zip(SHARES, floor_prior(obs), strict=True):
        floor = float(share * loss.min())
        stretch = loss / (loss - floor)  # d log(L - c) / d log L
        z = np.log(loss - floor)
        for drift, of_drift in zip(DRIFTS, DRIFT_PRIOR / DRIFT_PRIOR.sum(), strict=True):
            scale = float(drift * stretch[-1])
            for times, of_times in zip(SCATTERS, SCATTER_PRIOR, strict=True):
                covariance = scale**2 * walk + np.diag((times * sd * stretch) ** 2)
                prior = float(np.log(of_share * of_drift * of_times) + np.log(stretch).sum())
                cells.append(
                    _cell(z, covariance, design, (floor, float(drift), float(times)), scale, prior)
                )
    evidence = np.array([cell.evidence for cell in cells])
    weights = np.exp(evidence - evidence.max())
    return DriftingPower(
        x=x, cells=tuple(cells), weights=weights / weights.sum(), last=float(y[-1])
    )


def _cell(
    z: Vector, covariance: Matrix, design: Matrix, given: tuple[float, float, float], scale: float,
    log_prior: float,
) -> Cell:  # fmt: skip
    """Generalised least squares with the trend's flat prior integrated out."""
    inverse: Matrix = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    information = design.T @ inverse @ design
    trend: Matrix = np.asarray(np.linalg.inv(information), dtype=np.float64)
    level, rise = trend @ design.T @ inverse @ z
    residual = z - design @ np.array([level, rise])
    gain = inverse @ residual
    size = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1]
    return Cell(
        floor=given[0], drift=given[1], scatter=given[2],
        evidence=float(log_prior - 0.5 * (residual @ gain + size)),
        level=float(level), slope=-float(rise), trend=trend, gain=gain, inverse=inverse,
        scale=scale,
    )  # fmt: skip


def floor_prior(obs: Observations) -> Vector:
    """Prior of each of SHARES; a floor is likely where one of n and tokens is held fixed, for then
    the other's term is left over however large the compute."""
    sizes = [size for size in (obs.n, obs.tokens) if size is not None]
    held = len(sizes) == 2 and any(np.ptp(np.log(size)) < HELD for size in sizes)
    rest = np.ones(SHARES.size - 1) if held else np.exp(-SHARES[1:] / FLOOR_FALL)
    none = NO_FLOOR_HELD if held else NO_FLOOR
    return np.concatenate([[none], (1 - none) * rest / rest.sum()])


def walk_covariance(s: Vector, t: Vector) -> Matrix:
    """Covariance of a random walk integrated from 0, between decades s >= 0 and t >= 0."""
    least = np.minimum.outer(s, t)
    return np.asarray(least**3 / 3 + np.abs(np.subtract.outer(s, t)) * least**2 / 2)
