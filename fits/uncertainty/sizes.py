"""A law in sizes whose misfit may drift: the forecaster's law where recipes differ.

For runs of n active parameters on D tokens, with x = log10 of their compute,

    log L = log(E + A n**-alpha + B D**-beta) + d(x) + g(D / n) + e.

d is what the law misses along compute: piecewise linear, its slope a random walk that starts at
the largest run and goes both ways, so that the law holds best where the ladder ends. Backwards the
steps double every decade (small runs are the odd ones); forwards they are unseen, and the error h
decades on grows like hypot(tau, .0045) * h**1.5. g is what it misses between recipes: such walks in
the log of tokens per parameter, starting at the TARGET's: runs like the target count most, unlike
ones as far as they have proved to agree. e is scatter, wider for a run far above the best at no
more compute than noise can put it, for under-tuned runs say little. The rows of one run (its
checkpoints) count as one together.

d and g are the model discrepancy of Kennedy & O'Hagan 2001. Divided row by row by a smooth
loss, the equation is linear in A, B, d and g, which have Gaussian priors (A and B nearly flat, and
positive). The rest is a grid, so the posterior is a weighted set of cells in closed form, and
nothing is optimised.

| constant | values | prior |
|---|---|---|
| alpha, beta | .17 … .56 | log-normal about .31 (sd .2), apart |
| E / smallest loss | 0 … .95 | .1 at 0, the rest falling evenly to none at 1 |
| tau, per root decade | .001 … .016 | even |
| step in a recipe, per doubling | .005, .015, .045 | even |
| scatter / seed noise | 1, 2, 4, 8, 16 | .4, .3, .15, .1, .05 |

The exponents' prior has the mean of what others published, and a little more than its spread: .34
and .28 (arXiv:2203.15556), .35 and .37 (arXiv:2404.10102), .35 (arXiv:2305.16264), .29 and .23
(arXiv:2404.06395). A wide one lets small runs, which are worse than the law has them, pass for a
steep law over a high floor: it overestimates the large ones (docs/decisions/0011).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fits.observations import FitError, Indices, Matrix, Observations, Points, Vector
from fits.uncertainty.bootstrap import SeedNoise
from fits.uncertainty.drift import walk_covariance
from fits.uncertainty.smooth import excess, row_share, surface

USUAL_EXPONENT, EXPONENT_SPREAD = 0.31, 0.2
EXPONENTS: Vector = np.linspace(-3.0, 3.0, 13)  # prior standard deviations from the usual one
SHARES: Vector = np.linspace(0.0, 0.95, 20)
NO_FLOOR = 0.1
DRIFTS: Vector = np.array([0.001, 0.002, 0.004, 0.008, 0.016])
RECIPES: Vector = np.array([0.005, 0.015, 0.045])
SCATTERS: Vector = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
SCATTER_PRIOR: Vector = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
KNOT = 0.35  # decades between the steps of d
BACKWARDS = 2.0  # growth of a step a decade back
AHEAD = 0.0045  # tau ahead is this at least, per root decade, whatever the runs have shown
FAR = 0.015  # so much above the best in log loss, and the runs' own noise, scatters 1.4 times
TRIES = 64  # draws at least, of which those with A and B positive are kept
LOOSE = 100.0  # prior sd of A and B at the centre, in smallest losses
WIDEST = 20.0  # decades of compute, and log of tokens per parameter, that a table may span
DOUBLING = float(np.log(2))  # between two knots of g

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """The columns of the linear part for any points, fixed by the runs and the target's recipe."""

    centre: tuple[float, float]  # mean log n and log tokens
    knots: Vector  # of d, log10 compute from the largest run backwards
    home: float  # the target's log of tokens per parameter
    above: Vector  # knots of g beyond home
    below: Vector  # and before it, both as distances

    def terms(self, at: Points, exponents: Vector) -> Matrix:
        """(points, 2): n and tokens to minus their exponents, 1 at the centre."""
        n, tokens = at.sizes()
        logs = np.stack([np.log(n), np.log(tokens)], axis=1) - self.centre
        return np.asarray(np.exp(-exponents * logs))

    def walks(self, at: Points) -> Matrix:
        """(points, knots) of d behind the largest run, then of g, where every step is one."""
        behind = np.maximum(self.knots - np.log10(at.flops)[:, None], 0)
        away = (_ratio(at) - self.home)[:, None]
        columns = (
            behind * BACKWARDS ** (self.knots[0] - self.knots),
            np.maximum(away - self.above, 0),
            np.maximum(-away - self.below, 0),
        )
        return np.concatenate(columns, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftingSizes:
    """Weighted cells: exponents (k) by tau, step and scatter (h) by floor (f)."""

    basis: Basis
    unit: float  # smallest loss, in which A, B and E are measured
    exponents: Matrix  # (k, 2) alpha and beta
    scales: Matrix  # (h, 3) tau, step, scatter
    information: Array  # (k, columns, columns) from the runs, at scatter 1
    prior: Matrix  # (h, columns) precision
    means: Array  # (k, h, columns, 2): the linear part is [..., 0] + floor * [..., 1]
    weights: Array  # (k, h, f)
    run_id: tuple[str, ...]

    def scatter(self) -> float:
        """Root mean square over the posterior of a run's scatter, in units of seed noise."""
        return float(np.sqrt((self.weights.sum(axis=(0, 2)) * self.scales[:, 2] ** 2).sum()))

    def draws(self, at: Points, count: int, rng: np.random.Generator) -> Matrix:
        """(count, points) log loss, seed noise left out; ValueError where sizes are unknown."""
        (k, h, f), theta = self._parts(count, rng)
        loss = np.repeat(SHARES[f][:, None], at.flops.size, axis=1)
        for one in np.unique(k):
            here = k == one
            loss[here] += theta[here, :2] @ self.basis.terms(at, self.exponents[one]).T
        ahead = np.maximum(np.log10(at.flops) - self.basis.knots[0], 0)
        unseen = np.linalg.cholesky(walk_covariance(ahead, ahead) + 1e-12 * np.eye(ahead.size))
        walk = rng.standard_normal((count, ahead.size)) @ unseen.T
        walk *= np.hypot(self.scales[h, :1], AHEAD)
        missed = theta[:, 2:] @ self.basis.walks(at).T
        return np.asarray(np.log(self.unit * loss) + missed + walk)

    def constants(self) -> dict[str, float]:
        """Posterior medians, sizes and losses in the table's units."""
        (k, h, f), theta = self._parts(400, np.random.default_rng(0))
        found = {"irreducible": float(np.median(self.unit * SHARES[f]))}
        powers = self.exponents[k]
        for i, (size, power) in enumerate((("a", "alpha"), ("b", "beta"))):
            level = np.log(self.unit * theta[:, i]) + powers[:, i] * self.basis.centre[i]
            found |= {size: float(np.exp(np.median(level))), power: float(np.median(powers[:, i]))}
        return found | {"drift": float(np.median(self.scales[h, 0]))}

    def _parts(
        self, count: int, rng: np.random.Generator
    ) -> tuple[tuple[Indices, Indices, Indices], Matrix]:
        """Cells, each as often as due, and linear parts (count, columns) with A and B positive."""
        edges, tries = np.cumsum(self.weights.ravel()), max(count, TRIES)
        due = (rng.permutation(tries) + 0.5) / tries * edges[-1]
        chosen = np.minimum(np.searchsorted(edges, due), edges.size - 1)
        k, h, f = (np.asarray(i) for i in np.unravel_index(chosen, self.weights.shape))
        theta = self.means[k, h, :, 0] + SHARES[f][:, None] * self.means[k, h, :, 1]
        shock = rng.standard_normal(theta.shape)
        for one, two in np.unique(np.stack([k, h], axis=1), axis=0):
            here = (k == one) & (h == two)
            precision = self.information[one] / self.scales[two, 2] ** 2 + np.diag(self.prior[two])
            theta[here] += np.linalg.solve(np.linalg.cholesky(precision).T, shock[here].T).T
        positive = np.flatnonzero((theta[:, :2] > 0).all(axis=1))
        if not positive.size:
            raise FitError("not_decreasing", "hardly any law falls with both n_active and tokens")
        kept = np.resize(positive, count)
        return (k[kept], h[kept], f[kept]), theta[kept]


def fit_drifting_sizes(obs: Observations, at: Points, noise: SeedNoise) -> DriftingSizes:
    """Posterior given the runs, for targets of about one recipe; `noise` is one run's seed noise.

    Raises ValueError where n or tokens is unknown, FitError where more of either does not help.
    """
    basis = _basis(obs, at)
    smooth = surface(obs)
    unit = float(obs.loss[~smooth.low].min())
    loss, scale = obs.loss / unit, (smooth.loss / unit)[:, None]
    share = row_share(obs)
    scatter = noise.sd**2 * (1 + (excess(obs, smooth) / np.hypot(FAR, smooth.noise)) ** 2)
    weight = share * obs.weight * share.sum() / (share @ obs.weight) / scatter
    walks = basis.walks(obs)
    scales, prior, of_scales = _scales(basis)
    exponents, of_exponents = _exponents()
    response = np.stack([loss, -np.ones_like(loss)], axis=1) / scale  # (L - E) / smooth
    total = _at_floors((response * weight[:, None]).T @ response)
    information, means, evidence = [], [], []
    for powers, of_powers in zip(exponents, of_exponents, strict=True):
        design = np.concatenate([basis.terms(obs, powers) / scale, walks], axis=1)
        known = (design * weight[:, None]).T @ design
        seen = (design * weight[:, None]).T @ response
        mean, fit, size = _solve(known, seen, scales[:, 2], prior)
        missed = (total / scales[:, 2:] ** 2 - fit) + 2 * share.sum() * np.log(scales[:, 2:])
        levels = mean[:, :2, :1] + SHARES * mean[:, :2, 1:]
        possible = np.where((levels > 0).all(axis=1), 0.0, -np.inf)
        before = of_powers + of_scales[:, None] + floor_prior()
        evidence.append(before + possible - 0.5 * (missed + size[:, None]))
        information.append(known)
        means.append(mean)
    if not np.isfinite(np.max(evidence)):
        raise FitError(
            "not_decreasing", "the loss falls with n_active or with tokens, but not with both"
        )
    weights = np.exp(np.stack(evidence) - np.max(evidence))
    return DriftingSizes(
        basis=basis, unit=unit, exponents=exponents, scales=scales,
        information=np.stack(information), prior=prior, means=np.stack(means),
        weights=weights / weights.sum(), run_id=obs.run_id,
    )  # fmt: skip


def _solve(
    known: Matrix, seen: Matrix, scatter: Vector, prior: Matrix
) -> tuple[Array, Matrix, Vector]:
    """By scales: means (h, columns, 2); what they explain (h, f); log size (h,) of the cell."""
    columns = prior.shape[1]
    precision = known / scatter[:, None, None] ** 2 + prior[:, :, None] * np.eye(columns)
    wanted = seen / scatter[:, None, None] ** 2
    mean: Array = np.asarray(np.linalg.solve(precision, wanted), dtype=np.float64)
    fit = _at_floors(np.swapaxes(wanted, 1, 2) @ mean)
    size = np.linalg.slogdet(precision)[1] - np.log(prior).sum(axis=1)
    return mean, fit, np.asarray(size)


def _at_floors(products: Array) -> Array:
    """v' M v for v = (1, floor) at each of SHARES; (..., f)."""
    both = np.stack([np.ones_like(SHARES), SHARES])
    return np.asarray(np.einsum("if,...ij,jf->...f", both, products, both))


def _basis(obs: Observations, at: Points) -> Basis:
    n, tokens = obs.sizes()
    wanted = _ratio(at)
    home = float(np.median(wanted))
    away = np.concatenate([_ratio(obs), wanted]) - home
    if np.ptp(obs.x) > WIDEST or np.abs(away).max() > WIDEST:
        raise FitError(
            "too_wide", "runs and target differ by more than 20 decades in compute, or e**20 in "
            "tokens per parameter: look for a number in another unit",
        )  # fmt: skip
    return Basis(
        centre=(float(np.log(n).mean()), float(np.log(tokens).mean())),
        knots=np.arange(obs.x.max(), obs.x.min() - 1e-9, -KNOT), home=home,
        above=np.arange(0, away.max(), DOUBLING), below=np.arange(0, -away.min(), DOUBLING),
    )  # fmt: skip


def _ratio(at: Points) -> Vector:
    n, tokens = at.sizes()
    return np.asarray(np.log(tokens / n))


def _scales(basis: Basis) -> tuple[Matrix, Matrix, Vector]:
    """(h, 3) tau, step and scatter; (h, columns) their prior precision; log prior (h,)."""
    grid = np.meshgrid(DRIFTS, RECIPES, SCATTERS, indexing="ij")
    scales = np.stack([axis.ravel() for axis in grid], axis=1)
    columns = (
        np.full((len(scales), 2), LOOSE**-2),
        np.repeat(1 / (scales[:, :1] ** 2 * KNOT), basis.knots.size, axis=1),
        np.repeat(1 / scales[:, 1:2] ** 2, basis.above.size + basis.below.size, axis=1),
    )
    of_scatter = np.log(SCATTER_PRIOR)[np.searchsorted(SCATTERS, scales[:, 2])]
    return scales, np.concatenate(columns, axis=1), np.asarray(of_scatter)


def _exponents() -> tuple[Matrix, Vector]:
    """(k, 2) exponents worth trying, and their log prior."""
    both = np.stack([axis.ravel() for axis in np.meshgrid(EXPONENTS, EXPONENTS)], axis=1)
    prior = -0.5 * (both**2).sum(axis=1)
    return np.asarray(USUAL_EXPONENT * np.exp(EXPONENT_SPREAD * both)), np.asarray(prior)


def floor_prior() -> Vector:
    """Log prior of each of SHARES."""
    rest = 1 - SHARES[1:]
    return np.asarray(np.log(np.concatenate([[NO_FLOOR], (1 - NO_FLOOR) * rest / rest.sum()])))
