"""Many small Huber fits at once: sums of exponentials of linear forms, on log residuals.

Most laws of this room are log(loss) = logsumexp_j(offset_j + design_j @ theta) with different
terms j (Hoffmann et al. 2022, appendix D.3, use this form for Chinchilla); any other need only
give its derivative (`Form`). One batched solver serves every law, start and draw.

`descend` takes damped Newton steps in a box, with the exact Hessian where the form is `Terms` and
Gauss-Newton's elsewhere. Huber's loss at a small delta is nearly the sum of absolute residuals,
whose kinks stop Newton short; so the first steps see it with a wider quadratic zone, which
shrinks to delta (the continuation of Madsen and Nielsen 1993, doi:10.1137/0803010). Once the zone
is delta and holds the right runs, convergence is quadratic. Far from the optimum, and as damping,
the runs outside the zone count by the weights of iteratively reweighted least squares, which
bound the loss from above.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from fits.estimators.newton import Exponentials, GaussNewton, Model, solve
from fits.observations import Indices, Matrix, Vector

Cube = npt.NDArray[np.float64]

CHUNK = 150_000  # draws x runs x constants at a time: what a step touches stays in the cache
SHRINK, SETTLED = 0.4, 0.1  # of the zone, once a step promises this share of the objective
FAR = 4.0  # times delta: a wider zone is far from the optimum
LONGEST = 3.0  # of a step in any constant; they are logs and exponents
FIRST_DAMPING, LAST_DAMPING = 1e-4, 1e6  # after a refused step; a draw beyond the last is stuck
REWEIGHTED = 100.0  # x damping: share of the reweighting in the runs outside the zone


class Form(Protocol):
    """log(loss) as a function of the constants; all that the solver asks of a law."""

    def log_loss(self, theta: Matrix) -> Matrix:
        """(draws, runs) log loss of each row of theta (draws, constants)."""
        ...

    def with_jacobian(self, theta: Matrix) -> tuple[Matrix, Cube]:
        """Log loss (draws, runs) and its derivative (draws, runs, constants)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """offset (terms, runs) and design (terms, runs, constants) of the exponents."""

    offset: Matrix
    design: Cube

    def log_loss(self, theta: Matrix) -> Matrix:
        """(draws, runs) log loss of each row of theta."""
        return self.with_shares(theta)[0]

    def with_shares(self, theta: Matrix) -> tuple[Matrix, Cube]:
        """Log loss (draws, runs) and each term's share of the loss (draws, terms, runs)."""
        terms, runs, _ = self.design.shape
        shares = np.empty((theta.shape[0], terms, runs))
        for j in range(terms):  # each product too small for BLAS to wake its threads
            np.matmul(theta, self.design[j].T, out=shares[:, j])
        shares += self.offset
        top = shares.max(axis=1, keepdims=True)
        shares -= top
        np.exp(shares, out=shares)
        total = shares.sum(axis=1, keepdims=True)
        shares /= total
        return (top + np.log(total))[:, 0], shares

    def with_jacobian(self, theta: Matrix) -> tuple[Matrix, Cube]:
        """Log loss (draws, runs) and its derivative (draws, runs, constants)."""
        value, shares = self.with_shares(theta)
        return value, np.einsum("bjn,jnp->bnp", shares, self.design)


def huber(residual: Matrix, delta: float) -> Matrix:
    """Huber's loss of each residual: quadratic to delta, linear beyond."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Targets (draws, runs), weights (draws, runs), terms and box of a batch of fits."""

    terms: Form
    y: Matrix
    weight: Matrix
    delta: float
    lower: Vector
    upper: Matrix  # (draws, constants) or (1, constants)

    def objective(self, value: Matrix) -> Vector:
        """Summed weighted Huber loss of each draw."""
        return np.asarray((self.weight * huber(self.y - value, self.delta)).sum(axis=1))

    def rows(self, index: Indices) -> "Problem":
        """The problem of the chosen draws alone."""

        def pick(values: Matrix) -> Matrix:
            return values if values.shape[0] == 1 else values[index]

        return Problem(
            terms=self.terms,
            y=pick(self.y),
            weight=pick(self.weight),
            delta=self.delta,
            lower=self.lower,
            upper=pick(self.upper),
        )


def _step(
    problem: Problem, theta: Matrix, downhill: Matrix, hessian: Cube, damping: Vector
) -> tuple[Matrix, Vector]:
    """Where a damped Newton step in the box leads, and the gain that it would have outside."""
    blocked = (theta <= problem.lower) & (downhill < 0)
    blocked |= ((theta >= problem.upper) & (downhill > 0)) | (problem.lower >= problem.upper)
    diagonal = np.abs(np.einsum("bpp->bp", hessian))
    most = diagonal.max(axis=1, keepdims=True)
    least = np.where(most > 0, 1e-14 * most, 1.0)
    unit = 1 / np.sqrt(np.maximum(diagonal, least))
    unit[blocked] = 0
    scaled = hessian * unit[:, :, None] * unit[:, None, :]
    np.einsum("bpp->bp", scaled)[:] += damping[:, None] + blocked
    step, gain = solve(scaled, downhill * unit)
    step = step * unit
    longest = np.abs(step).max(axis=1, keepdims=True)
    step *= LONGEST / np.maximum(longest, LONGEST)
    return np.clip(theta + step, problem.lower, problem.upper), gain


def descend(problem: Problem, start: Matrix, *, steps: int = 80, tolerance: float = 1e-9) -> Matrix:
    """Constants (draws, constants) after at most `steps` Newton steps from `start`.

    A draw rests once its next step promises less than `tolerance` of its objective. None ends
    above the objective of its start; a start that is not finite is a ValueError.
    """
    if not np.isfinite(start).all():
        row = int(np.argmin(np.isfinite(start).all(axis=1)))
        raise ValueError(f"the start of draw {row} is {start[row]}; it must be finite")
    ends = np.clip(start, problem.lower, problem.upper)
    form = problem.terms
    model: Model = GaussNewton(form.with_jacobian)
    if isinstance(form, Terms):
        model = Exponentials(form.design, form.with_shares)
    size = max(8, CHUNK // max(problem.y.shape[1] * ends.shape[1], 1))
    for first in range(0, ends.shape[0], size):
        rows = np.arange(first, min(first + size, ends.shape[0]))
        part, begin = problem.rows(rows), ends[rows]
        # a step too far, or along a flat direction, is not taken
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            before = part.objective(form.log_loss(begin))
            batch = _Batch(part, model, begin, np.flatnonzero(np.isfinite(before)))
            for _ in range(steps):
                if not batch.rows.size:
                    break
                batch.step(tolerance)
            reached = batch.ends()
            better = part.objective(form.log_loss(reached)) < before
        ends[rows] = np.where(better[:, None], reached, begin)
    return ends


class _Batch:
    """Draws on their way down: those still moving (`rows`), and where the others came to rest."""

    def __init__(self, problem: Problem, model: Model, start: Matrix, rows: Indices) -> None:
        self.problem, self.model, self.rested = problem, model, start.copy()
        self.rows, self.part, self.theta = rows, problem.rows(rows), start[rows]
        value, self.inner = model.expand(self.theta)
        self.residual = self.part.y - value
        total = np.maximum(self.part.weight.sum(axis=1), 1e-300)
        mean = (self.part.weight * np.abs(self.residual)).sum(axis=1) / total
        self.width = np.maximum(mean, problem.delta)  # half of the quadratic zone
        self.damping = np.zeros(rows.size)

    def ends(self) -> Matrix:
        """Where every draw is now."""
        self.rested[self.rows] = self.theta
        return self.rested

    def step(self, tolerance: float) -> None:
        """A damped step of every moving draw; those that gain nothing more come to rest."""
        part, delta = self.part, self.part.delta
        slope, score = self._slope(self.residual)
        far = self.width > FAR * delta
        outside = self.width[:, None] / np.maximum(np.abs(self.residual), self.width[:, None])
        share = np.where(far, 1.0, np.minimum(REWEIGHTED * self.damping, 1.0))[:, None]
        weight = part.weight * np.where(outside < 1, share * outside, 1.0)
        bend = np.where(far, 0.0, 1.0)
        downhill, hessian = self.model.curvature(self.inner, slope, weight, bend)
        trial, promise = _step(part, self.theta, downhill, hessian, self.damping)
        value, inner = self.model.expand(trial)
        residual = part.y - value
        new_score = self._slope(residual)[1]
        better = new_score < score
        self._damp(score - new_score, trial - self.theta, downhill, hessian)
        small = promise <= tolerance * (score + 1e-15)
        resting = (self.width <= delta) & small & (self.damping <= FIRST_DAMPING)
        np.copyto(self.theta, trial, where=better[:, None])
        np.copyto(self.residual, residual, where=better[:, None])
        np.copyto(self.inner, inner, where=better[:, None, None])
        settled = small | (better & (promise <= SETTLED * score))
        self.width = np.where(settled, np.maximum(SHRINK * self.width, delta), self.width)
        self._rest(resting | (self.damping > LAST_DAMPING))

    def _slope(self, residual: Matrix) -> tuple[Matrix, Vector]:
        """Weighted slope of Huber's loss with this zone (draws, runs), and the objective."""
        bound = self.width[:, None]
        slope = np.clip(residual, -bound, bound)
        weighted = self.part.weight * slope
        return weighted, np.einsum("bn,bn->b", weighted, residual - 0.5 * slope)

    def _damp(self, gain: Vector, move: Matrix, downhill: Matrix, hessian: Cube) -> None:
        """Less damping where the gain was what the quadratic model said, more where it was not."""
        bent = np.einsum("bp,bpq,bq->b", move, hessian, move)
        expected = np.einsum("bp,bp->b", downhill, move) - 0.5 * bent
        ratio = np.nan_to_num(gain / np.maximum(expected, 1e-300), nan=-1.0)
        eased = np.where(self.damping <= FIRST_DAMPING, 0.0, 0.2 * self.damping)
        kept = np.where(ratio > 0.5, 1.0, 2.0) * self.damping
        raised = np.maximum(4 * self.damping, FIRST_DAMPING)
        self.damping = np.where(ratio > 0.9, eased, np.where(gain > 0, kept, raised))

    def _rest(self, resting: npt.NDArray[np.bool_]) -> None:
        if not resting.any():
            return
        self.rested[self.rows[resting]] = self.theta[resting]
        going = ~resting
        self.rows, self.theta, self.inner = self.rows[going], self.theta[going], self.inner[going]
        self.residual, self.width = self.residual[going], self.width[going]
        self.damping, self.part = self.damping[going], self.problem.rows(self.rows)


def polish(problem: Problem, theta: Vector) -> tuple[Vector, float]:
    """One draw's constants at the optimum, and the objective there: Newton, then L-BFGS.

    The objective is divided by delta squared: unscaled, its gradient is below the usual
    tolerances long before the optimum, and solvers stop short.
    """
    scale = problem.delta**2

    def score(point: Vector) -> tuple[float, Vector]:
        value, jac = problem.terms.with_jacobian(point[None])
        residual = problem.y - value
        slope = problem.weight * np.clip(residual, -problem.delta, problem.delta)
        return float(problem.objective(value)[0]) / scale, -(slope @ jac[0])[0] / scale

    bounds = list(zip(problem.lower, problem.upper[0], strict=True))
    best = descend(problem, theta[None], steps=300, tolerance=1e-13)[0]
    reached = score(best)[0]
    for _ in range(4):
        result = minimize(
            score,
            best,
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"maxiter": 2000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 30, "maxls": 60},
        )
        done = reached - result.fun < 1e-12 * max(1.0, abs(reached))
        if result.fun <= reached:
            best, reached = np.asarray(result.x), float(result.fun)
        if done:
            break
    return best, reached * scale
