"""Diagnostics: each unflattering fact is said, and only where it is so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pandas as pd
import pytest

from reports.content import compute_content
from reports.inputs import ReportInputs


def said(inputs: ReportInputs) -> str:
    return "\n".join(text for _, text in compute_content(inputs).findings)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("restarts", 1, "went on after an interruption"),
        ("annealed", False, "before the learning rate had decayed"),
        ("unembedding_share", 0.7, "more than half of the compute (at most 70"),
        ("dead_experts", 3.0, "experts that no token chose (at most 3"),
        ("router_entropy", 0.2, "lean on few experts"),
        ("epochs_sympy", 4.0, "sympy: seen 4.00 times over"),
        ("bigram_code", 0.5, "no better than counting pairs"),
        ("status", "diverged", "diverged: not in any fit"),
    ],
)
def test_a_fault_in_the_runs_is_named(
    demo: ReportInputs, column: str, value: object, words: str
) -> None:
    clean = demo.runs.assign(
        unembedding_share=0.2, dead_experts=0.0, router_entropy=0.97, epochs_sympy=0.5
    )
    healthy = dataclasses.replace(demo, runs=clean)
    assert words not in said(healthy)
    assert words in said(dataclasses.replace(demo, runs=clean.assign(**{column: value})))


def test_router_entropy_is_read_as_the_share_it_is(demo: ReportInputs) -> None:
    even = dataclasses.replace(demo, runs=demo.runs.assign(router_entropy=0.97, n_experts=8))
    assert "Router entropy is at least 97" in said(even)
    assert "lean on few experts" not in said(even)
    faint = dataclasses.replace(demo, runs=demo.runs.assign(router_entropy=0.79, n_experts=8))
    assert "some routers lean on few experts" in said(faint)
    nats = dataclasses.replace(demo, runs=demo.runs.assign(router_entropy=2.05))
    assert "Router entropy" not in said(nats)


def test_tokens_per_parameter_are_compared_over_ladder_and_target_alone(
    demo: ReportInputs,
) -> None:
    off = demo.runs.iloc[[0]].assign(run_id="off", tokens_per_param=90.0)
    for role, words in (("grid", False), ("twin", False), ("ladder", True), ("target", True)):
        runs = pd.concat([demo.runs, off.assign(role=role)], ignore_index=True)
        text = said(dataclasses.replace(demo, runs=runs))
        assert ("Tokens per parameter run from" in text) == words


def test_a_remark_of_the_fit_is_no_finding_against_it(demo: ReportInputs) -> None:
    remark = "the curve flattens with compute (convex in log-log), as with a floor"
    headline = demo.headline
    loss = dataclasses.replace(headline.loss, cautions=(remark, "the floor rests on one rung"))
    told = dataclasses.replace(
        demo, predictions=(dataclasses.replace(headline, loss=loss), *demo.predictions[1:])
    )
    found = {text: weight for weight, text in compute_content(told).findings}
    assert next(w for t, w in found.items() if "flattens" in t) == "note"
    assert (
        next(w for t, w in found.items() if t.startswith("every prediction: the floor rests"))
        == "against"
    )


def test_mixed_model_code_is_named(demo: ReportInputs) -> None:
    runs = demo.runs.assign(model_source=["a", *["b"] * (len(demo.runs) - 1)])
    assert "2 versions of the model code: a and b" in said(dataclasses.replace(demo, runs=runs))
    assert "versions of the model code" not in said(demo)


def test_seed_noise_is_measured_or_its_absence_said(demo: ReportInputs) -> None:
    assert "Runs that differ by seed alone spread by" in said(demo)
    single = demo.runs.drop_duplicates("flops")
    alone = dataclasses.replace(demo, runs=single)
    assert "No rung was trained with two seeds" in said(alone)


def with_runs(inputs: ReportInputs, **columns: object) -> str:
    return said(dataclasses.replace(inputs, runs=inputs.runs.assign(**columns)))


def test_a_failed_twin_is_no_second_seed(outside: Callable[..., ReportInputs]) -> None:
    inputs = outside(4)
    flops = [1e18, 1e18, 1e19, 1e20]
    assert "seed alone spread by" in with_runs(inputs, flops=flops)
    status = ["finished", "failed", "finished", "finished"]
    assert "seed alone spread by" not in with_runs(inputs, flops=flops, status=status)


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_active": [1e8, 2e8, 1e8, 1e8], "tokens": [2e9, 1e9, 2e9, 2e9]},
        {"n_active": [1e8, 2e8, 1e8, 1e8]},
        {"n_active": [1e8, None, 1e8, 1e8]},
        {"tokens": [2e9, 1e9, 2e9, 2e9]},
        {"n_total": [1e8, 2e8, 1e8, 1e8]},
        {"n_experts": [1, 8, 1, 1]},
    ],
)
def test_sizes_of_one_budget_are_no_seeds(
    outside: Callable[..., ReportInputs], sizes: dict[str, list[float]]
) -> None:
    inputs = outside(4)
    flops = [1e18, 1e18, 1e19, 1e20]
    assert "seed alone spread by" not in with_runs(inputs, flops=flops, **sizes)
    same = {name: [values[0]] * 4 for name, values in sizes.items()}
    assert "seed alone spread by" in with_runs(inputs, flops=flops, **same)


def test_a_row_given_twice_is_no_second_seed(outside: Callable[..., ReportInputs]) -> None:
    inputs = outside(4)
    twice = pd.concat([inputs.runs, inputs.runs], ignore_index=True)
    assert "seed alone spread by" not in said(dataclasses.replace(inputs, runs=twice))


def test_what_is_true_of_every_prediction_is_said_once(demo: ReportInputs) -> None:
    words = "no two runs differ by seed alone: seed noise is the prior's 0.3 %"
    first, second = demo.predictions
    told, other = (
        dataclasses.replace(item, loss=dataclasses.replace(item.loss, cautions=(words,)))
        for item in (first, second)
    )
    runs = demo.runs.drop_duplicates("flops")
    both = said(dataclasses.replace(demo, runs=runs, predictions=(told, other)))
    assert both.count("seed alone") == 1 and f"every prediction: {words}." in both
    assert "was trained with two seeds" not in both
    one = said(dataclasses.replace(demo, runs=runs, predictions=(told, second)))
    assert f"x30: {words}." in one and "every prediction: no two" not in one
    third = dataclasses.replace(second, name="x2000")
    some = said(dataclasses.replace(demo, runs=runs, predictions=(told, other, third)))
    assert f"x30; x1000: {words}." in some


def test_what_speaks_against_stands_first(demo: ReportInputs) -> None:
    weights = [weight for weight, _ in compute_content(demo).findings]
    assert weights == sorted(weights)
    assert {"against", "note"} == set(weights)


def test_refusals_cautions_overlap_and_notes_are_all_said(demo: ReportInputs) -> None:
    text = said(dataclasses.replace(demo, notes=("a note of the one who ran it",)))
    assert "d3-rare refused as no_passes" in text
    assert "the floor rests on one rung" in text
    assert "sympy: 1.31" in text and "botocore: 0.80" not in text
    assert "a note of the one who ran it" in text
