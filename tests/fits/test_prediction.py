import json
import time

import numpy as np
import pandas as pd
import pytest
from ladders import PARTS, full_tables

from fits.estimate import Estimate
from fits.prediction import Prediction, predict_target
from fits.quantiles import comonotone

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
    assert any("parts refused: text" in note for note in found.loss.cautions)
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
