"""Forms whose exponents bend: log loss = log sum of exp(exponents), each any function of theta."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fits.observations import Matrix

Array = npt.NDArray[np.float64]
# theta (draws, constants) -> exponents (draws, terms, runs), slopes (draws, terms, runs, constants)
Exponents = Callable[[Matrix], tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class Curved:
    """The form of a sum whose exponents and their slopes a function gives."""

    exponents: Exponents

    def log_loss(self, theta: Matrix) -> Matrix:
        """(draws, runs) log loss of each row of theta."""
        return log_sum(self.exponents(theta)[0])[0]

    def with_jacobian(self, theta: Matrix) -> tuple[Matrix, Array]:
        """Log loss (draws, runs) and its derivative (draws, runs, constants)."""
        exponents, slopes = self.exponents(theta)
        value, shares = log_sum(exponents)
        return value, np.einsum("bjn,bjnp->bnp", shares, slopes)


def log_sum(exponents: Array) -> tuple[Matrix, Array]:
    """Log of the sum over terms (draws, runs), and each term's share (draws, terms, runs)."""
    top = exponents.max(axis=1, keepdims=True)
    shares = np.exp(exponents - top)
    total = shares.sum(axis=1, keepdims=True)
    return (top + np.log(total))[:, 0], shares / total


def columns(theta: Matrix) -> list[Array]:
    """Each constant as (draws, 1), to broadcast over runs."""
    return [theta[:, k, None] for k in range(theta.shape[1])]


def stacked(*rows: Array, runs: int) -> Array:
    """(draws, terms, runs) of rows that broadcast to (draws, runs)."""
    draws = max(row.shape[0] for row in rows)
    return np.stack([np.broadcast_to(row, (draws, runs)) for row in rows], axis=1)


def slope_table(theta: Matrix, runs: int, *terms: Mapping[int, Array | float]) -> Array:
    """(draws, terms, runs, constants): for each term, its slope in the constants it depends on."""
    table = np.zeros((theta.shape[0], len(terms), runs, theta.shape[1]))
    for j, term in enumerate(terms):
        for k, slope in term.items():
            table[:, j, :, k] = slope
    return table


def softmax_of_two(first: Array, second: Array, k: Array) -> tuple[Array, Array, Array]:
    """k · log(exp(first / k) + exp(second / k)), the first's weight in it, its slope in log k."""
    value = k * np.logaddexp(first / k, second / k)
    weight = np.exp(first / k - value / k)
    return value, weight, value - weight * first - (1 - weight) * second
