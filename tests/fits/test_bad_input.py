"""Bad tables, one by one: neither a fit nor a forecast may answer them silently."""

import numpy as np
import pandas as pd
import pytest
from ladders import SIX, chinchilla_table, ladder
from planted import PLANTED

from fits.estimators.catalogue import estimator
from fits.forecast import forecast
from fits.observations import FitError, observe, points

GOAL = pd.DataFrame({"flops": [6 * 4e9 * 4e11], "n_active": [4e9], "tokens": [4e11]})
LAWS = ["power", "power_floor", "chinchilla", "tied", "kaplan", "coupled"]
TRUTH = 1.8 + 480 * 4e9**-0.35 + 2100 * 4e11**-0.37


def fits(table, name):
    return estimator(name).fit(observe(table))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -2.5, 0.0, "4.4 nats", None])
@pytest.mark.parametrize("act", [*LAWS, "forecast"])
def test_a_loss_that_is_no_positive_number_is_named_and_never_dropped(act, bad):
    table = chinchilla_table().astype({"loss": object})
    table.loc[3, "loss"] = bad
    with pytest.raises(ValueError, match=r"row 3: loss is"):
        forecast(table, GOAL) if act == "forecast" else fits(table, act)


@pytest.mark.parametrize("name", ["chinchilla", "tied", "coupled", "kaplan"])
def test_one_diverged_run_hardly_moves_a_law_in_sizes(name):
    table = PLANTED[name].table(noise=1e-3)
    clean = fits(table, name).law
    table.loc[7, "loss"] *= 3
    wild = fits(table, name).law
    assert wild.constants()["alpha"] == pytest.approx(clean.constants()["alpha"], rel=0.05)
    assert wild.predict(points(GOAL)) == pytest.approx(clean.predict(points(GOAL)), rel=0.01)


def test_one_diverged_run_hardly_moves_a_power_law():
    table = ladder(lambda c: 1.5 + 90 * c**-0.14, SIX, seeds=3, noise=1e-3)
    table.loc[7, "loss"] *= 3
    law = fits(table, "power_floor").law
    assert [law.irreducible, law.b] == pytest.approx([1.5, 0.14], rel=0.1)


def test_one_diverged_run_leaves_the_forecast_of_sizes_whole():
    table = chinchilla_table(noise=1e-3)
    table.loc[7, "loss"] *= 3
    row = forecast(table, GOAL).table.iloc[0]
    assert row["median"] == pytest.approx(TRUTH, rel=0.05)
    assert row["lo90"] < TRUTH < row["hi90"]


def test_one_line_of_tokens_per_parameter_identifies_no_law_in_sizes():
    n = np.geomspace(1e7, 1e9, 9)
    line = pd.DataFrame({"n_active": n, "tokens": 20 * n, "flops": 120 * n**2})
    line["loss"] = 1.8 + 480 * n**-0.35 + 2100 * (20 * n) ** -0.37
    for name in ("chinchilla", "tied", "kaplan", "coupled"):
        with pytest.raises(FitError) as refused:
            fits(line, name)
        assert refused.value.name == "one_line"
    assert fits(line, "power_floor").law.b == pytest.approx(0.18, rel=0.05)
    found = forecast(line, GOAL)
    assert "chinchilla" not in found.weights
    assert any("do not vary apart" in text for text in found.cautions)


@pytest.mark.parametrize("rows", [1, 3])
def test_three_runs_or_one_give_no_surface_and_no_certain_number(rows):
    table = chinchilla_table().iloc[[0, 12, 24][:rows]].reset_index(drop=True)
    for name in ("chinchilla", "tied", "kaplan", "coupled"):
        with pytest.raises(FitError) as refused:
            fits(table, name)
        assert refused.value.name == "too_few_runs"
    if rows == 1:
        for name in ("power", "power_floor"):
            with pytest.raises(FitError) as refused:
                fits(table, name)
            assert refused.value.name == "too_few_runs"
        with pytest.raises(FitError) as refused:
            forecast(table, GOAL)
        assert refused.value.name == "too_few_runs"
    else:
        row = forecast(table, GOAL).table.iloc[0]
        assert row["hi95"] / row["lo95"] > 1.05


@pytest.mark.parametrize("name", ["power_floor", "chinchilla", "tied", "coupled"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_floor_is_negative_or_above_a_loss_however_odd_the_runs(name, seed):
    table = chinchilla_table()
    table["loss"] = np.random.default_rng(seed).uniform(2, 5, len(table))
    constants = fits(table, name).law.constants()
    assert 0 <= constants["irreducible"] <= table["loss"].min()
    exponents = {"b"} if name == "power_floor" else {"alpha", "beta"}
    assert all(constants[k] > 0 for k in exponents & set(constants))
