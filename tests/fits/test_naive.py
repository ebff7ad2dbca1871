import numpy as np
import pytest
from ladders import ladder

from fits.naive import LastTwoSlope, last_rung, last_two_rungs
from fits.observations import observe


def test_the_naive_guesses_are_what_they_say():
    obs = observe(ladder(lambda x: 40 * x**-0.1, seeds=1, noise=0.0))
    assert last_rung(obs) == pytest.approx(40 * 5e11**-0.1)
    assert last_two_rungs(obs, 1e13) == pytest.approx(40 * 1e13**-0.1)
    assert last_two_rungs(obs.take(np.array([2])), 1e13) is None


def test_the_line_passes_the_budgets_and_keeps_the_last_slope():
    obs = observe(ladder(lambda x: 40 * x**-0.1, seeds=2, noise=0.0))
    curves = LastTwoSlope().fit_draws(obs, obs.y[None], obs.weight[None])
    flops = np.array([8e10, 3e11, 1e14])
    assert curves.log_loss(flops, None, None)[0] == pytest.approx(np.log(40 * flops**-0.1))
