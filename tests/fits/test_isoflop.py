import numpy as np
import pandas as pd
import pytest
from optima import EXPONENT, LEVELS, best_n, curve_table, isoflop_table, loss_of

from fits.allocation.envelope import envelope, winners
from fits.allocation.isoflop import isoflop
from fits.allocation.path import line_at
from fits.allocation.robust import robust_least_squares
from fits.allocation.slices import cut, distinct, has_curves, last_rows, level_index, residual_sd
from fits.observations import FitError, observe

AT = np.log([1e20, 1e22])


def seeded(seed=0):
    return np.random.default_rng(seed)


def slices_of(table):
    return cut(observe(table))


def test_levels_are_the_densest_windows_of_compute():
    log_n = np.linspace(0, 3, 10)
    x = np.log10([7.0, 7.8, 9.05, 9.2, 9.4, 9.6, 9.9, 28.0, 28.2, 29.0])
    assert level_index(x, log_n).tolist() == [-1, -1, 0, 0, 0, 0, 0, 1, 1, 1]
    assert level_index(x, np.zeros(10)).tolist() == [-1] * 10  # one size is no choice


def test_losses_of_a_level_are_brought_to_one_compute():
    rng = np.random.default_rng(1)
    table = isoflop_table(sizes=9)
    table["tokens"] *= np.exp(rng.uniform(-0.08, 0.08, len(table)))
    table = table.assign(
        flops=6 * table["n_active"] * table["tokens"],
        loss=loss_of(table["n_active"], table["tokens"]),
    )
    slices = slices_of(table)
    assert slices.log_flops.size == LEVELS.size
    at = slices.table()
    level = loss_of(at["n"], at["flops"] / (6 * at["n"]))
    assert np.abs(np.log(at["loss"] / level)).max() < 0.0025  # of .012 without the slope


def test_curves_are_cut_where_three_sizes_meet():
    sizes = np.geomspace(1e8, 1e10, 13)
    obs = observe(curve_table(sizes))
    slices = cut(obs)
    assert has_curves(obs) and slices.curves and slices.log_n.size == 13
    assert last_rows(obs).flops.size == 13
    at = slices.table()
    planted = loss_of(at["n"], at["flops"] / (6 * at["n"]))
    assert at["loss"].to_numpy() == pytest.approx(planted.to_numpy(), rel=3e-4)
    assert at.groupby("flops").size().min() >= 3
    for find in (lambda: envelope(slices, AT, draws=100, rng=seeded()),
                 lambda: isoflop(slices, AT, draws=100, rng=seeded())):  # fmt: skip
        n = np.exp(find().log_n)
        assert n[0] == pytest.approx(best_n(np.exp(AT)), rel=0.3)
        low, high = np.quantile(n[1:], [0.05, 0.95], axis=0)
        assert (low < best_n(np.exp(AT))).all() and (best_n(np.exp(AT)) < high).all()


def test_parabolas_find_the_planted_minima():
    found = isoflop(slices_of(isoflop_table(spread=2.0)), AT, draws=0, rng=seeded())
    assert found.evidence["n"].to_numpy() == pytest.approx(best_n(LEVELS), rel=0.02)
    slope = np.diff(found.log_n[0])[0] / np.diff(AT)[0]
    assert slope == pytest.approx(EXPONENT, abs=2e-3)
    row = found.evidence.iloc[0]
    off = np.log(1.7)
    there = row["loss"] * np.exp(row["curvature"] * off**2)
    n = row["n"] * 1.7
    assert there == pytest.approx(loss_of(n, row["flops"] / (6 * n)), rel=1e-3)


def test_ninety_percent_intervals_of_the_isoflop_size_cover_about_ninety_percent():
    """120 tables: the share has a standard error of .027, so .80 to .98 is three of them."""
    inside = 0
    for seed in range(120):
        table = isoflop_table(LEVELS[:5], sizes=6, noise=0.003, seed=seed)
        n = np.exp(isoflop(slices_of(table), AT[1:], draws=120, rng=seeded(seed)).log_n[:, 0])
        low, high = np.quantile(n[1:], [0.05, 0.95])
        inside += low < best_n(1e22) < high
    assert 0.80 < inside / 120 < 0.985


def test_a_minimum_outside_the_sizes_is_refused_by_name():
    beyond = isoflop_table(shift=30.0, spread=4.0)
    for find in (lambda s: envelope(s, AT, draws=5, rng=seeded()),
                 lambda s: isoflop(s, AT, draws=5, rng=seeded())):  # fmt: skip
        with pytest.raises(FitError) as refused:
            find(slices_of(beyond))
        assert refused.value.name == "no_minimum_inside"
    partly = pd.concat([isoflop_table(LEVELS[:5]), isoflop_table(LEVELS[5:], shift=30.0)])
    found = isoflop(slices_of(partly), AT, draws=20, rng=seeded())
    assert found.evidence["refused"].tolist() == [""] * 5 + ["no_minimum_inside"] * 2
    assert found.evidence["n"].isna().tolist() == [False] * 5 + [True] * 2
    assert any("no minimum inside" in text and "1e+22" in text for text in found.cautions)
    lowest = envelope(slices_of(partly), AT, draws=20, rng=seeded())
    assert len(lowest.evidence) == 5 and any("at 2 of 7" in text for text in lowest.cautions)


def test_too_few_sizes_and_one_level_are_refused_by_name():
    with pytest.raises(FitError) as few:
        cut(observe(isoflop_table(sizes=2)))
    assert few.value.name == "too_few_sizes"
    with pytest.raises(FitError) as one:
        cut(observe(isoflop_table([1e20])))
    assert one.value.name == "one_compute_level"


def test_wide_and_lopsided_levels_are_said():
    wide = isoflop(slices_of(isoflop_table(spread=9.0)), AT, draws=0, rng=seeded())
    assert any("span 81x" in text for text in wide.cautions)
    edge = isoflop(slices_of(isoflop_table(shift=3.0)), AT, draws=0, rng=seeded())
    assert any("near the border" in text for text in edge.cautions)
    good = isoflop(slices_of(isoflop_table()), AT, draws=0, rng=seeded())
    assert not good.cautions


def test_a_winner_has_a_worse_run_on_both_sides():
    slices = slices_of(isoflop_table(sizes=5, spread=4.0))
    best = winners(slices, slices.y)
    assert np.exp(slices.log_n[best]) == pytest.approx(best_n(LEVELS), rel=1e-9)
    without_larger = np.where(slices.log_n > slices.log_n[best[-1]], np.nan, slices.y)
    assert winners(slices, without_larger)[-1] == -1


def test_noise_about_the_parabolas_is_measured():
    table = isoflop_table(sizes=15, spread=2.5, noise=0.01, seed=4)
    assert residual_sd(slices_of(table)) == pytest.approx(0.01, rel=0.25)
    assert residual_sd(slices_of(isoflop_table())) < 0.002


def test_a_wild_point_hardly_moves_a_line():
    log_c = np.linspace(0, 9, 10)
    log_n = 1 + 0.5 * log_c
    wild = log_n.copy()
    wild[8] += 5
    rows = np.stack([log_n, wild, np.where(log_c < 9, np.nan, log_n)])
    read = line_at(log_c, rows, np.array([0.0, 10.0]))
    assert read[0] == pytest.approx([1, 6])
    assert read[1] == pytest.approx([1, 6], abs=0.05)
    assert np.isnan(read[2]).all()
    plain = robust_least_squares(np.ones((3, 1)), np.array([[1.0, 2.0, 4.0]]), np.ones((1, 3)), 9.0)
    assert plain[0, 0] == pytest.approx(7 / 3)
    assert distinct(np.log([100.0, 101.0, 110.0, 200.0])) == 3
