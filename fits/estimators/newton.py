"""What a Newton step on log residuals needs: a form's curvature, and the step that it asks for.

`Exponentials` is exact, for log loss = logsumexp_j(offset_j + design_j @ theta); `GaussNewton`
serves any form that gives its derivative.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fits.observations import Indices, Matrix, Vector

Cube = npt.NDArray[np.float64]
Expand = Callable[[Matrix], tuple[Matrix, Cube]]

LEAST_PIVOT = 1e-9  # of a Hessian with a diagonal near 1: a direction below it is flat


class Model(Protocol):
    """A form seen by a Newton step."""

    expand: Expand  # theta -> log loss (draws, runs), and what `curvature` needs, a row a draw

    def curvature(
        self, inner: Cube, slope: Matrix, weight: Matrix, bend: Vector
    ) -> tuple[Matrix, Cube]:
        """Sums over runs: slope * f' (draws, constants) and weight * f' f'^T - bend * slope * f''.

        bend is 1 for the exact Hessian, 0 for Gauss-Newton's, a value a draw.
        """
        ...


class Exponentials:
    """The exact curvature of a sum of exponentials of linear forms.

    With s_j the shares of the terms in the loss and x_j the rows of the design,
    f' = sum_j s_j x_j and f'' = sum_j s_j x_j x_j^T - f' f'^T. So every entry of the Hessian is a
    sum over pairs of terms of s_j s_k times a fixed product of the design, of which few are not
    zero: a small matrix product a pair, too small for BLAS to wake its threads.
    """

    def __init__(self, design: Cube, with_shares: Expand) -> None:
        """design (terms, runs, constants); with_shares gives the shares (draws, terms, runs)."""
        self.expand, self.design = with_shares, design
        count, _, constants = design.shape
        row, column = np.triu_indices(constants)
        self.pairs: list[tuple[int, int, Indices, Matrix]] = []
        for j in range(count):
            for k in range(j, count):
                product = design[j][:, row] * design[k][:, column]
                if j != k:
                    product = product + design[k][:, row] * design[j][:, column]
                used = np.flatnonzero(product.any(axis=0))
                self.pairs.append((j, k, used, np.ascontiguousarray(product[:, used])))
        self.unpack = np.zeros((constants, constants), dtype=np.int64)
        self.unpack[row, column] = self.unpack[column, row] = np.arange(row.size)
        self.entries = row.size

    def curvature(
        self, inner: Cube, slope: Matrix, weight: Matrix, bend: Vector
    ) -> tuple[Matrix, Cube]:
        """Gradient and Hessian, from the shares (draws, terms, runs)."""
        draws, count, _ = inner.shape
        gradient = np.zeros((draws, self.design.shape[2]))
        for j in range(count):
            gradient += (slope * inner[:, j]) @ self.design[j]
        bent = slope * bend[:, None]
        both = weight + bent
        packed = np.zeros((draws, self.entries))
        for j, k, used, product in self.pairs:
            part = both * inner[:, k]
            if j == k:
                part -= bent
            part *= inner[:, j]
            packed[:, used] += part @ product
        return gradient, packed[:, self.unpack]


class GaussNewton:
    """Any form: its second derivative is left out."""

    def __init__(self, with_jacobian: Expand) -> None:
        """with_jacobian gives the derivative (draws, runs, constants)."""
        self.expand = with_jacobian

    def curvature(
        self, inner: Cube, slope: Matrix, weight: Matrix, bend: Vector
    ) -> tuple[Matrix, Cube]:
        """Gradient and Gauss-Newton's Hessian, whatever bend."""
        gradient = (slope[:, None, :] @ inner)[:, 0]
        return gradient, np.swapaxes(inner * weight[:, :, None], 1, 2) @ inner


def solve(matrix: Cube, right: Matrix) -> tuple[Matrix, Vector]:
    """x of matrix @ x = right for every draw, and what a step x gains: half of right @ x.

    By L D L^T over all draws at once; a pivot that is not above LEAST_PIVOT is replaced by its
    size or that bound, so that x always leads downhill.
    """
    rest, x = np.moveaxis(matrix, 0, -1).copy(), right.T.copy()
    size = len(x)
    pivots = np.empty_like(x)
    for k in range(size):
        np.maximum(np.abs(rest[k, k]), LEAST_PIVOT, out=pivots[k])
        column = rest[k + 1 :, k] / pivots[k]
        rest[k + 1 :, k + 1 :] -= column[:, None] * rest[k, k + 1 :]
        x[k + 1 :] -= column * x[k]
        rest[k + 1 :, k] = column
    scaled = x / pivots
    gain = 0.5 * (x * scaled).sum(axis=0)
    for k in range(size - 1, 0, -1):
        scaled[:k] -= rest[k, :k] * scaled[k]
    return scaled.T, gain
