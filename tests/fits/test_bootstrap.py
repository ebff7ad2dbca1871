import os

import numpy as np
import pandas as pd
import pytest
from ladders import SIX, chinchilla_table, ladder

from benchmarks.bootstrap import (
    PUBLISHED_CI,
    PUBLISHED_SE,
    epoch_table,
    gaps_to_optimum,
    resamples,
)
from fits.estimators.compute import PowerHuber
from fits.estimators.sizes import ChinchillaCurves, ChinchillaHuber
from fits.observations import FitError, Matrix, Observations, observe
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


def test_checkpoints_of_one_run_move_together_and_double_nothing():
    rng = np.random.default_rng(4)
    table = ladder(law, np.geomspace(1e10, 1e12, 30), seeds=1)
    table["loss"] *= np.exp(0.01 * rng.standard_normal(30))
    again = pd.concat([table, table], ignore_index=True)  # a second checkpoint, as good as equal
    apart = again.assign(run_id=[f"r{i}" for i in range(60)])

    def found(rows: pd.DataFrame) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        return intervals(PowerHuber(floor=0.0), observe(rows), draws=400, rng=rng)

    once = found(table)
    np.testing.assert_allclose(found(again), once, rtol=1e-5)
    shrunk = found(apart)["sd"] / once["sd"]  # as if they were runs of their own
    assert shrunk[["a", "b"]].to_numpy() == pytest.approx(np.sqrt(0.5), rel=0.15)


def test_draws_on_few_distinct_runs_end_finite_and_in_their_bounds():
    obs = observe(chinchilla_table(noise=0.01))
    weight = np.zeros((90, 25))
    for row in range(90):
        chosen = np.random.default_rng(row).choice(25, 1 + row % 3, replace=False)
        weight[row, chosen] = 25 / chosen.size
    curves = ChinchillaHuber().fit_draws(obs, np.tile(obs.y, (90, 1)), weight)
    table = pd.DataFrame([curves.law(i).constants() for i in range(90)])
    assert np.isfinite(table.to_numpy()).all()
    assert (table["irreducible"] <= obs.loss.min()).all()
    assert table[["alpha", "beta"]].to_numpy() == pytest.approx(2.0, abs=2.0)
    assert np.isfinite(curves.log_loss(obs)).all()


@pytest.fixture(scope="module")
def epoch() -> tuple[Observations, Matrix, ChinchillaCurves]:
    """Epoch's runs, the notebook's 4,000 resamples of them, and every refit."""
    table, public = epoch_table(os.environ.get("WORKBENCH_TABLES"))
    if not public:
        pytest.skip("the public tables are not here (WORKBENCH_TABLES)")
    obs = observe(table)
    weight = resamples(len(table), 4000)[:, [int(name.split()[1]) for name in obs.run_id]]
    return obs, weight, ChinchillaHuber().fit_draws(obs, np.tile(obs.y, (4000, 1)), weight)


def test_the_published_standard_errors_are_met_to_their_last_digit(epoch):
    """Besiroglu et al. 2024 (arXiv:2404.10102), the same 4,000 resamples, each at its optimum."""
    _, _, curves = epoch
    found = pd.DataFrame([curves.law(i).constants() for i in range(4000)])
    error, low, high = found.std(), found.quantile(0.025), found.quantile(0.975)
    for name, value in PUBLISHED_SE.items():
        assert error[name] == pytest.approx(value, rel=1e-3), name
    for name, (start, end) in PUBLISHED_CI.items():
        assert [low[name], high[name]] == pytest.approx([start, end], abs=1e-4), name


def test_every_draw_is_at_the_optimum_of_its_own_objective(epoch):
    """Against the best of six L-BFGS searches a draw, by code apart from the solver's."""
    obs, weight, curves = epoch
    gaps = np.array(list(gaps_to_optimum(obs, curves, weight, 25)))
    assert (gaps <= 1e-6).all()
