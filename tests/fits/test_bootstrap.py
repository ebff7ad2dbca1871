import numpy as np
import pytest
from ladders import SIX, ladder

from fits.estimators.compute import PowerHuber
from fits.observations import FitError, observe
from fits.uncertainty.bootstrap import (
    SEED_SD_PRIOR,
    intervals,
    resampled_weights,
    seed_jitter,
    seed_noise,
    smooth_weights,
)  # fmt: skip


def law(x):
    return 40 * x**-0.1


def test_runs_of_a_cluster_move_together():
    cluster = np.array([0, 0, 1, 2])
    for make in (resampled_weights, smooth_weights):
        weight = make(cluster, 50, np.random.default_rng(0))
        assert (weight[:, 0] == weight[:, 1]).all() and (weight[:, 0] != weight[:, 2]).any()


def test_smooth_weights_never_lose_a_rung():
    assert (smooth_weights(np.arange(3), 2000, np.random.default_rng(0)) > 0).all()


def test_seed_noise_is_measured_where_seeds_repeat_and_prior_where_not():
    found = [seed_noise(observe(ladder(law, SIX, seeds=8, noise=0.02, seed=s))) for s in range(9)]
    assert found[0].pairs == 42
    assert np.mean([noise.sd for noise in found]) == pytest.approx(0.0194, rel=0.08)
    alone = seed_noise(observe(ladder(law, SIX, seeds=1)))
    assert alone.pairs == 0 and alone.sd == pytest.approx(SEED_SD_PRIOR) and alone.measured is None


def test_weights_and_jitter_together_give_the_variance_of_a_budget_mean():
    for seeds in (1, 4):
        obs = observe(ladder(law, SIX[:2], seeds=seeds, noise=0.02, seed=5))
        noise = seed_noise(obs)
        y = seed_jitter(obs, noise, 4000, np.random.default_rng(0))
        assert y[:, 0].std() == pytest.approx(noise.sd / np.sqrt(seeds), rel=0.05)


def test_intervals_hold_the_planted_constants():
    obs = observe(ladder(lambda x: 1.5 + 90 * x**-0.14, SIX, seeds=4, seed=3))
    table = intervals(PowerHuber(delta=5e-3), obs, draws=200, rng=np.random.default_rng(1))
    assert table.loc["b", "lo95"] < 0.14 < table.loc["b", "hi95"]
    assert table.loc["irreducible", "lo95"] < 1.5 < table.loc["irreducible", "hi95"]


def test_a_ladder_of_few_runs_has_intervals_of_weights_and_seed_noise():
    floor_at_nought = PowerHuber(floor=0.0, delta=5e-3)
    obs = observe(ladder(law, SIX, seeds=1, noise=0.0))
    table = intervals(floor_at_nought, obs, draws=300, rng=np.random.default_rng(1))
    # six exact runs: resampling would call the exponent certain, seed noise of 0.3 % does not
    error = SEED_SD_PRIOR / (np.log(SIX).std() * np.sqrt(6))
    error *= np.sqrt(2 * 6 / 7)  # m exponential weights are worth (m + 1) / 2 runs
    assert table.loc["b", "sd"] == pytest.approx(error, rel=0.2)
    many = observe(ladder(law, np.geomspace(1e10, 1e12, 24), seeds=1, noise=0.0))
    plain = intervals(floor_at_nought, many, draws=50, rng=np.random.default_rng(1))
    assert plain.loc["b", "sd"] < 1e-5


def test_clusters_that_were_taken_out_are_not_drawn():
    obs = observe(ladder(law, np.geomspace(1e10, 1e12, 30), seeds=1)).take(np.arange(0, 30, 10))
    table = intervals(PowerHuber(floor=0.0), obs, draws=50, rng=np.random.default_rng(0))
    assert np.isfinite(table.to_numpy()).all()


def test_two_runs_are_no_bootstrap():
    obs = observe(ladder(law, SIX[:2], seeds=1))
    with pytest.raises(FitError, match="three clusters"):
        intervals(PowerHuber(floor=0.0), obs, draws=10, rng=np.random.default_rng(0))
