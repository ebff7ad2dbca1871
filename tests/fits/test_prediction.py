import json
import time

import numpy as np
import pandas as pd
import pytest
from ladders import PARTS, full_tables

from fits.predictions.estimate import Estimate
from fits.predictions.prediction import Prediction, allowed_runs, predict_target
from fits.uncertainty.quantiles import comonotone

WEIGHTS = {part: 1 / 3 for part in PARTS}


@pytest.fixture(scope="module")
def tables():
    return full_tables()


@pytest.fixture(scope="module")
def prediction(tables):
    runs, samples, goal = tables
    return predict_target(runs, samples, goal, ratio=25, loss_weights=WEIGHTS)


def test_everything_is_predicted_and_holds_the_truth(prediction):
    actual = {p: floor + a * 2e13**-b for p, (a, b, floor) in PARTS.items()}
    assert prediction.loss.lo90 < np.mean(list(actual.values())) < prediction.loss.hi90
    for part, value in actual.items():
        assert prediction.parts[part].lo90 < value < prediction.parts[part].hi90
    assert set(prediction.buckets) == {"d1-top", "d2-mid"}
    assert 0 < prediction.pass_rate.lo90 < prediction.pass_rate.hi90 < 1
    assert prediction.compute_ratio == pytest.approx(2e13 / 7e11)
    assert prediction.name == "x25"


def test_the_headline_is_the_mean_of_its_parts_at_every_quantile(prediction):
    for level in ("lo90", "lo50", "median", "hi50", "hi90"):
        mean = np.mean([getattr(e, level) for e in prediction.parts.values()])
        assert getattr(prediction.loss, level) == pytest.approx(mean, rel=1e-9)


def test_bands_and_conventions_and_naive_guesses_are_there(prediction):
    band = prediction.loss.band
    assert band[0]["flops"] == pytest.approx(8e10) and band[-1]["flops"] == pytest.approx(2e13)
    assert all(r["lo90"] <= r["lo50"] <= r["median"] <= r["hi50"] <= r["hi90"] for r in band)
    ways = {"flops", "flops_6nd", "without_unembedding", "n_total"}
    assert set(prediction.loss.conventions) == ways
    assert prediction.loss.conventions["flops"] == prediction.loss.median
    assert prediction.loss.naive["last_rung"] > prediction.loss.naive["last_two_rungs"]


def test_json_and_back_is_identity(prediction):
    text = prediction.to_json()
    assert Prediction.from_json(text) == prediction
    assert Prediction.from_json(text).to_json() == text
    with pytest.raises(ValueError, match="unknown key 'extra'"):
        Prediction.from_json(json.dumps(json.loads(text) | {"extra": 1}))
    with pytest.raises(ValueError, match="schema is 2"):
        Prediction.from_json(json.dumps(json.loads(text) | {"schema": 2}))
    old = json.loads(text)
    old["ratio"] = old.pop("ratio_asked")  # as the first ledgers have it
    assert Prediction.from_json(json.dumps(old)) == Prediction.from_json(text)
    missing = {k: v for k, v in json.loads(text).items() if k != "loss"}
    with pytest.raises(ValueError, match="'loss' is missing"):
        Prediction.from_json(json.dumps(missing))


def test_row_order_changes_neither_numbers_nor_hash(tables, prediction):
    runs, samples, goal = tables
    other = predict_target(
        runs.iloc[::-1], samples.sample(frac=1, random_state=1), goal, ratio=25,
        loss_weights=WEIGHTS,
    )  # fmt: skip
    assert other.inputs_hash == prediction.inputs_hash
    assert other.loss.median == pytest.approx(prediction.loss.median, rel=1e-9)
    assert other.pass_rate.hi90 == pytest.approx(prediction.pass_rate.hi90, rel=1e-6)


def test_only_small_finished_ladder_runs_are_used(tables, prediction):
    runs, samples, goal = tables
    more = pd.concat([
        runs,
        runs.tail(1).assign(run_id="too_large", flops=5e12, loss_text=0.1),
        runs.tail(1).assign(run_id="a_target", role="target", loss_text=0.1),
        runs.tail(1).assign(run_id="wild", status="diverged", loss_text=np.nan),
    ], ignore_index=True)  # fmt: skip
    found = predict_target(more, samples, goal, ratio=25, loss_weights=WEIGHTS)
    assert found.loss.median == prediction.loss.median
    assert found.loss.left_out[0]["run_id"] == "wild"
    assert found.cautions == ("1 ladder run(s) diverged",)


def at_the_limit(runs: pd.DataFrame, excess: float, **fields) -> pd.DataFrame:
    """The ladder and one more run that much above 2e13 / 25 FLOPs."""
    extra = runs.tail(1).assign(run_id="edge", flops=2e13 / 25 * (1 + excess), **fields)
    return pd.concat([runs, extra], ignore_index=True)


@pytest.mark.parametrize(
    ("excess", "used", "named"),
    [(-0.009, True, False), (0.009, True, False), (0.03, False, True), (0.07, False, False)],
)
def test_a_rung_at_the_limit_is_no_coin_flip_of_counting(tables, excess, used, named):
    runs, _, goal = tables
    kept, beyond = allowed_runs(at_the_limit(runs, excess), goal, 25)
    assert ("edge" in set(kept["run_id"])) == used
    assert [row["run_id"] for row in beyond] == (["edge"] if named else [])


@pytest.mark.parametrize(
    ("budget", "excess", "used", "named"),
    [(8e11, 0.025, True, False), (8.2e11, 0.0, False, True), (1.6e12, 0.0, False, False)],
)
def test_budgets_decide_where_run_and_target_have_one(tables, budget, excess, used, named):
    runs, _, goal = tables
    table = at_the_limit(runs.assign(budget=np.nan), excess, budget=budget)
    kept, beyond = allowed_runs(table, goal | {"budget": 2e13}, 25)
    assert ("edge" in set(kept["run_id"])) == used
    assert [row["run_id"] for row in beyond] == (["edge"] if named else [])
    assert len(kept) == len(runs) + used  # rows without a budget go by their counted compute


def test_a_run_just_above_the_limit_is_listed_with_the_reason(tables):
    runs, _, goal = tables
    found = predict_target(at_the_limit(runs, 0.03), None, goal, ratio=25, loss_weights=WEIGHTS)
    assert "edge" not in found.loss.runs_used
    reason = {row["run_id"]: row["reason"] for row in found.loss.left_out}["edge"]
    assert reason == "3.0 % above the limit of 8e+11 FLOPs"


def test_grid_runs_stay_out_of_laws_in_compute_and_a_blank_role_is_ladder(tables):
    runs, samples, goal = tables
    grid = pd.concat([
        runs.assign(
            role="grid", run_id=runs["run_id"] + f"x{m:g}", n_active=runs["n_active"] / m,
            tokens=runs["tokens"] * m, **{f"loss_{p}": 1.1 * runs[f"loss_{p}"] for p in PARTS},
        )
        for m in (1.7, 4)
    ])  # fmt: skip
    more = pd.concat([runs.assign(role=["", None] * 4), grid], ignore_index=True)
    off = samples.assign(run_id=samples["run_id"] + "x1.7", role="grid", n_passed=16)
    graded = pd.concat([samples.assign(role=""), off], ignore_index=True)
    plain = predict_target(runs, samples, goal, ratio=25, loss_weights=WEIGHTS)
    found = predict_target(more, graded, goal, ratio=25, loss_weights=WEIGHTS)
    assert "r0s0x4" in set(allowed_runs(more, goal, 25)[0]["run_id"])  # Chinchilla may see them
    assert found.parts["text"].median == plain.parts["text"].median
    reasons = {row["run_id"]: row["reason"] for row in found.parts["text"].left_out}
    assert reasons["r0s0x1.7"] == "role is grid: off the nominal tokens per parameter"
    assert found.pass_rate.median == plain.pass_rate.median
    assert set(found.pass_rate.runs_used) == set(runs["run_id"])


def test_a_ladder_without_small_enough_runs_says_so(tables):
    runs, _, goal = tables
    found = predict_target(runs, None, goal, ratio=1000, loss_weights=WEIGHTS)
    for estimate in (found.loss, *found.parts.values()):
        assert estimate.refused == "too_few_runs"
        assert "of 8 runs none at or below 2e+10 FLOPs" in estimate.reason


def test_each_source_has_its_own_limit_of_epochs(tables):
    runs, samples, goal = tables
    seen = runs.assign(epochs_prose=0.4, epochs_programs=2.9)
    once = predict_target(seen, samples, goal, ratio=25, loss_weights=WEIGHTS)
    assert once.loss.refused == "all_screened" and once.pass_rate.refused == "no_samples"
    limits = {"programs": 3.0}
    found = predict_target(
        seen, samples, goal, ratio=25, loss_weights=WEIGHTS, max_epochs=limits
    )  # fmt: skip
    plain = predict_target(runs, samples, goal, ratio=25, loss_weights=WEIGHTS)
    assert found.loss.median == plain.loss.median
    assert found.pass_rate.median == plain.pass_rate.median


def test_passes_are_screened_by_the_targets_tokens_per_parameter(tables):
    runs, samples, goal = tables
    off = runs.index[runs["run_id"] == "r3s1"]
    more = runs.copy()
    more.loc[more.index != off[0], "tokens"] *= 1.9  # the median of the runs is not the nominal
    more.loc[off, "tokens"] *= 0.7
    found = predict_target(more, samples, goal, ratio=25, loss_weights=WEIGHTS)
    assert (
        set(found.pass_rate.runs_used) == set(found.parts["text"].runs_used) == set(runs["run_id"])
    )


def test_a_target_out_of_reach_is_refused_everywhere_by_name(tables):
    runs, samples, goal = tables
    far = predict_target(runs, samples, goal | {"flops": 1e16}, ratio=1000, loss_weights=WEIGHTS)
    assert far.loss.refused == "extrapolation_too_far" and far.loss.reason
    assert {e.refused for e in far.parts.values()} == {"extrapolation_too_far"}
    assert far.pass_rate.refused == "extrapolation_too_far" and far.compute_ratio is None
    empty = predict_target(runs, samples, goal, ratio=1000, loss_weights=WEIGHTS)
    assert empty.loss.refused == "too_few_runs" and empty.pass_rate.refused == "no_samples"
    assert {e.refused for e in empty.parts.values()} == {"too_few_runs"}
    assert Prediction.from_json(empty.to_json()) == empty


def test_a_heavy_part_that_refuses_takes_the_headline_along(tables):
    runs, _, goal = tables
    flat = runs.assign(loss_text=4.0)
    flat["loss"] = flat[[f"loss_{p}" for p in PARTS]].mean(axis=1)
    flat["bigram_text"] = flat["trigram_text"] = np.nan
    heavy = predict_target(flat, None, goal, ratio=25, loss_weights=WEIGHTS)
    assert heavy.loss.refused == "not_decreasing" and "text carries" in heavy.loss.reason
    light = {"text": 0.05, "code": 0.5, "tasks": 0.45}
    flat["loss"] = sum(w * flat[f"loss_{p}"] for p, w in light.items())
    found = predict_target(flat, None, goal, ratio=25, loss_weights=light)
    assert found.parts["text"].refused == "not_decreasing" and found.loss.median is not None
    assert any("text refused; it enters as anything" in note for note in found.loss.cautions)
    for level, share in (("lo90", 0.05), ("median", 0.5), ("hi90", 0.95)):  # uniform on [0, 4]
        others = sum(light[p] * getattr(found.parts[p], level) for p in ("code", "tasks"))
        assert getattr(found.loss, level) == pytest.approx(others + 0.05 * 4 * share, rel=1e-3)
    assert found.pass_rate.refused == "no_samples"


def test_a_bucket_without_passes_is_pooled_not_forgotten(tables):
    runs, samples, goal = tables
    silent = samples.copy()
    silent.loc[silent["bucket"] == "d2-mid", "n_passed"] = 0
    found = predict_target(runs, silent, goal, ratio=25, loss_weights=WEIGHTS)
    assert found.buckets["d2-mid"].refused == "no_passes"
    assert found.pass_rate.median < found.buckets["d1-top"].median
    assert any("pooled" in note for note in found.pass_rate.cautions)


def test_an_outside_table_needs_only_flops_and_loss():
    bare = full_tables()[0][["flops", "loss"]]
    found = predict_target(bare, None, {"flops": 1e13}, ratio=10, loss_weights={})
    assert found.loss.median is not None and found.parts == {}
    assert found.compute_ratio == pytest.approx(1e13 / 7e11)


@pytest.mark.parametrize("flops", [None, -1.0, float("nan"), "1e13"])
def test_a_target_without_compute_is_the_callers_mistake(tables, flops):
    with pytest.raises(ValueError, match="target flops"):
        predict_target(tables[0], None, {"flops": flops}, ratio=30, loss_weights=WEIGHTS)


def test_an_estimate_is_ordered_or_refused():
    with pytest.raises(ValueError, match="ascending"):
        Estimate(median=1.0, lo50=1.1, hi50=1.2, lo90=0.8, hi90=1.3)
    with pytest.raises(ValueError, match="refusal"):
        Estimate()


def test_comonotone_parts_do_not_average_out():
    rng = np.random.default_rng(0)
    draws = [rng.standard_normal((4000, 1)) for _ in range(4)]
    assert comonotone(draws, [1, 1, 1, 1]).std() == pytest.approx(1, rel=0.05)


def test_a_whole_prediction_takes_seconds(tables):
    runs, samples, goal = tables
    begin = time.process_time()
    predict_target(runs, samples, goal, ratio=25, loss_weights=WEIGHTS)
    assert time.process_time() - begin < 10
