import numpy as np
import pytest
from ladders import SIX, THREE, chinchilla_table, ladder

from fits.observations import FitError, observe
from fits.shape import bend, frontier, require_ladder, require_one_regime
from fits.uncertainty.bootstrap import SeedNoise

NOISE = SeedNoise(sd=0.003, pairs=3, measured=0.003)


def straight(x):
    return 40 * x**-0.1


@pytest.mark.parametrize(
    ("budgets", "target", "name"),
    [
        (THREE[:1], 1e12, "too_few_runs"),
        (THREE[:2], 1e12, "too_few_budgets"),
        (np.array([1e11, 1.5e11, 2.2e11]), 1e12, "too_little_span"),
        (THREE, 1e14, "extrapolation_too_far"),
    ],
)
def test_a_ladder_that_cannot_carry_the_target_is_refused_by_name(budgets, target, name):
    obs = observe(ladder(straight, budgets))
    with pytest.raises(FitError) as refusal:
        require_ladder(obs, target)
    assert refusal.value.name == name
    require_ladder(observe(ladder(straight)), 1.3e13)


def test_a_slope_that_doubles_is_a_change_of_regime_and_a_floor_is_not():
    turned = ladder(lambda x: 4.2 * (x / 1e10) ** -0.03 * np.minimum(1, (2e11 / x) ** 0.12), SIX)
    with pytest.raises(FitError) as refusal:
        require_one_regime(observe(turned), NOISE)
    assert refusal.value.name == "regime_change"
    require_one_regime(observe(ladder(lambda x: 2.5 + 300 * x**-0.2, SIX)), NOISE)


@pytest.mark.parametrize("slope", [0.0, -0.05])
def test_a_loss_that_does_not_fall_is_refused(slope):
    flat = ladder(lambda x: 3.0 * (x / 1e11) ** -slope)
    with pytest.raises(FitError) as refusal:
        require_one_regime(observe(flat), NOISE)
    assert refusal.value.name == "not_decreasing"


def test_a_bend_beyond_noise_is_said_in_words():
    assert bend(observe(ladder(straight, SIX, noise=0.0)), NOISE) is None
    floor = bend(observe(ladder(lambda x: 2.5 + 300 * x**-0.2, SIX)), NOISE)
    assert "flattens" in str(floor)
    steep = bend(observe(ladder(lambda x: 5 - 0.05 * np.log(x / 1e9) ** 2 / 8, SIX)), NOISE)
    assert "steepens" in str(steep)


def test_the_frontier_keeps_the_best_at_equal_compute_and_every_seed():
    table = chinchilla_table()
    kept = frontier(observe(table))
    assert 3 <= kept.flops.size < len(table)
    seeds = observe(ladder(straight, seeds=4, noise=0.02))
    assert frontier(seeds).flops.size == seeds.flops.size
