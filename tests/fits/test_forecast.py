import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ladders import SIX, chinchilla_table, full_tables, ladder

from fits.forecast import forecast, forecast_column
from fits.observations import FitError, Points, observe
from fits.predictions.estimate import is_neutral
from fits.shape import bend
from fits.uncertainty.bootstrap import SeedNoise
from fits.uncertainty.drift import fit_drifting_power
from fits.uncertainty.mixture import one_more
from fits.uncertainty.sizes import fit_drifting_sizes
from fits.usable import kinds

GOAL = pd.DataFrame({"flops": [1.3e13]})
QUANTILES = ["lo95", "lo90", "lo50", "median", "hi50", "hi90", "hi95"]
NOISE = SeedNoise(sd=1e-3, pairs=3, measured=1e-3)
slow = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


def truth(x):
    return 40 * x**-0.09


def test_a_straight_ladder_is_carried_on_with_ordered_quantiles():
    found = forecast(ladder(truth), GOAL)
    row = found.table.iloc[0]
    assert row["median"] == pytest.approx(truth(1.3e13), rel=0.02)
    assert (np.diff(row[QUANTILES].to_numpy(dtype=float)) > 0).all()
    assert set(found.weights) == {"power", "power_floor"}
    assert sum(found.weights.values()) == pytest.approx(1)
    half = (row["hi90"] - row["lo90"]) / 2 / row["median"]
    assert 0.05 < half < 0.13  # three rungs and 26x: neither certainty nor ignorance


def test_the_interval_widens_with_distance_and_the_band_ends_at_the_target():
    found = forecast(ladder(truth), pd.DataFrame({"flops": [1e12, 4e12, 1.3e13]}))
    width = (found.table["hi90"] - found.table["lo90"]) / found.table["median"]
    assert (np.diff(width) > 0).all()
    assert found.curve["flops"].iloc[[0, -1]].tolist() == pytest.approx([8e10, 1.3e13])
    inside = found.curve.iloc[0]
    assert (inside["hi90"] - inside["lo90"]) / inside["median"] < 0.02


def test_more_rungs_add_a_free_floor_and_sizes_add_chinchilla():
    assert "power_floor" in forecast(ladder(truth, SIX), GOAL).weights
    table = chinchilla_table(noise=0.002)
    goal = pd.DataFrame({"flops": [6 * 4e9 * 4e11], "n_active": [4e9], "tokens": [4e11]})
    found = forecast(table, goal)
    actual = 1.8 + 480 * 4e9**-0.35 + 2100 * 4e11**-0.37
    assert found.weights["chinchilla"] > 0
    assert found.table["lo90"][0] < actual < found.table["hi90"][0]
    assert found.table["median"][0] == pytest.approx(actual, rel=0.04)
    assert found.constants["chinchilla"]["alpha"] == pytest.approx(0.35, abs=0.05)


@slow
@given(order=st.permutations(range(6)))
def test_the_order_of_rows_is_irrelevant(order):
    table = ladder(truth)
    shuffled = table.iloc[list(order)].reset_index(drop=True)
    one, other = forecast(table, GOAL).table, forecast(shuffled, GOAL).table
    pd.testing.assert_frame_equal(one, other)


@slow
@given(compute=st.sampled_from([1e-15, 86400e15, 7.0]), nats=st.sampled_from([1.4427, 0.3]))
def test_units_of_compute_and_loss_change_only_the_units(compute, nats):
    table = ladder(truth)
    scaled = table.assign(flops=table["flops"] * compute, loss=table["loss"] * nats)
    one = forecast(table, GOAL).table[QUANTILES]
    other = forecast(scaled, GOAL * compute).table[QUANTILES]
    assert other.to_numpy() / nats == pytest.approx(one.to_numpy(), rel=1e-5)


def test_exact_duplicates_count_once_and_are_mentioned():
    table = ladder(truth)
    twice = pd.concat([table, table.iloc[[0, 4]]], ignore_index=True)
    found = forecast(twice, GOAL)
    pd.testing.assert_frame_equal(found.table, forecast(table, GOAL).table)
    assert any("2 exact duplicate" in note for note in found.cautions)


def test_the_same_seed_gives_the_same_bits():
    table = ladder(truth)
    assert np.array_equal(forecast(table, GOAL, seed=3).draws, forecast(table, GOAL, seed=3).draws)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -2.0, "4.4 nats"])
def test_bad_losses_are_named_not_dropped(bad):
    table = ladder(truth).astype({"loss": object})
    table.loc[2, "loss"] = bad
    with pytest.raises(ValueError, match=r"row 2 \(run r2\): loss"):
        forecast(table, GOAL)


def test_bad_targets_are_named():
    with pytest.raises(ValueError, match="row 1: flops"):
        forecast(ladder(truth), pd.DataFrame({"flops": [1e13, -1.0]}))
    with pytest.raises(ValueError, match="at least one target"):
        forecast(ladder(truth), GOAL.iloc[:0])


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_runs_are_refused(rows):
    with pytest.raises(FitError) as refusal:
        forecast(ladder(truth, seeds=1).iloc[:rows], GOAL)
    assert refusal.value.name == "too_few_runs"


def test_one_line_of_sizes_is_a_caution_not_a_silent_chinchilla():
    runs, _, goal = full_tables()
    found = forecast_column(runs, pd.DataFrame([goal]), loss="loss_text")
    assert "chinchilla" not in found.weights
    assert any("do not vary apart" in note for note in found.cautions)


def test_two_sizes_do_not_make_a_law_in_sizes_and_few_runs_are_a_caution():
    table = chinchilla_table(noise=0.002)
    sizes = np.sort(table["n_active"].unique())
    two = table[table["n_active"].isin(sizes[:1]) | (table.index == table.index[-1])]
    for runs in (two, table[table["n_active"].isin(sizes[[0, -1]])]):
        with pytest.raises(FitError):
            forecast(runs.assign(role="grid"), PLANE_GOAL)
    notes = forecast(ladder(truth, seeds=1), GOAL).cautions
    assert any("only 3 runs" in note for note in notes)
    six = forecast(ladder(truth, SIX, seeds=1), GOAL).cautions
    assert not any("such forecasts" in note for note in six)


def test_a_target_unlike_every_run_in_tokens_per_parameter_is_told():
    table = chinchilla_table(noise=0.002)
    most = float((table["tokens"] / table["n_active"]).max())
    for times, told in ((1.2, False), (3.0, True)):
        n, tokens = 1e9, 1e9 * times * most
        goal = pd.DataFrame({"flops": [6 * n * tokens], "n_active": [n], "tokens": [tokens]})
        notes = forecast(table, goal).cautions
        assert any("tokens per parameter lie beyond the runs'" in note for note in notes) == told


def test_one_diverged_run_three_times_too_high_is_survived():
    table = ladder(lambda x: 1.5 + 90 * x**-0.14, SIX, seeds=3)
    clean = forecast(table, GOAL).table.iloc[0]
    table.loc[7, "loss"] *= 3
    wild = forecast(table, GOAL).table.iloc[0]
    assert wild["lo90"] < clean["median"] < wild["hi90"]
    assert wild["median"] == pytest.approx(clean["median"], rel=0.1)


PLANE_GOAL = pd.DataFrame({"flops": [6 * 4e9 * 4e11], "n_active": [4e9], "tokens": [4e11]})


def test_a_grid_without_a_nominal_ladder_is_left_to_chinchilla():
    table = chinchilla_table(noise=0.002).assign(role="grid")
    found = forecast(table, PLANE_GOAL)
    actual = 1.8 + 480 * 4e9**-0.35 + 2100 * 4e11**-0.37
    assert "chinchilla" in found.weights and "power" not in found.weights
    assert found.table["lo90"][0] < actual < found.table["hi90"][0]
    assert found.naive["last_rung"] > actual and found.left_out.empty
    assert any("no law in compute alone" in note for note in found.cautions)


def test_a_grid_that_is_no_plane_is_refused_with_its_reasons():
    table = chinchilla_table().assign(role="grid")
    for runs, goal in ((table.head(5), PLANE_GOAL), (table, GOAL)):
        with pytest.raises(FitError) as refusal:
            forecast(runs, goal)
        assert refusal.value.name == "all_screened" and "role is grid" in str(refusal.value)
        assert len(refusal.value.left_out) == len(runs)


def test_a_run_is_used_or_left_out_and_never_both():
    table = chinchilla_table(noise=0.002)
    found = forecast(table, PLANE_GOAL)
    assert not set(found.runs_used) & set(found.left_out["run_id"])
    assert set(found.runs_used) == {f"row {i}" for i in range(len(table))}
    bare = forecast(table, PLANE_GOAL[["flops"]])  # no sizes, so no Chinchilla and no plane
    assert "chinchilla" not in bare.weights and len(bare.runs_used) < len(table)


def test_a_refusal_prints_numbers_that_people_read():
    with pytest.raises(FitError, match=r"26,000,000x beyond a ladder of 6\.25x"):
        forecast(ladder(truth), pd.DataFrame({"flops": [1.3e19]}))


def test_a_flattening_curve_is_a_remark_and_a_steepening_one_a_caution():
    flat = bend(observe(ladder(lambda x: 1.5 + 9e3 * x**-0.4, noise=1e-4)), NOISE)
    steep = bend(observe(ladder(lambda x: 3 - 1e-3 * (x / 1e9) ** 0.8, noise=1e-4)), NOISE)
    assert flat is not None and is_neutral(flat)
    assert steep is not None and not is_neutral(steep)


def test_screened_runs_come_with_the_refusal():
    with pytest.raises(FitError) as refusal:
        forecast(ladder(truth).assign(steps=10), GOAL)
    assert refusal.value.name == "all_screened" and len(refusal.value.left_out) == 6


def test_a_near_target_is_answered_though_another_lies_out_of_reach():
    table = ladder(truth, SIX)
    both = forecast(table, pd.DataFrame({"flops": [1e19, 1.3e13]}))
    assert np.isnan(both.table["median"][0]) and both.table["flops"].tolist() == [1e19, 1.3e13]
    assert both.table["median"][1] == pytest.approx(forecast(table, GOAL).table["median"][0])
    assert any("extrapolation_too_far" in note for note in both.cautions)


def test_a_target_far_below_the_ladder_is_in_another_unit():
    with pytest.raises(FitError, match="same unit"):
        forecast(ladder(truth, SIX), pd.DataFrame({"flops": [1.3e-2]}))


def test_targets_that_know_unlike_columns_are_forecast_apart():
    table = chinchilla_table(noise=0.002)
    goals = pd.concat([PLANE_GOAL, PLANE_GOAL[["flops"]]], ignore_index=True)
    together, alone = forecast(table, goals).table, forecast(table, PLANE_GOAL).table
    assert together["median"][0] == pytest.approx(alone["median"][0])
    assert together["median"][1] != pytest.approx(alone["median"][0], rel=1e-4)


@given(order=st.permutations(range(4)))
def test_the_order_of_targets_does_not_change_their_kinds(order):
    """20 tokens per parameter are within 1.5 of 14 and of 29, which are not of one kind."""
    ratios = np.array([20.0, 14.0, 29.0, 30.0])
    goals = pd.DataFrame({"n_active": 2e9, "tokens": 2e9 * ratios, "flops": 2.4e19 * ratios})
    found = kinds(goals.iloc[list(order)].reset_index(drop=True))
    assert {frozenset(order[i] for i in rows) for rows, _ in found} == {
        frozenset({0, 1}), frozenset({2, 3}),
    }  # fmt: skip


def test_a_target_far_off_the_one_line_of_runs_gets_a_caution_and_farther_a_refusal():
    n = np.geomspace(1e7, 1e9, 9)
    line = pd.DataFrame({"n_active": n, "tokens": 20 * n, "flops": 120 * n**2})
    line["loss"] = 1.8 + 480 * n**-0.35 + 2100 * (20 * n) ** -0.37
    near = pd.DataFrame({"n_active": [4e9], "tokens": [4e11], "flops": [24e20 * 4]})
    assert any("5x off the line" in note for note in forecast(line, near).cautions)
    with pytest.raises(FitError) as refusal:
        forecast(line, near.assign(tokens=1.0))
    assert refusal.value.name == "all_screened"


def test_where_no_seeds_are_known_a_target_scatters_as_the_runs_do():
    noisy = ladder(truth, np.geomspace(1e10, 1e13, 12), seeds=1, noise=0.02)
    smooth = ladder(truth, np.geomspace(1e10, 1e13, 12), seeds=1, noise=0.001)
    near = pd.DataFrame({"flops": [1.1e13]})
    wide, narrow = (forecast(t, near).table.iloc[0] for t in (noisy, smooth))
    assert wide["hi90"] - wide["lo90"] > 2 * (narrow["hi90"] - narrow["lo90"])


def test_each_law_scatters_the_target_as_its_own_runs_do():
    """Twenty runs of odd recipes that scatter by 5 % do not widen what the clean ladder says."""
    rng = np.random.default_rng(0)
    clean = chinchilla_table(noise=0.002)
    odd = clean.assign(loss=clean["loss"] * np.exp(0.05 * rng.standard_normal(len(clean))))
    where = Points(flops=np.array([1e21]), n=np.array([2.9e9]), tokens=np.array([5.7e10]))
    power = fit_drifting_power(observe(ladder(truth, SIX)), NOISE)
    sizes = fit_drifting_sizes(observe(odd), where, NOISE)
    assert sizes.scatter() > 5 * power.scatter()
    alone, beside = (one_more(law, NOISE) for law in (power, sizes))
    assert alone == NOISE.sd * power.scatter() and beside > 5 * alone


def test_experts_unlike_the_target_are_left_out_by_name():
    dense = ladder(truth, SIX).assign(n_experts=1)
    routed = ladder(lambda c: 0.8 * truth(c), SIX).assign(n_experts=8)
    table = pd.concat([dense, routed], ignore_index=True)
    table["run_id"] = [f"run {i}" for i in range(len(table))]
    found = forecast(table, GOAL.assign(n_experts=8))
    assert found.table["median"][0] == pytest.approx(0.8 * truth(1.3e13), rel=0.03)
    assert (found.left_out["reason"] == "n_experts is not the target's 8").sum() == len(dense)


def test_a_target_whose_compute_contradicts_its_sizes_is_named():
    table = chinchilla_table(noise=0.003)
    goal = pd.DataFrame({"flops": [6e20], "n_active": [1e9], "tokens": [1e11]})
    assert not any("check the target" in note for note in forecast(table, goal).cautions)
    strange = forecast(table, goal.assign(flops=2.4e21)).cautions
    assert any("flops are 24 n_active * tokens, the runs' are 6 to 6" in note for note in strange)


def test_a_heavy_run_draws_the_law_in_compute_and_weights_have_no_unit():
    runs = ladder(truth, SIX, seeds=2)
    runs.loc[0, "loss"] *= 1.05
    plain, light, heavy = (
        forecast(runs.assign(weight=[w] + [1.0] * 11), GOAL).table["median"][0]
        for w in (1.0, 0.01, 50.0)
    )
    twice = forecast(runs.assign(weight=[0.02] + [2.0] * 11), GOAL).table["median"][0]
    assert twice == pytest.approx(light, rel=1e-6)
    assert abs(light - plain) > 1e-4 and (light - plain) * (plain - heavy) > 0
