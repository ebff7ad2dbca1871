"""Accuracy of a task as a falling sigmoid of its loss in bits per byte.

The second step of Bhagia et al. 2024 (arXiv:2412.04403): from chance, where the right answer is no
likelier than the wrong ones, to a ceiling. The law is a frozen value, the estimator too.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from fits.estimators.solver import Problem, descend, polish
from fits.observations import FitError, Matrix, Vector

STEEPEST = 200.0  # per bit per byte
MIN_POINTS = 6


@dataclass(frozen=True, slots=True)
class SigmoidLaw:
    """accuracy = chance + (ceiling - chance) / (1 + exp(steepness * (bits - midpoint)))."""

    chance: float
    ceiling: float
    steepness: float  # per bit per byte, above 0: accuracy falls as the loss rises
    midpoint: float  # bits per byte

    def __post_init__(self) -> None:
        if not (0 <= self.chance <= self.ceiling and self.steepness > 0):
            raise ValueError(f"{self}: 0 <= chance <= ceiling and steepness above 0 are needed")

    def predict(self, bits: Vector) -> Vector:
        """Accuracy at each task loss in bits per byte."""
        rise = expit(-self.steepness * (bits - self.midpoint))
        return np.asarray(self.chance + (self.ceiling - self.chance) * rise)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmoidForm:
    """The solver's view: constants (chance, ceiling, log steepness, midpoint) at given bits."""

    bits: Vector

    def log_loss(self, theta: Matrix) -> Matrix:
        """(draws, points) accuracy; the solver minds neither the name nor the unit."""
        return accuracies(theta, self.bits)

    def with_jacobian(self, theta: Matrix) -> tuple[Matrix, npt.NDArray[np.float64]]:
        """Accuracy and its derivative (draws, points, 4)."""
        chance, ceiling, log_steepness, midpoint = (column[:, None] for column in theta.T)
        z = -np.exp(log_steepness) * (self.bits - midpoint)
        rise = expit(z)
        fall = (ceiling - chance) * rise * (1 - rise)
        slopes = [1 - rise, rise, fall * z, fall * np.exp(log_steepness)]
        return self.log_loss(theta), np.stack(slopes, axis=2)


def accuracies(theta: Matrix, bits: Matrix | Vector) -> Matrix:
    """(draws, points) accuracy of each draw's constants at its row of bits, or at all the same."""
    chance, ceiling, log_steepness, midpoint = (column[:, None] for column in theta.T)
    rise = expit(-np.exp(log_steepness) * (bits - midpoint))
    return np.asarray(chance + (ceiling - chance) * rise)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmoidFit:
    """Estimates SigmoidLaw by least squares in accuracy, best of many starts.

    `chance` None is fitted, a number pins it (one over the number of choices). `perfect` is the
    weight of a point at 0 bits and accuracy 1: a model that gives the right answer probability 1
    makes no mistakes, and without that point runs far from the ceiling leave it open.
    """

    chance: float | None = None
    perfect: float = 1.0
    highest: float = 1.0  # the ceiling may not pass this
    steepness: tuple[float, ...] = (2.0, 6.0, 15.0)

    def __post_init__(self) -> None:
        if self.chance is not None and not 0 <= self.chance < 1:
            raise ValueError(f"chance is {self.chance}; it must be None or in 0 … 1")
        if not (self.perfect >= 0 and self.highest > 0):
            raise ValueError(f"{self}: perfect must be at least 0 and highest above 0")

    def fit(self, bits: Vector, accuracy: Vector, weight: Vector) -> SigmoidLaw:
        """The law; FitError for fewer than six points."""
        problem = self._problem(bits, accuracy, weight[None])
        return law_of(self._best(problem, bits))

    def fit_draws(
        self, start: SigmoidLaw, bits: Vector, accuracy: Vector, weight: Matrix
    ) -> Matrix:
        """Constants (draws, 4) of refits with each row of weights, from the whole's optimum."""
        problem = self._problem(bits, accuracy, weight)
        best = [start.chance, start.ceiling, np.log(start.steepness), start.midpoint]
        return descend(problem, np.tile(best, (len(weight), 1)), steps=80, tolerance=1e-7)

    def _problem(self, bits: Vector, accuracy: Vector, weight: Matrix) -> Problem:
        if bits.size < MIN_POINTS:
            raise FitError(
                "too_few_runs", f"{bits.size} checkpoints cannot fix a sigmoid of four constants"
            )
        top = float(accuracy.max())
        lowest, highest = (0.0, top) if self.chance is None else (self.chance, self.chance)
        y = np.tile(np.append(accuracy, 1.0), (len(weight), 1))
        ideal = np.full((len(weight), 1), self.perfect)
        return Problem(
            terms=SigmoidForm(bits=np.append(bits, 0.0)),
            y=y,
            weight=np.concatenate([weight, ideal], axis=1),
            delta=1.0,  # accuracies differ by less: plain least squares
            lower=np.array([lowest, min(top, self.highest), -3.0, -5.0]),
            upper=np.array([[highest, self.highest, np.log(STEEPEST), float(bits.max()) + 5.0]]),
        )

    def _best(self, problem: Problem, bits: Vector) -> Vector:
        chance = 0.5 * (problem.lower[0] + problem.upper[0, 0])
        low, high = float(bits.min()), float(bits.max())
        starts = [
            [chance, ceiling, np.log(steepness), midpoint]
            for ceiling in (problem.lower[1], self.highest)
            for steepness in self.steepness
            for midpoint in (low - 0.5 * (high - low), low, 0.5 * (low + high))
        ]
        ends = descend(problem, np.array(starts), steps=300, tolerance=1e-10)
        scores = problem.objective(problem.terms.log_loss(ends))
        return min((polish(problem, ends[i]) for i in np.argsort(scores)[:3]), key=lambda e: e[1])[
            0
        ]


def law_of(theta: Vector) -> SigmoidLaw:
    """Constants in the solver's order as a law."""
    return SigmoidLaw(float(theta[0]), float(theta[1]), float(np.exp(theta[2])), float(theta[3]))
