import numpy as np
import pytest
from ladders import ladder

from fits.naive import last_rung, last_two_rungs
from fits.observations import observe


def test_the_naive_guesses_are_what_they_say():
    obs = observe(ladder(lambda x: 40 * x**-0.1, seeds=1, noise=0.0))
    assert last_rung(obs) == pytest.approx(40 * 5e11**-0.1)
    assert last_two_rungs(obs, 1e13) == pytest.approx(40 * 1e13**-0.1)
    assert last_two_rungs(obs.take(np.array([2])), 1e13) is None
