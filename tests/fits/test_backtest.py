import numpy as np
import pytest
from ladders import SIX, chinchilla_table, ladder

from fits.estimators.sizes import ChinchillaHuber
from fits.observations import observe
from fits.uncertainty.backtest import PRIOR_SCALE, form_error, growth, leave_future_out
from fits.uncertainty.bootstrap import seed_noise
from fits.uncertainty.members import drifting
from fits.uncertainty.surface import refitted


def run(truth, budgets=SIX, seeds=2):
    obs = observe(ladder(truth, budgets, seeds=seeds))
    noise = seed_noise(obs)
    return leave_future_out("power", drifting(noise), obs, noise, minimum=2)


def test_only_larger_budgets_are_predicted_from_smaller():
    table = run(lambda x: 40 * x**-0.1)
    assert table["cutoff"].unique().tolist() == [2, 3, 4, 5]
    assert (table["h"] > 0).all() and len(table) == 4 + 3 + 2 + 1


def test_the_drift_covers_both_a_line_and_a_floor():
    for truth in (lambda x: 40 * x**-0.1, lambda x: 2.5 + 300 * x**-0.2):
        table = run(truth)
        assert (table["error"].abs() < 3 * table["noise_sd"]).mean() > 0.8


def test_a_surface_is_backtested_without_its_form_error():
    obs = observe(chinchilla_table(noise=0.002))
    noise = seed_noise(obs)
    table = leave_future_out(
        "chinchilla", refitted(ChinchillaHuber(), noise, 8), obs, noise, minimum=4
    )
    assert len(table) and table["error"].abs().median() < 0.03
    assert form_error(table, ahead=1.0).scale < PRIOR_SCALE
    table["error"] *= 50
    assert form_error(table, ahead=1.0).scale > PRIOR_SCALE


def test_form_error_grows_with_distance_and_is_nothing_inside():
    assert growth(-0.5, 1.0) == 0 and growth(2.0, 1.0) > 2 * growth(1.0, 1.0)
    assert growth(1.0, 2.0) > growth(1.0, 0.5)


def test_few_short_tests_leave_the_prior_nearly_where_it_was():
    table = run(lambda x: 40 * x**-0.1)
    short, long = form_error(table, ahead=6.0), form_error(table, ahead=0.5)
    assert PRIOR_SCALE / 4 <= long.scale < short.scale < PRIOR_SCALE
    assert form_error(table.iloc[:0]).scale == pytest.approx(PRIOR_SCALE)
    assert long.cutoffs == 4 and long.freedom > short.freedom > 4


def test_cutoffs_are_limited():
    table = run(lambda x: 40 * x**-0.1, np.geomspace(1e9, 1e13, 20), seeds=1)
    assert table["cutoff"].nunique() == 6 and table["cutoff"].max() == 19
