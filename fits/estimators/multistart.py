"""From a recipe to a fit: the search that all laws share, and what must be said of its result.

A recipe names its law's chart and starts; `estimate` finds the optimum of the whole table,
`refit` those of many reweighted or jittered copies. Both minimise the SUMMED Huber loss of log
residuals (Hoffmann et al. 2022, eq. 3) with analytic gradients.
"""

from typing import Protocol

import numpy as np

from fits.estimators.chart import Chart, ChartCurves
from fits.estimators.search import Fit, best_draws, best_of
from fits.estimators.solver import Problem, descend
from fits.observations import FitError, Matrix, Observations, Vector

FEW_STARTS = 0.02  # fewer starts than this share at the best optimum is worth a caution
AT_BOUND = 1e-6
DISTINCT = 0.05  # ends this far apart in some coordinate are different basins


class Recipe(Protocol):
    """What an estimator says of its law."""

    @property
    def name(self) -> str: ...

    @property
    def delta(self) -> float: ...

    @property
    def floor(self) -> float | None:
        """The irreducible loss where it is pinned, in nats; None where free or absent."""
        ...

    def require(self, obs: Observations) -> None:
        """Raise FitError by name where these runs cannot identify the law."""
        ...

    def chart(self, obs: Observations) -> Chart: ...

    def starts(self, obs: Observations) -> Matrix:
        """(starts, coordinates)."""
        ...


def check_settings(recipe: Recipe) -> None:
    """Raise ValueError for a delta or floor that no fit can use."""
    if recipe.floor is not None and not (np.isfinite(recipe.floor) and recipe.floor >= 0):
        raise ValueError(f"floor is {recipe.floor}; it must be None or at least 0")
    if not recipe.delta > 0:
        raise ValueError(f"delta is {recipe.delta}; it must be above 0")


def floor_levels(obs: Observations, shares: tuple[float, ...], floor: float | None) -> list[float]:
    """Floors to start from, in nats: shares of the smallest loss, or the pinned one."""
    return [share * float(obs.loss.min()) for share in shares] if floor is None else [floor]


def log_floor(level: float) -> float:
    """Coordinate of a floor; a floor of 0 is clipped into its box later."""
    return float(np.log(max(level, 1e-300)))


def posed(chart: Chart, obs: Observations, y: Matrix, weight: Matrix, delta: float) -> Problem:
    """The problem of fitting each row of y with its row of weights."""
    lower, upper = chart.box(float(obs.y.min()), y)
    return Problem(terms=chart.form(obs), y=y, weight=weight, delta=delta,
                   lower=lower, upper=upper)  # fmt: skip


def whole(recipe: Recipe, obs: Observations) -> tuple[Chart, Problem]:
    """The table's own problem; raises the refusals of the recipe, and a floor above the losses."""
    recipe.require(obs)
    if recipe.floor is not None and recipe.floor >= obs.loss.min():
        raise FitError(
            "floor_above_loss",
            f"the pinned floor {recipe.floor:g} is not below the smallest loss, {obs.loss.min():g}",
        )
    chart = recipe.chart(obs)
    return chart, posed(chart, obs, obs.y[None], obs.weight[None], recipe.delta)


def estimate(recipe: Recipe, obs: Observations) -> Fit:
    """The law at the best optimum that any start reached, with cautions by name."""
    chart, problem = whole(recipe, obs)
    theta, objective, starts, agreeing = best_of(problem, recipe.starts(obs))
    found = at_bounds(chart, problem, theta)
    if recipe.floor is not None and any(a.kind == "floor" for a in chart.axes):
        found.append(f"floor_pinned: the irreducible loss is set to {recipe.floor:g}, not fitted")
    if obs.flops.size <= int((problem.lower < problem.upper[0]).sum()):
        found.append("no_spare_run: as many constants as runs, so nothing shows whether it fits")
    if agreeing < max(2, FEW_STARTS * starts):
        found.append(
            f"starts_disagree: {agreeing} of {starts} starts reached the best optimum, "
            "so a better one may exist"
        )
    return Fit(law=chart.law(theta), objective=objective, starts=starts,
               starts_agreeing=agreeing, cautions=tuple(found))  # fmt: skip


def at_bounds(chart: Chart, problem: Problem, theta: Vector) -> list[str]:
    """Cautions for coordinates that ended at a side of the box; pinned ones are not meant."""
    found = []
    for k, axis in enumerate(chart.axes):
        low, high = float(problem.lower[k]), float(problem.upper[0, k])
        if low == high:
            continue
        side = "lower" if theta[k] <= low + AT_BOUND * (1 + abs(low)) else ""
        side = "upper" if theta[k] >= high - AT_BOUND * (1 + abs(high)) else side
        if not side or not np.isfinite(low if side == "lower" else high):
            continue
        if axis.kind == "floor":
            text = "at its bound of 0: these runs do not show one"
            if side == "upper":
                text = "at the smallest loss: the largest runs no longer improve"
            found.append(f"floor_at_bound: the irreducible loss is {text}")
        elif axis.kind == "exponent":
            found.append(f"exponent_at_bound: {axis.name} is at its {side} bound")
        else:
            found.append(
                f"constant_at_bound: {axis.name} is at its {side} bound: "
                "these runs do not identify it"
            )
    return found


def refit(
    recipe: Recipe,
    obs: Observations,
    y: Matrix,
    weight: Matrix,
    *,
    basins: int = 1,
    also: tuple[Vector, ...] = (),
) -> ChartCurves:
    """The best optimum of every draw, searched from those of the whole table.

    `basins` distinct optima of the table are tried for every draw, and the starts in `also`.
    """
    chart, problem = whole(recipe, obs)
    starts = recipe.starts(obs)
    tried = [best_of(problem, starts)[0]]
    if basins > 1:
        tried += distinct_ends(problem, starts, tried[0], basins - 1)
    draws = posed(chart, obs, y, weight, recipe.delta)
    return ChartCurves(theta=best_draws(draws, [*tried, *also]), chart=chart)


def distinct_ends(problem: Problem, starts: Matrix, best: Vector, count: int) -> list[Vector]:
    """Up to `count` further optima, best first, each apart from those before it."""
    ends = descend(problem, starts, steps=100, tolerance=1e-6)
    scores = problem.objective(problem.terms.log_loss(ends))
    kept = [best]
    for i in np.argsort(scores):
        far = [float(np.abs(ends[i] - k).max()) > DISTINCT for k in kept]
        if all(far) and np.isfinite(scores[i]):
            kept.append(ends[i])
        if len(kept) > count:
            break
    return kept[1:]
