import numpy as np
import pytest
from ladders import full_tables

from fits.observations import FitError
from fits.passes.passrate import forecast_passes

GOAL = 2e13


def one_bucket(seed: int = 0, bucket: str = "d2-mid"):
    samples = full_tables(seed)[1]
    return samples[samples["bucket"] == bucket]


def actual(level: float = 1.6) -> float:
    hard = level * np.exp(0.3 * np.sin(7.7 * np.arange(24))) * (GOAL / 1e12) ** -0.3
    return float(np.exp(-hard).mean())


def test_intervals_hold_the_planted_rate():
    hits = 0
    for seed in range(10):
        row = forecast_passes(one_bucket(seed), GOAL).table.iloc[0]
        assert 0 <= row["lo90"] < row["median"] < row["hi90"] <= 1
        hits += bool(row["lo90"] < actual() < row["hi90"])
    assert hits >= 8


def test_both_predictors_are_weighed_and_gold_needs_likelihoods():
    found = forecast_passes(one_bucket(), GOAL)
    assert set(found.weights) == {"direct", "gold"}
    assert found.constants["direct"]["k"] == pytest.approx(0.3, abs=0.12)
    alone = forecast_passes(one_bucket().drop(columns="gold_nll"), GOAL)
    assert set(alone.weights) == {"direct"} and "no second predictor" in alone.cautions[0]


def test_beyond_the_rungs_no_rate_falls_again():
    found = forecast_passes(one_bucket(), GOAL)
    last = found.naive["last_rung"]
    assert last is not None and found.curve["lo90"].iloc[-1] > 0.8 * last
    assert found.naive["last_two_rungs"] > last


def test_row_order_does_not_matter():
    rows = one_bucket()
    a, b = forecast_passes(rows, GOAL).table, forecast_passes(rows.iloc[::-1], GOAL).table
    assert a.to_numpy() == pytest.approx(b.to_numpy(), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda r: r.assign(n_passed=0), "no_passes"),
        (lambda r: r.assign(n_passed=16), "saturated"),
        (lambda r: r[r["flops"] < 3e11], "too_few_rungs"),
        (lambda r: r.assign(flops=r["flops"].max() ** 2 / r["flops"]), "not_increasing"),
        (lambda r: r.assign(flops=r["flops"] ** 0.4 * 1e7), "too_little_span"),
        (lambda r: r.iloc[:0], "no_samples"),
    ],
)
def test_refusals_have_names(change, name):
    with pytest.raises(FitError) as refusal:
        forecast_passes(change(one_bucket()), GOAL)
    assert refusal.value.name == name


def test_an_interval_may_reach_a_rate_of_nought():
    rows = one_bucket()
    rare = rows.assign(n_samples=1, n_passed=0)
    largest = rare["flops"] == rare["flops"].max()
    middle = rare["flops"] == sorted(set(rare["flops"]))[-2]
    problems = sorted(set(rare["problem"]))
    rare.loc[largest & rare["problem"].isin(problems[:2]), "n_passed"] = 1
    rare.loc[middle & rare["problem"].isin(problems[:1]), "n_passed"] = 1
    found = forecast_passes(rare.drop(columns="gold_nll"), 8e11)
    assert found.table["lo90"].iloc[0] == 0
    steps = found.draws * 24  # problems of one sample each: measured rates are whole counts
    assert np.allclose(steps, np.round(steps))


def test_a_refusal_prints_numbers_that_people_read():
    with pytest.raises(FitError, match=r"the target is 14,300x beyond rungs spanning 8\.75x"):
        forecast_passes(one_bucket(), 1e16)


def test_a_target_too_far_is_refused():
    with pytest.raises(FitError) as refusal:
        forecast_passes(one_bucket(), 1e16)
    assert refusal.value.name == "extrapolation_too_far"
