"""Coverage of 90 % intervals on simulated ladders whose truth is known.

Benign means: the truth is one smooth law, with or without a floor, or a slope that wanders as
form error supposes. Intervals there are wider than these truths need, because real ladders bend
more; the hostile cases below are why. Rates are printed with `pytest -s`.
"""

import numpy as np
import pandas as pd
import pytest
from ladders import SIX, THREE, ladder

from fits.forecast import forecast
from fits.observations import FitError

REPEATS = 14


def wandering(seed: int):
    rng = np.random.default_rng([seed, 99])
    at = np.linspace(10, 14, 400)
    step = at[1] - at[0]
    slope = 0.16 + np.cumsum(rng.standard_normal(at.size)) * 0.035 * np.sqrt(step)
    fall = np.concatenate([[0], np.cumsum(np.maximum(slope[:-1], 0) * step)])
    return lambda x: 4.5 * np.exp(-np.interp(np.log10(x), at, fall))


def coverage(make, budgets, target, seeds) -> tuple[float, float, list[str]]:
    """Share of truths inside the 90 % interval, median half-width, names of refusals."""
    hits, widths, refused = [], [], []
    for seed in range(REPEATS):
        truth = make(seed)
        table = ladder(truth, budgets, seeds=seeds, seed=seed)
        noise = np.exp(0.003 * np.random.default_rng([seed, 1]).standard_normal())
        actual = float(truth(np.array([target]))[0] * noise)
        try:
            row = forecast(table, pd.DataFrame({"flops": [target]})).table.iloc[0]
        except FitError as error:
            refused.append(error.name)
            continue
        hits.append(row["lo90"] <= actual <= row["hi90"])
        widths.append((row["hi90"] - row["lo90"]) / 2 / row["median"])
    if not hits:
        return 0.0, 0.0, refused
    return float(np.mean(hits)), float(np.median(widths)), refused


BENIGN = {
    "straight, 3 rungs, 26x": (lambda s: lambda x: 40 * x**-0.09, THREE, 1.3e13, 2, 0.12),
    "floor, 3 rungs, 26x": (lambda s: lambda x: 1.2 + 60 * x**-0.12, THREE, 1.3e13, 2, 0.12),
    "floor, 6 rungs, 30x": (lambda s: lambda x: 1.5 + 90 * x**-0.14, SIX, 3e13, 1, 0.18),
    "straight, 6 rungs, 1000x": (lambda s: lambda x: 40 * x**-0.09, SIX, 1e15, 1, 0.4),
    "wandering slope, 6 rungs, 30x": (wandering, SIX, 3e13, 1, 0.18),
}


@pytest.mark.parametrize("name", BENIGN)
def test_benign_truths_are_covered_without_absurd_width(name):
    make, budgets, target, seeds, widest = BENIGN[name]
    share, width, refused = coverage(make, budgets, target, seeds)
    print(f"{name}: coverage {share:.2f}, half-width {width:.1%}, refused {len(refused)}")
    assert share >= 0.8 and not refused
    assert width < widest


def test_a_law_of_another_form_is_mostly_covered():
    """Curvature that three rungs cannot tell from a line: less than nominal, and stated so."""

    def bent(x):
        t = np.log(x / 8e10)
        return 4.2 * np.exp(-0.1 * t + 0.006 * t**2)

    share, width, _ = coverage(lambda s: bent, THREE, 1.3e13, 2)
    print(f"wrong form, 3 rungs, 26x: coverage {share:.2f}, half-width {width:.1%}")
    assert share >= 0.4


def test_a_change_of_regime_is_refused_or_covered():
    def turn(x):
        return 4.2 * (x / 1e10) ** -0.05 / (1 + x / 2e11) ** 0.12

    share, width, refused = coverage(lambda s: turn, SIX, 3e13, 1)
    print(f"regime change: coverage {share:.2f}, half-width {width:.1%}, refused {refused}")
    assert len(refused) >= REPEATS / 3 and set(refused) == {"regime_change"} and share >= 0.8


def test_noise_alone_is_refused():
    _, _, refused = coverage(lambda s: lambda x: np.full(x.shape, 3.0), SIX[:4], 1e12, 1)
    assert len(refused) >= 0.8 * REPEATS


def sized(seed: int, kind: str) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Runs of 1e18 to 3e20 FLOPs at 5 to 150 tokens per parameter, one in ten under-tuned; a
    target 50 times beyond them; and its loss."""
    rng = np.random.default_rng([seed, 5])
    alpha, beta = rng.uniform(0.22, 0.5, 2)
    floor, (a, b), k = rng.uniform(1.2, 2.2), rng.uniform(0.3, 1.2, 2), rng.uniform(0.5, 1.6)

    def loss(n: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        terms = a * (n / 3e8) ** -alpha, b * (tokens / 6e9) ** -beta
        if kind == "coupled":
            return floor + (terms[0] ** (1 / k) + terms[1] ** (1 / k)) ** k
        off = 0.004 * np.log(tokens / n / 20) ** 2 if kind == "worse off 20 tokens" else 0.0
        return (floor + terms[0] + terms[1]) * np.exp(off)

    budgets = np.repeat(np.geomspace(1e18, 3e20, 8), 4)
    ratio = np.exp(rng.uniform(np.log(5), np.log(150), budgets.size))
    n = np.sqrt(budgets / 6 / ratio)
    under = np.where(rng.random(n.size) < 0.1, 0.1 * rng.random(n.size), 0.0)
    measured = loss(n, ratio * n) * np.exp(under + 0.004 * rng.standard_normal(n.size))
    table = pd.DataFrame({"flops": budgets, "n_active": n, "tokens": ratio * n, "loss": measured})
    goal = np.sqrt(np.array([1.5e22]) / 120)
    target = pd.DataFrame({"flops": [1.5e22], "n_active": goal, "tokens": 20 * goal})
    return table, target, float(loss(goal, 20 * goal)[0])


@pytest.mark.parametrize("kind", ["chinchilla", "coupled", "worse off 20 tokens"])
def test_sizes_that_vary_apart_are_forecast_closely_whatever_the_form(kind):
    hits, errors, widths = [], [], []
    for seed in range(5):
        table, target, actual = sized(seed, kind)
        row = forecast(table, target).table.iloc[0]
        hits.append(row["lo90"] <= actual <= row["hi90"])
        errors.append(abs(row["median"] / actual - 1))
        widths.append((row["hi90"] - row["lo90"]) / 2 / row["median"])
    print(f"{kind}: coverage {np.mean(hits):.2f}, |error| {np.mean(errors):.1%}, {widths}")
    assert np.mean(hits) >= 0.8 and np.mean(errors) < 0.02 and np.median(widths) < 0.08
