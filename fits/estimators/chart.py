"""Charts: a law in the coordinates that the solver moves, and how the law is read off them.

Logarithms of what is positive, sizes centred on the table: then constants hardly correlate and no
step can leave the law's domain. Every constant of a law is affine in its coordinates, or the
exponential of something affine (`Reading`), so one constant can be held while the rest move
(`held`): what a profile needs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fits.estimators.search import HIGHEST_EXPONENT, LOWEST_EXPONENT, LOWEST_FLOOR, Law
from fits.estimators.solver import Form, Terms
from fits.observations import Matrix, Points, Vector

NOTHING = -700.0  # log of a floor of 0: exp(-700) adds nothing to a loss
BELOW_LOSS = 1e-9  # a free floor stays so far below the smallest log loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One coordinate: the constant that it moves, and its box."""

    name: str
    low: float = -np.inf
    high: float = np.inf
    kind: str = "constant"  # or exponent, or floor: the log of the irreducible loss


def exponent(name: str) -> Axis:
    """An axis of an exponent: above 0, and below what any loss shows."""
    return Axis(name=name, low=LOWEST_EXPONENT, high=HIGHEST_EXPONENT, kind="exponent")


def floor_axis(pinned: float | None) -> Axis:
    """The axis of the irreducible loss, free or pinned to a value in nats."""
    if pinned is None:
        return Axis(name="irreducible", kind="floor")
    value = np.log(pinned) if pinned > 0 else NOTHING
    return Axis(name="irreducible", low=value, high=value, kind="floor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A constant of the law: offset + weights · coordinates, or its exponential."""

    axis: int  # the coordinate given up when the constant is held; -1 where it already is
    weights: Vector
    log: bool = False
    offset: float = 0.0

    def affine(self, theta: Vector) -> float:
        """The constant, or its logarithm."""
        return float(self.offset + self.weights @ theta)

    def value(self, theta: Vector) -> float:
        """The constant in the law's own units; a floor of `NOTHING` is 0, beyond numbers is inf."""
        found = self.affine(theta)
        if not self.log:
            return found
        with np.errstate(over="ignore"):
            return 0.0 if found <= NOTHING else float(np.exp(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A law in coordinates: `form` at points, `law` at coordinates."""

    axes: tuple[Axis, ...]
    readings: dict[str, Reading]
    form_at: Callable[[Points], Form]
    law_type: Callable[..., Law]
    lift: Matrix | None = None  # coordinates of `form_at` = shift + theta @ lift, for held ones
    shift: Vector | None = None

    def form(self, at: Points) -> Form:
        """log loss at the points as a function of the coordinates."""
        whole = self.form_at(at)
        if self.lift is None or self.shift is None:
            return whole
        if isinstance(whole, Terms):  # stays one, and keeps its exact curvature
            offset = whole.offset + whole.design @ self.shift
            return Terms(offset=offset, design=whole.design @ self.lift.T)
        return Lifted(form=whole, lift=self.lift, shift=self.shift)

    def whole(self, theta: Vector) -> Vector:
        """One draw's coordinates, held ones included."""
        if self.lift is None or self.shift is None:
            return theta
        return np.asarray(theta @ self.lift + self.shift)

    def law(self, theta: Vector) -> Law:
        """The law at one draw's coordinates."""
        return self.law_type(**{name: r.value(theta) for name, r in self.readings.items()})

    def box(self, lowest: float, y: Matrix) -> tuple[Vector, Matrix]:
        """Lower (coordinates,) and upper (draws, coordinates) bounds for log losses y.

        A free floor lies between LOWEST_FLOOR of the table's smallest loss, exp(lowest), and the
        draw's own smallest loss.
        """
        lower = np.array([axis.low for axis in self.axes])
        upper = np.tile([axis.high for axis in self.axes], (y.shape[0], 1))
        for k, axis in enumerate(self.axes):
            if axis.kind == "floor" and axis.low == -np.inf:
                lower[k] = lowest + np.log(LOWEST_FLOOR)
                upper[:, k] = y.min(axis=1) - BELOW_LOSS
        return lower, upper


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifted:
    """A form on fewer coordinates: the whole ones are shift + theta @ lift."""

    form: Form
    lift: Matrix
    shift: Vector

    def log_loss(self, theta: Matrix) -> Matrix:
        """(draws, runs) log loss of each row of theta."""
        return self.form.log_loss(theta @ self.lift + self.shift)

    def with_jacobian(self, theta: Matrix) -> tuple[Matrix, npt.NDArray[np.float64]]:
        """Log loss (draws, runs) and its derivative (draws, runs, constants)."""
        value, jacobian = self.form.with_jacobian(theta @ self.lift + self.shift)
        return value, jacobian @ self.lift.T


def reading(
    axes: tuple[Axis, ...],
    own: str,
    *,
    log: bool = False,
    scale: float = 1.0,
    offset: float = 0.0,
    **others: float,
) -> Reading:
    """The reading scale · (axis `own`) + Σ others · axes + offset, or its exponential."""
    names = [axis.name for axis in axes]
    weights = np.zeros(len(axes))
    weights[names.index(own)] = scale
    for name, weight in others.items():
        weights[names.index(name)] += weight
    return Reading(axis=names.index(own), weights=weights, log=log, offset=offset)


def held(chart: Chart, name: str, affine: float) -> Chart:
    """The chart with one constant held at a value (its log, where it is read as an exponential)."""
    fixed = chart.readings[name]
    count, k = len(chart.axes), fixed.axis
    free = [j for j in range(count) if j != k]
    lift, shift = np.zeros((count - 1, count)), np.zeros(count)
    lift[np.arange(count - 1), free] = 1.0
    lift[:, k] = -fixed.weights[free] / fixed.weights[k]
    shift[k] = (affine - fixed.offset) / fixed.weights[k]
    readings = {}
    for other, r in chart.readings.items():
        axis = -1 if other == name else r.axis - (r.axis > k)
        offset = r.offset + float(shift @ r.weights)
        readings[other] = replace(r, axis=axis, weights=lift @ r.weights, offset=offset)
    if chart.lift is not None and chart.shift is not None:
        lift, shift = lift @ chart.lift, shift @ chart.lift + chart.shift
    axes = tuple(chart.axes[j] for j in free)
    return replace(chart, axes=axes, readings=readings, lift=lift, shift=shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartCurves:
    """Draws of a chart's coordinates, ready to predict."""

    theta: Matrix
    chart: Chart

    def log_loss(self, at: Points) -> Matrix:
        """(draws, points) log loss; ValueError where a column that the law needs is unknown."""
        return self.chart.form(at).log_loss(self.theta)

    def law(self, draw: int = 0) -> Law:
        """One draw as a law in the table's own units."""
        return self.chart.law(self.theta[draw])
