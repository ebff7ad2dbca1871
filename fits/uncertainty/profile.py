"""Profile intervals: how far one constant of a law can move while the others make up for it.

The constant is held at values on a grid, the others refitted, and the loss in fit compared with
what the residuals' noise explains. Unlike the bootstrap it needs no resampling, shows an interval
that is open to one side, and asks about one constant in a few dozen refits.

The summed Huber loss is no log likelihood. Its increase F is made one by a scale (Ronchetti 1982;
Chandler and Bate 2007): 2 F / scale is chi-squared with one degree of freedom where

    scale = (variance of the objective's slope along the profile) / (curvature along it).

The slope's variance is summed over runs as they are, or over clusters, so noise may differ from run
to run (as the sandwich estimate has it). Few runs show too little of that, so the scale is never
below `model_scale`: E[psi²] / E[psi'] for Gaussian noise of the sd that the median residual shows.
For delta far above equal noise both are the likelihood of least squares. Student's t takes the
place of the normal.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

from fits.estimators.chart import Chart, held
from fits.estimators.multistart import Recipe, posed, whole
from fits.estimators.search import best_of
from fits.estimators.solver import Problem, descend, polish
from fits.observations import FitError, Observations, Vector

STEP = 0.4  # of the constant's approximate standard error
STEPS = 40  # refits to either side; an interval not closed by then is open
LEAP, CREEP = 1.0, 0.15  # of the root of the deviance in one step
NO_NOISE = 1e-9  # residuals below this are rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One constant's profile: its grid, and the interval at 90 and 95 %."""

    constant: str
    estimate: float
    grid: Vector  # values of the constant, ascending
    objective: Vector  # summed Huber loss with the constant held there
    deviance: Vector  # 2 F / scale, 0 at the optimum
    lo90: float
    hi90: float
    lo95: float
    hi95: float
    open: tuple[str, ...]  # of low, high: the sides that no value in the law's domain closes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Optimum:
    """The fit that a profile starts from."""

    recipe: Recipe
    obs: Observations
    chart: Chart
    problem: Problem
    theta: Vector
    objective: float
    constant: str

    @property
    def at(self) -> float:
        """The constant, or its log."""
        return self.chart.readings[self.constant].affine(self.theta)

    @property
    def axis(self) -> int:
        """The coordinate that is given up for the constant."""
        return self.chart.readings[self.constant].axis


@dataclass(frozen=True, slots=True)
class _Point:
    """The constant (or its log) held at a value, the objective reached, and where."""

    z: float
    objective: float
    theta: Vector


def profile(estimator: Recipe, obs: Observations, constant: str) -> Profile:
    """Profile of a constant of the law, by its name in the fit's constants.

    Raises ValueError for a name that the law does not have, FitError where no fit is due, where
    the constant is pinned, or where residuals show no noise to compare with.
    """
    chart, problem = whole(estimator, obs)
    if constant not in chart.readings:
        raise ValueError(f"{constant!r} is no constant of this law; it has {list(chart.readings)}")
    own = chart.axes[chart.readings[constant].axis]
    if own.low == own.high:
        raise FitError("constant_pinned", f"{constant} is pinned, so it has no interval")
    theta, best, _, _ = best_of(problem, estimator.starts(obs))
    fit = _Optimum(recipe=estimator, obs=obs, chart=chart, problem=problem, theta=theta,
                   objective=best, constant=constant)  # fmt: skip
    scale, inside, freedom = model_scale(problem, theta)
    step = STEP * approximate_error(fit, scale / inside)
    if not np.isfinite(step) or step <= 0:
        raise FitError("not_identified", f"the runs do not determine {constant} at all")
    near = _walk(fit, -step, scale, 1.0)[::-1] + _walk(fit, step, scale, 1.0)
    scale = max(scale, slope_scale(fit, near))
    widest = float(stats.t.ppf(0.975, freedom)) ** 2
    below, above = _walk(fit, -step, scale, widest), _walk(fit, step, scale, widest)
    points = [*below[::-1], _Point(fit.at, best, theta), *above]
    return _summary(fit, points, scale, freedom)


def profiles(estimator: Recipe, obs: Observations) -> pd.DataFrame:
    """A row per constant that has a profile: lo90, hi90, lo95, hi95, open."""
    chart, _ = whole(estimator, obs)
    rows = {}
    for name in chart.readings:
        try:
            found = profile(estimator, obs, name)
        except FitError as refusal:
            if refusal.name not in ("constant_pinned", "not_identified"):
                raise
            continue
        rows[name] = {k: getattr(found, k) for k in ("lo90", "hi90", "lo95", "hi95", "open")}
    return pd.DataFrame.from_dict(rows, orient="index")


def model_scale(problem: Problem, theta: Vector) -> tuple[float, float, int]:
    """E[psi²] / E[psi'] for equal Gaussian noise, its E[psi'], residual degrees of freedom.

    The sd is the median residual's, the smallest as many as there are constants left out, since
    those are fitted away. Raises FitError if the residuals are only rounding, or no run is left
    to show noise.
    """
    residual = np.abs(problem.y - problem.terms.log_loss(theta[None]))[0]
    weight = problem.weight[0]
    moving = _moving(problem)
    freedom = int((weight > 0).sum()) - moving
    if freedom < 1:
        raise FitError("too_few_runs", "as many constants as runs leave no noise to be seen")
    rest = np.sort(residual[weight > 0])[moving:]
    sd = float(np.median(rest)) / float(stats.norm.ppf(0.75))
    if sd < NO_NOISE:
        raise FitError("no_noise", "the law meets every run exactly, so no interval can be scaled")
    edge = problem.delta / sd
    inside = float(stats.chi2.cdf(edge**2, 1))
    squared = float(stats.chi2.cdf(edge**2, 3)) + edge**2 * (1 - inside)
    return squared * sd**2 / inside, inside, freedom


def _moving(problem: Problem) -> int:
    """How many constants are free."""
    return int((problem.lower < problem.upper[0]).sum())


def slope_scale(fit: _Optimum, near: list[_Point]) -> float:
    """The scale of the module docstring, from profile points near the optimum; 0 where unseen."""
    if len(near) < 2:
        return 0.0
    direction = (near[-1].theta - near[0].theta) / (near[-1].z - near[0].z)
    away = np.array([p.z for p in near]) - fit.at
    rise = np.array([p.objective for p in near]) - fit.objective
    curvature = 2 * float(rise @ away**2) / float(np.sum(away**4))
    if not curvature > 0:
        return 0.0
    value, jacobian = fit.problem.terms.with_jacobian(fit.theta[None])
    psi = np.clip(fit.problem.y - value, -fit.problem.delta, fit.problem.delta)[0]
    slopes = fit.problem.weight[0] * psi * (jacobian[0] @ direction)
    clusters = np.unique(fit.obs.cluster, return_inverse=True)[1]
    together = np.bincount(clusters, slopes)
    spare = max(together.size - _moving(fit.problem), 1)
    return float(together @ together) * together.size / spare / curvature


def approximate_error(fit: _Optimum, variance: float) -> float:
    """Standard error of the constant (or its log) from the slopes at the optimum.

    Only a first guess of how far to step; at most a tenth of a box that ends on both sides.
    """
    problem, theta = fit.problem, fit.theta
    _, jacobian = problem.terms.with_jacobian(theta[None])
    free = (theta > problem.lower) & (theta < problem.upper[0])
    free[fit.axis] = True
    slopes = jacobian[0][:, free] * np.sqrt(problem.weight[0])[:, None]
    direction = fit.chart.readings[fit.constant].weights[free]
    solved = np.linalg.lstsq(slopes.T @ slopes, direction, rcond=1e-13)[0]
    error = float(np.sqrt(max(variance * direction @ solved, 0.0)))
    return min(error, 0.1 * float(problem.upper[0, fit.axis] - problem.lower[fit.axis]))


def _walk(fit: _Optimum, step: float, scale: float, widest: float) -> list[_Point]:
    """Points outwards from the optimum until past the widest deviance or the law's domain.

    Each refit starts where the last one ended. Steps lengthen where the deviance hardly rises,
    and are taken again at half the length where it leaps.
    """
    obs, axis = fit.obs, fit.axis
    at, moving, last = fit.at, np.delete(fit.theta, axis), 0.0
    found: list[_Point] = []
    alone = np.count_nonzero(fit.chart.readings[fit.constant].weights) == 1
    low, high = float(fit.problem.lower[axis]), float(fit.problem.upper[0, axis])
    for _ in range(STEPS):
        chart = held(fit.chart, fit.constant, at + step)
        if alone and not low <= chart.whole(moving)[axis] <= high:
            break
        problem = posed(chart, obs, obs.y[None], obs.weight[None], fit.recipe.delta)
        near = descend(problem, moving[None], steps=200, tolerance=1e-9)[0]
        near, reached = polish(problem, near)
        root = float(np.sqrt(max(2 * (reached - fit.objective) / scale, 0.0)))
        if root - last > LEAP and abs(step) > 1e-6:
            step /= 2
            continue
        at, moving, last = at + step, near, root
        found.append(_Point(at, reached, chart.whole(near)))
        if root**2 > 1.2 * widest:
            break
        if root < CREEP * len(found):
            step *= 1.5
    return found


def _summary(fit: _Optimum, points: list[_Point], scale: float, freedom: int) -> Profile:
    """The interval where the root of the deviance crosses Student's quantiles."""
    z, reached = np.array([p.z for p in points]), np.array([p.objective for p in points])
    middle = int(reached.argmin())
    deviance = 2 * (reached - reached[middle]) / scale
    log = fit.chart.readings[fit.constant].log

    def unit(value: float) -> float:
        return float(np.exp(np.clip(value, -np.inf, 700.0))) if log else value

    ends: dict[str, float] = {}
    sides = set()
    for level, (side, sign) in product((90, 95), (("lo", -1), ("hi", 1))):
        t = float(stats.t.ppf(0.5 + level / 200, freedom))
        part = slice(middle, None) if sign > 0 else slice(middle, None, -1)
        root = np.maximum.accumulate(np.sqrt(np.maximum(deviance[part], 0)))
        if root[-1] >= t:
            ends[f"{side}{level}"] = unit(float(np.interp(t, root, z[part])))
        else:
            sides.add("low" if sign < 0 else "high")
            ends[f"{side}{level}"] = unit(_end_of_domain(fit, sign))
    return Profile(
        constant=fit.constant, estimate=unit(float(z[middle])),
        grid=np.array([unit(float(v)) for v in z]), objective=reached, deviance=deviance,
        open=tuple(sorted(sides, reverse=True)), **ends,
    )  # fmt: skip


def _end_of_domain(fit: _Optimum, sign: int) -> float:
    """Where an open interval ends, in the coordinate: a floor at 0, others at their box."""
    if sign > 0:
        return float(fit.problem.upper[0, fit.axis])
    is_floor = fit.chart.axes[fit.axis].kind == "floor"
    return -np.inf if is_floor else float(fit.problem.lower[fit.axis])
