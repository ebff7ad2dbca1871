import numpy as np
import pytest
from ladders import SIX, ladder

from fits.backtest import PRIOR_SCALE, form_error, growth, leave_future_out
from fits.bootstrap import seed_noise
from fits.estimators import PowerHuber
from fits.observations import observe


def run(truth, noise=0.003):
    obs = observe(ladder(truth, SIX, noise=noise))
    return leave_future_out(PowerHuber(floor=0.0), obs, seed_noise(obs), minimum=2)


def test_only_larger_budgets_are_predicted_from_smaller():
    table = run(lambda x: 40 * x**-0.1)
    assert table["cutoff"].unique().tolist() == [2, 3, 4, 5]
    assert (table["h"] > 0).all() and len(table) == 4 + 3 + 2 + 1


def test_the_right_law_errs_by_noise_and_the_wrong_one_by_form():
    right, wrong = run(lambda x: 40 * x**-0.1), run(lambda x: 2.5 + 300 * x**-0.2)
    assert (right["error"].abs() < 4 * right["noise_sd"]).all()
    assert wrong["error"].iloc[-2] > 0  # a floor lies above the line
    assert form_error(wrong, ahead=1.0).scale > form_error(right, ahead=1.0).scale


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
    obs = observe(ladder(lambda x: 40 * x**-0.1, np.geomspace(1e9, 1e13, 20), seeds=1))
    table = leave_future_out(PowerHuber(floor=0.0), obs, seed_noise(obs), minimum=2)
    assert table["cutoff"].nunique() == 6 and table["cutoff"].max() == 19
