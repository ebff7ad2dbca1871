"""The rivals of the forecaster: each finds what was planted, or refuses by name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.forecast_methods import METHODS, lower_envelope
from fits.observations import FitError, observe


def ladder(rungs: int) -> pd.DataFrame:
    flops = np.geomspace(1e15, 1e18, rungs)
    names = [f"r{i}" for i in range(rungs)]
    return pd.DataFrame({"run_id": names, "flops": flops, "loss": 2 + 30 * flops**-0.1})


def plane(alpha: float, beta: float) -> pd.DataFrame:
    n, tokens = (
        grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 5))
    )
    noise = np.exp(0.001 * np.random.default_rng(0).standard_normal(n.size))
    loss = (1.8 + 480 * n**-alpha + 2100 * tokens**-beta) * noise
    names = [f"r{i}" for i in range(n.size)]
    return pd.DataFrame(
        {"run_id": names, "n_active": n, "tokens": tokens, "flops": 6 * n * tokens, "loss": loss}
    )


@pytest.mark.parametrize(
    ("method", "alpha", "beta"), [("chinchilla", 0.35, 0.37), ("tied", 0.36, 0.36)]
)
def test_laws_in_a_plane_find_a_planted_target(method, alpha, beta):
    target = pd.DataFrame({"n_active": [1e10], "tokens": [1e12], "flops": [6e22]})
    actual = 1.8 + 480 * 1e10**-alpha + 2100 * 1e12**-beta
    (found,) = METHODS[method](plane(alpha, beta), target)
    assert found[3] == pytest.approx(actual, rel=0.01)
    assert found[0] < actual < found[6] and (np.diff(found) >= 0).all()
    assert (found[6] - found[0]) / actual < 0.05


def test_laws_in_compute_find_a_planted_target_and_the_envelope_leaves_out_worse_runs():
    runs = ladder(7)
    wasted = runs.iloc[3:6].assign(flops=lambda t: 5 * t["flops"], run_id=["x", "y", "z"])
    both = pd.concat([runs, wasted], ignore_index=True)
    assert set(lower_envelope(observe(both)).run_id) == set(runs["run_id"])
    target = pd.DataFrame({"flops": [1e19, 1e20]})
    actual = 2 + 30 * target["flops"].to_numpy() ** -0.1
    found = METHODS["envelope"](both, target)
    assert found[:, 3] == pytest.approx(actual, rel=0.01)
    line = METHODS["last_two"](both, target)
    x, y = np.log(runs["flops"].to_numpy()[-2:]), np.log(runs["loss"].to_numpy()[-2:])
    expected = np.exp(np.polyval(np.polyfit(x, y, 1), np.log(target["flops"])))
    assert line[:, 0] == pytest.approx(expected) and (np.ptp(line, axis=1) == 0).all()


def test_methods_refuse_by_name_what_they_cannot_identify():
    target = pd.DataFrame({"flops": [1e20]})
    rungs = ladder(12)
    line = plane(0.3, 0.3).assign(tokens=lambda t: 20 * t["n_active"])
    few = plane(0.3, 0.3).iloc[:4]
    for method, runs, name in [
        ("chinchilla", rungs, "no_sizes"), ("tied", line, "one_line"),
        ("tied", few, "too_few_runs"), ("last_two", rungs.iloc[:1], "too_few_budgets"),
        ("envelope", rungs.iloc[:2], "too_few_runs"),
    ]:  # fmt: skip
        with pytest.raises(FitError) as refusal:
            METHODS[method](runs, target)
        assert refusal.value.name == name
