"""Pass rates against compute: by bucket of difficulty and overall, from counts.

Two predictors: `direct`, -log p = alpha * C**-k; and `gold`, in two steps: the mean gold-solution
negative log-likelihood as a power law in compute, then the pass rate as a function of it, both
lines in log(-log p). Each is backtested inside the ladder, weighed by its inverse variance at the
target, and given form error (`uncertainty.backtest`) on the scale of eta = log(-log p). The
prior scale there is 0.35 per decade**1.5, a judgement: pass rates of small models may accelerate
(one pilot family's gold log-probability went -16, -12, -6, -0.2 over 30x), and the published
direct extrapolations err by 9 to 18 % at 4-375x.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fits.forecast import CURVE_POINTS, DRAWS
from fits.observations import FitError, Matrix, Vector
from fits.passes.counts import (
    ETA_HIGH,
    ETA_LOW,
    Counts,
    check_samples,
    effective,
    eta_noise,
    eta_of,
    fit_lines,
    gather,
    rates,
    seed_sd,
)
from fits.shape import MIN_BUDGETS, MIN_SPAN, REACH, times
from fits.uncertainty.backtest import FormError, form_error, growth
from fits.uncertainty.bootstrap import smooth_weights
from fits.uncertainty.quantiles import quantile_table

PRIOR_SCALE = 0.35
REFITS = 200
MIN_PASSES = 5
SATURATED = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class PassForecast:
    """Quantiles of a pass rate at one target, with its band and its doubts."""

    table: pd.DataFrame  # one row: flops, median, lo50 … hi95
    curve: pd.DataFrame
    weights: dict[str, float]
    constants: dict[str, dict[str, float]]
    cautions: tuple[str, ...]
    naive: dict[str, float | None]
    runs_used: tuple[str, ...]
    draws: Matrix  # (draws, 1)
    curve_draws: Matrix


def require_counts(counts: Counts, target: float) -> None:
    """Raise FitError unless the counts can carry a pass-rate law to the target."""
    x = np.log10(counts.flops)
    rungs = int(counts.budget.max()) + 1
    if rungs < MIN_BUDGETS:
        raise FitError("too_few_rungs", f"{rungs} budgets with samples; at least 3 are needed")
    if np.ptp(x) < MIN_SPAN:
        raise FitError("too_little_span", f"samples span only {times(float(np.ptp(x)))} in compute")
    ahead = float(np.log10(target) - x.max())
    if ahead > REACH * float(np.ptp(x)):
        raise FitError(
            "extrapolation_too_far",
            f"the target is {times(ahead)} beyond rungs spanning {times(float(np.ptp(x)))}",
        )
    member = counts.budget[:, None] == np.arange(rungs)
    passed = counts.passed.sum(axis=1) @ member
    drawn = counts.samples.sum(axis=1) @ member
    if passed.sum() < MIN_PASSES or (passed > 0).sum() < 2:
        raise FitError(
            "no_passes",
            f"{int(passed.sum())} passes in {int(drawn.sum())} samples: too few to see a trend",
        )
    if (passed[-2:] / drawn[-2:] > SATURATED).all():
        raise FitError("saturated", "the two largest rungs already pass more than 98 %")
    _, slope = fit_lines(
        (x - x.mean())[None], counts.passed.sum(axis=1)[None], counts.samples.sum(axis=1)[None]
    )
    if slope[0] >= 0:
        raise FitError("not_increasing", "the pass rate does not rise with compute")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassCurves:
    """Refits of one predictor: eta is a line in z, z a line in log10 compute."""

    intercept: Vector
    slope: Vector
    z_intercept: Vector  # z = z_intercept + z_slope * log10 compute, by draw
    z_slope: Vector

    def eta(self, flops: Vector) -> Matrix:
        """(draws, points)."""
        z = self.z_intercept[:, None] + self.z_slope[:, None] * np.log10(flops)
        return np.clip(self.intercept[:, None] + self.slope[:, None] * z, ETA_LOW, ETA_HIGH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """Draws of counts (draws, runs) and of mean gold NLL; draw 0 is the data itself."""

    passed: Matrix
    samples: Matrix
    log_gold: Matrix | None


def resample(counts: Counts, sd: float, draws: int, rng: np.random.Generator) -> Resampled:
    """Problems drawn anew, runs weighted anew, and the noise of single-seed rungs added."""
    size = counts.passed.shape[1]
    pick = rng.multinomial(size, np.full(size, 1 / size), size=draws).astype(np.float64)
    pick[0] = 1.0
    passed, drawn = pick @ counts.passed.T, pick @ counts.samples.T
    rate = rates(passed, drawn)
    number = effective(rate, np.maximum(drawn, 1e-9), sd)
    seeds = np.bincount(counts.budget)[counts.budget]
    noisy = rng.beta(rate * number * seeds + 1e-3, (1 - rate) * number * seeds + 1e-3)
    noisy[0] = passed[0] / np.maximum(drawn[0], 1e-9)
    weight = smooth_weights(np.arange(counts.flops.size, dtype=np.int64), draws, rng)
    weight[0] = 1.0
    log_gold = None
    if np.isfinite(counts.gold).all() and (counts.gold.mean(axis=1) > 0).all():
        log_gold = np.log(np.maximum(pick @ counts.gold.T / size, 1e-9))
    return Resampled(passed=noisy * number * weight, samples=number * weight, log_gold=log_gold)


def fit_predictors(counts: Counts, drawn: Resampled) -> dict[str, PassCurves]:
    """`direct`, and `gold` where every problem has a gold likelihood that falls with compute."""
    x = np.tile(np.log10(counts.flops), (drawn.passed.shape[0], 1))
    centre = x.mean(axis=1)
    intercept, slope = fit_lines(x - centre[:, None], drawn.passed, drawn.samples)
    one = np.ones_like(intercept)
    curves = {
        "direct": PassCurves(intercept=intercept, slope=slope, z_intercept=-centre, z_slope=one)
    }
    if drawn.log_gold is not None:
        gold = drawn.log_gold
        at = gold.mean(axis=1)
        weight = drawn.samples / drawn.samples.sum(axis=1, keepdims=True)
        mean_x = (weight * x).sum(axis=1)
        off = x - mean_x[:, None]
        mean_g = (weight * gold).sum(axis=1)
        rise = (weight * off * gold).sum(axis=1) / np.maximum((weight * off**2).sum(axis=1), 1e-12)
        intercept, slope = fit_lines(gold - at[:, None], drawn.passed, drawn.samples)
        if rise[0] < 0 and slope[0] > 0:
            curves["gold"] = PassCurves(
                intercept=intercept, slope=slope, z_intercept=mean_g - rise * mean_x - at,
                z_slope=rise,
            )  # fmt: skip
    return curves


def backtest_passes(counts: Counts, sd: float, seed: int) -> dict[str, pd.DataFrame]:
    """Leave-future-out by predictor, in eta; columns as `leave_future_out` has."""
    rows: dict[str, list[dict[str, float]]] = {}
    last = int(counts.budget.max())
    for cutoff in range(2, last + 1):
        small = counts.take(np.flatnonzero(counts.budget < cutoff))
        large = counts.take(np.flatnonzero(counts.budget >= cutoff))
        if small.passed.sum() < MIN_PASSES:
            continue
        rng = np.random.default_rng([seed, cutoff])
        passed, drawn = large.passed.sum(axis=1), large.samples.sum(axis=1)
        rate = rates(passed, drawn)
        ends = np.log10(small.flops)
        own = eta_noise(rate, effective(rate, drawn, sd))
        for name, curves in fit_predictors(small, resample(small, sd, 24, rng)).items():
            eta = curves.eta(large.flops)
            spread = np.hypot(eta[1:].std(axis=0), own)
            for i in range(rate.size):
                rows.setdefault(name, []).append({
                    "cutoff": cutoff, "h": float(np.log10(large.flops[i]) - ends.max()),
                    "span": float(np.ptp(ends)), "noise_sd": float(spread[i]),
                    "error": float(eta_of(rate[i : i + 1])[0] - eta[0, i]),
                })  # fmt: skip
    return {name: pd.DataFrame(found) for name, found in rows.items()}


def forecast_passes(
    samples: pd.DataFrame, target: float, *, seed: int = 0, grid: Vector | None = None
) -> PassForecast:
    """Forecast of the mean pass rate of these rows at `target` FLOPs; FitError by name."""
    check_samples(samples)
    counts = gather(samples)
    require_counts(counts, target)
    sd = seed_sd(counts)
    rng = np.random.default_rng([seed, 13])
    curves = fit_predictors(counts, resample(counts, sd, REFITS, rng))
    tests = backtest_passes(counts, sd, seed)
    x = np.log10(counts.flops)
    ahead, span = float(np.log10(target) - x.max()), float(np.ptp(x))
    forms, weights = {}, {}
    for name, curve in curves.items():
        test = tests.get(name, pd.DataFrame({"cutoff": [], "h": [], "span": []}))
        forms[name] = form_error(test, ahead=ahead, prior_scale=PRIOR_SCALE)
        spread = float(curve.eta(np.array([target])).std())
        weights[name] = 1 / (spread**2 + (forms[name].scale * float(growth(ahead, span))) ** 2)
    weights = {name: w / sum(weights.values()) for name, w in weights.items()}
    if grid is None:
        grid = np.geomspace(counts.flops.min(), max(target, counts.flops.max()), CURVE_POINTS)
    each = float(counts.samples.sum(axis=1).mean())
    draws, on_curve = _predictive(
        curves, forms, weights, np.array([target]), grid, (x.max(), span, sd, each), rng
    )
    constants = {
        name: {"k": float(-np.median(c.slope * c.z_slope) / np.log(10)),
               "form_error_scale": forms[name].scale} for name, c in curves.items()
    }  # fmt: skip
    return PassForecast(
        table=quantile_table(draws, np.array([target])), curve=quantile_table(on_curve, grid),
        weights=weights, constants=constants, cautions=_cautions(counts, curves),
        naive=_naive(counts, target), runs_used=counts.run_id, draws=draws, curve_draws=on_curve,
    )  # fmt: skip


def _predictive(
    curves: dict[str, PassCurves],
    forms: dict[str, FormError],
    weights: dict[str, float],
    target: Vector,
    grid: Vector,
    ladder: tuple[float, float, float, float],
    rng: np.random.Generator,
) -> tuple[Matrix, Matrix]:
    last, span, sd, samples = ladder
    edges = np.round(np.cumsum([0.0, *[weights[n] for n in curves]]) * DRAWS).astype(int)
    at, on = [], []
    for (name, curve), count in zip(curves.items(), np.diff(edges), strict=True):
        if not count:
            continue
        which = np.arange(count) % REFITS
        quantiles = (rng.permutation(count) + 0.5) / count
        shock = stats.t.ppf(quantiles, forms[name].freedom) * forms[name].scale
        seeds = stats.norm.ppf((rng.permutation(count) + 0.5) / count) * sd
        far = growth(np.log10(target) - last, span)
        cap = curve.eta(np.array([10**last]))[which]  # beyond the rungs no rate falls again
        line = curve.eta(target)[which] + np.outer(shock, far)
        at.append(np.where(far > 0, np.minimum(line, cap), line) + seeds[:, None])
        far = growth(np.log10(grid) - last, span)
        line = curve.eta(grid)[which] + np.outer(shock, far)
        on.append(np.where(far > 0, np.minimum(line, cap), line))
    p = np.exp(-np.exp(np.clip(np.concatenate(at), ETA_LOW, ETA_HIGH)))
    # The target is sampled too. A count, unlike a Beta, can be 0: the interval may reach 0.
    size = max(round(samples), 1)
    measured = rng.binomial(size, p) / size
    return measured, np.exp(-np.exp(np.clip(np.concatenate(on), ETA_LOW, ETA_HIGH)))


def _cautions(counts: Counts, curves: dict[str, PassCurves]) -> tuple[str, ...]:
    found = []
    if "gold" not in curves:
        found.append("no second predictor: gold-solution likelihoods are absent or do not improve")
    rungs = int(counts.budget.max()) + 1
    passed = [float(counts.passed[counts.budget == b].sum()) for b in range(rungs)]
    if min(passed) == 0:
        found.append(f"no pass at {sum(p == 0 for p in passed)} of {rungs} budgets")
    return tuple(found)


def _naive(counts: Counts, target: float) -> dict[str, float | None]:
    last = int(counts.budget.max())
    points = []
    for b in (last - 1, last):
        here = counts.budget == b
        rate = float(counts.passed[here].sum() / counts.samples[here].sum())
        points.append((float(np.log10(counts.flops[here]).mean()), rate))
    (x0, p0), (x1, p1) = points
    line = None
    if 0 < p0 < 1 and 0 < p1 < 1:
        e0, e1 = (float(eta_of(np.array(p))) for p in (p0, p1))
        slope = (e1 - e0) / (x1 - x0)
        line = float(np.exp(-np.exp(e1 + slope * (np.log10(target) - x1))))
    return {"last_rung": p1, "last_two_rungs": line}
