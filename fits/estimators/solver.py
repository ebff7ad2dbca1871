"""Many small Huber fits at once: sums of exponentials of linear forms, on log residuals.

Most laws of this room are log(loss) = logsumexp_j(offset_j + design_j @ theta) with different
terms j (Hoffmann et al. 2022, appendix D.3, use this form for Chinchilla); any other need only
give its derivative (`Form`). One batched solver serves every law, start and draw: iteratively reweighted least squares with
Levenberg damping inside a box. `polish` then takes one fit to the optimum itself.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from fits.observations import Matrix, Vector


class Form(Protocol):
    """log(loss) as a function of the constants; all that the solver asks of a law."""

    def log_loss(self, theta: Matrix) -> Matrix:
        """(draws, runs) log loss of each row of theta (draws, constants)."""
        ...

    def with_jacobian(self, theta: Matrix) -> tuple[Matrix, npt.NDArray[np.float64]]:
        """Log loss (draws, runs) and its derivative (draws, runs, constants)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """offset (terms, runs) and design (terms, runs, constants) of the exponents."""

    offset: Matrix
    design: npt.NDArray[np.float64]

    def log_loss(self, theta: Matrix) -> Matrix:
        """(draws, runs) log loss of each row of theta."""
        return self._evaluate(theta)[0]

    def _evaluate(self, theta: Matrix) -> tuple[Matrix, npt.NDArray[np.float64]]:
        terms, runs, constants = self.design.shape
        flat = self.design.reshape(terms * runs, constants)
        exponents = (theta @ flat.T).reshape(-1, terms, runs) + self.offset
        top = exponents.max(axis=1, keepdims=True)
        shares = np.exp(exponents - top)
        total = shares.sum(axis=1, keepdims=True)
        shares /= total
        return (top + np.log(total))[:, 0], shares

    def with_jacobian(self, theta: Matrix) -> tuple[Matrix, npt.NDArray[np.float64]]:
        """Log loss (draws, runs) and its derivative (draws, runs, constants)."""
        value, shares = self._evaluate(theta)
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

    def rows(self, index: npt.NDArray[np.int64]) -> "Problem":
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


def _step(problem: Problem, theta: Matrix, value: Matrix, jac: Matrix, damping: Vector) -> Matrix:
    residual = problem.y - value
    slack = np.maximum(np.abs(residual), problem.delta)
    omega = problem.weight * (problem.delta / slack)
    gradient = ((omega * residual)[:, None, :] @ jac)[:, 0, :]
    blocked = (theta <= problem.lower) & (gradient < 0)
    blocked |= (theta >= problem.upper) & (gradient > 0)
    normal = np.swapaxes(jac * omega[:, :, None], 1, 2) @ jac
    keep = ~blocked
    normal = normal * (keep[:, :, None] & keep[:, None, :])
    diagonal = np.einsum("bpp->bp", normal)
    scale = diagonal.max(axis=1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    diagonal += damping[:, None] * (diagonal + 1e-9 * scale) + 1e-14 * scale + blocked
    step = np.linalg.solve(normal, (gradient * keep)[:, :, None])[:, :, 0]
    return np.asarray(np.clip(theta + np.clip(step, -3, 3), problem.lower, problem.upper))


def descend(problem: Problem, start: Matrix, *, steps: int = 80, tolerance: float = 1e-9) -> Matrix:
    """Constants (draws, constants) after at most `steps` damped steps from `start`."""
    best = np.clip(start, problem.lower, problem.upper)
    damping = np.full(best.shape[0], 1e-3)
    active = np.arange(best.shape[0])
    part = problem
    still = np.zeros(best.shape[0], dtype=np.int64)
    value, jac = part.terms.with_jacobian(best)
    score = part.objective(value)
    for _ in range(steps):
        theta = best[active]
        trial = _step(part, theta, value, jac, damping)
        new_value, new_jac = part.terms.with_jacobian(trial)
        new_score = part.objective(new_value)
        better = new_score <= score
        gain = np.where(better, score - new_score, 0.0)
        best[active[better]] = trial[better]
        value = np.where(better[:, None], new_value, value)
        jac = np.where(better[:, None, None], new_jac, jac)
        small = gain <= tolerance * (score + 1e-15)
        score = np.where(better, new_score, score)
        damping = np.where(better, np.maximum(damping * 0.2, 1e-9), damping * 6)
        still = np.where(small & (better | (damping > 1e6)), still + 1, 0)
        going = still < 2
        if not going.any():
            break
        if going.sum() < 0.7 * going.size:
            active, value, jac, score = active[going], value[going], jac[going], score[going]
            damping, still = damping[going], still[going]
            part = problem.rows(active)
    return best


def polish(problem: Problem, theta: Vector) -> tuple[Vector, float]:
    """One draw's constants at the optimum, and the objective there, by L-BFGS in the box.

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
    best = np.clip(theta, problem.lower, problem.upper[0])
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
