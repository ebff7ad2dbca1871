import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ladders import chinchilla_table
from optima import ALPHA, BETA, EXPONENT, A, B, E, best_n, curve_table, isoflop_table, loss_of

from fits.allocation.compare import allocate, disagreement
from fits.allocation.cost import Cost, cost_of
from fits.allocation.parametric import optimal_log_n
from fits.estimators.sizes import ChinchillaCurves
from fits.observations import FitError, observe


def seeded(seed=0):
    return np.random.default_rng(seed)


def test_all_three_approaches_recover_a_planted_optimum():
    """Without noise: the law exactly, parabolas to their local error, winners to a step in size."""
    asked = np.array([1e21, 1e23])
    found = allocate(isoflop_table(sizes=9), asked, draws=40, rng=seeded())
    assert [path.approach for path in found.paths] == ["envelope", "isoflop", "parametric"]
    for path, loose in zip(found.paths, (0.4, 0.1, 1e-3), strict=True):
        assert path.a.value == pytest.approx(EXPONENT, abs=0.1 * loose), path.approach
        assert path.a.value + path.b.value == pytest.approx(1, abs=1e-9)
        n = path.at["n"].to_numpy()
        assert n == pytest.approx(best_n(asked), rel=loose), path.approach
        assert path.at["tokens"].to_numpy() == pytest.approx(asked / (6 * n))
    assert found.at["ratio"].max() < 1.5 and found.at["overlap"].all()


def test_intervals_hold_the_planted_optimum_and_widen_with_noise():
    widths = []
    for noise in (0.001, 0.01):
        found = allocate(isoflop_table(noise=noise, seed=2), [1e22], draws=200, rng=seeded())
        for path in found.paths:
            assert path.a.lo90 < EXPONENT < path.a.hi90, path.approach
            row = path.at.iloc[0]
            assert row["n_lo90"] < row["n"] < row["n_hi90"], path.approach
        widths.append({path.approach: path.a.hi90 - path.a.lo90 for path in found.paths})
    assert widths[0]["parametric"] < 0.4 * widths[1]["parametric"]
    assert widths[0]["isoflop"] < 0.7 * widths[1]["isoflop"]


def test_the_numerical_optimum_is_that_of_the_law_and_of_the_closed_form():
    theta = np.array([[np.log(A), np.log(B), np.log(E), ALPHA, BETA]])
    law = ChinchillaCurves(theta=theta, centre_n=0.0, centre_tokens=0.0)
    log_c = np.log([1e19, 1e22])
    closed = optimal_log_n(law, Cost(), log_c)[0]
    assert np.exp(closed) == pytest.approx(best_n(np.exp(log_c)), rel=1e-9)
    nearly = optimal_log_n(law, Cost(excess=1e-12, fade=0.5), log_c)[0]
    assert nearly == pytest.approx(closed, abs=1e-9)
    cost = Cost(excess=2000.0, fade=0.42)
    for at, best in zip(log_c, optimal_log_n(law, cost, log_c)[0], strict=True):
        log_n = best + np.linspace(-1, 1, 20001)
        loss = loss_of(np.exp(log_n), np.exp(cost.log_tokens(log_n, at)))
        assert best == pytest.approx(log_n[loss.argmin()], abs=2e-3)
    assert np.abs(optimal_log_n(law, cost, log_c)[0] - closed).min() > 1e-3


def test_the_cost_of_a_token_is_the_tables_own():
    table = chinchilla_table()
    assert cost_of(observe(table)).scale == 6 and cost_of(observe(table)).proportional
    fading = table.assign(flops=table["flops"] * (1 + 300 * table["n_active"] ** -0.35))
    cost = cost_of(observe(fading))
    assert [cost.excess, cost.fade] == pytest.approx([300, 0.35], rel=1e-6)
    at = np.log(np.array([1e8, 1e10]))
    expected = 6 * np.exp(at) * (1 + 300 * np.exp(-0.35 * at))
    assert np.exp(cost.log_per_token(at)) == pytest.approx(expected)
    step = 1e-5
    slope = (cost.log_per_token(at + step) - cost.log_per_token(at - step)) / (2 * step)
    assert cost.slope(at) == pytest.approx(slope, rel=1e-6)
    small = table.assign(flops=0.8 * table["flops"])
    assert cost_of(observe(small)).scale == pytest.approx(4.8)
    with pytest.raises(ValueError, match="fade"):
        Cost(fade=1.5)


def test_flops_that_are_not_6_n_tokens_move_the_optimum():
    table = isoflop_table()
    extra = 2000 * table["n_active"] ** -0.42
    counted = table.assign(flops=table["flops"] * (1 + extra))
    path = allocate(counted, [1e21], draws=0, rng=seeded()).path("parametric")
    n, tokens = path.at["n"].iloc[0], path.at["tokens"].iloc[0]
    assert 6 * n * tokens * (1 + 2000 * n**-0.42) == pytest.approx(1e21, rel=1e-3)
    assert path.a.value + path.b.value > 1.01  # a token costs less per parameter as n grows
    assert np.isnan(path.a.lo90)


def test_disagreement_is_said():
    """A penalty on large models that no Chinchilla law knows sets the approaches apart."""
    table = isoflop_table(spread=8.0)
    over = np.log(table["n_active"] / 1e9).clip(lower=0)
    found = allocate(table.assign(loss=table["loss"] * (1 + 0.1 * over**2)), [1e22, 1e25],
                     draws=60, rng=seeded())  # fmt: skip
    assert found.at["ratio"].iloc[1] > 1.5 and not found.at["overlap"].iloc[0]
    assert any("1e+25 FLOPs the approaches differ" in text for text in found.cautions)
    assert any("intervals do not meet" in text for text in found.cautions)
    assert any("1,000x beyond the largest" in text for text in found.cautions)
    alone = disagreement(found.paths[:1], np.array([1e22, 1e25]))
    assert alone["ratio"].isna().all() and alone["overlap"].isna().all()


def test_an_approach_that_refuses_leaves_the_others():
    one_line = allocate(curve_table(np.geomspace(1e8, 1e10, 13)), [1e21], draws=20, rng=seeded())
    with pytest.raises(FitError) as refused:  # last checkpoints all have 100 tokens a parameter
        one_line.path("parametric")
    assert refused.value.name == "one_line"
    assert one_line.path("isoflop").draws == 20
    with pytest.raises(ValueError, match="approach is"):
        one_line.path("guess")


def test_a_table_that_no_approach_can_use_is_refused():
    level = isoflop_table([1e20])
    with pytest.raises(FitError, match="one_line") as refused:
        allocate(level, [1e21], rng=seeded())
    assert refused.value.name == "one_compute_level"
    with pytest.raises(FitError) as unsized:
        allocate(level.drop(columns="tokens"), [1e21], rng=seeded())
    assert unsized.value.name == "no_sizes"
    for wrong in ([], [-1.0], [np.nan]):
        with pytest.raises(ValueError, match="flops is"):
            allocate(level, wrong, rng=seeded())


def test_rows_in_any_order_give_the_same_path():
    table = isoflop_table(np.geomspace(1e19, 1e21, 5), noise=0.003)
    one = allocate(table, [1e22], draws=20, rng=seeded())
    two = allocate(table.sample(frac=1, random_state=1), [1e22], draws=20, rng=seeded())
    for first, second in zip(one.paths, two.paths, strict=True):
        pd.testing.assert_frame_equal(first.at, second.at)
        assert first.a == second.a


def epoch_table() -> pd.DataFrame:
    folder = os.environ.get("WORKBENCH_TABLES")
    path = Path(folder or "") / "runs" / "chinchilla_epoch.csv"
    if not folder or not path.exists():
        pytest.skip("the public tables are not here (WORKBENCH_TABLES)")
    return pd.read_csv(path).sort_values("loss").iloc[:-5]


def test_the_published_exponents_of_the_parametric_approach_are_reached():
    """Besiroglu et al. 2024, arXiv:2404.10102: alpha .3478, beta .3658, so a = .513, b = .487.

    To .003: their two fits (notebook and likelihood) lie that far apart. The interval is a few
    hundredths wide, as they find, and not the .008 of Hoffmann et al.
    """
    found = allocate(epoch_table(), [5.76e23], draws=200, rng=seeded())
    path = found.path("parametric")
    assert path.a.value == pytest.approx(0.3658 / (0.3478 + 0.3658), abs=3e-3)
    assert path.b.value == pytest.approx(0.3478 / (0.3478 + 0.3658), abs=3e-3)
    assert path.a.lo90 < 0.5126 < path.a.hi90
    assert 0.03 < path.a.hi90 - path.a.lo90 < 0.1
    tokens_per_param = path.at["tokens"] / path.at["n"]
    assert 12 < tokens_per_param.iloc[0] < 30  # about 20 at Chinchilla's own compute
