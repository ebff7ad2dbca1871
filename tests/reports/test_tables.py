"""Figure tables: pure, complete, and honest about what was not measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reports.build import page_sources
from reports.content import compute_content
from reports.figures.forecast import limits
from reports.inputs import ReportInputs
from reports.run_tables import cost_table, left_out_table, setup_table, wall_table
from reports.tables import (
    curve_table,
    forecast_table,
    pass_table,
    residual_table,
    wilson,
)


def forecast(inputs: ReportInputs) -> pd.DataFrame:
    return forecast_table(
        inputs.runs,
        {item.name: item.loss for item in inputs.predictions},
        "loss",
        actual=inputs.actual,
        target_flops=inputs.headline.target["flops"],
    )


def test_the_forecast_marks_every_run_once(demo: ReportInputs) -> None:
    table = forecast(demo)
    marks = table["mark"].value_counts()
    ladder = int((demo.runs["role"] != "target").sum())
    assert marks["used"] + marks.get("unused", 0) + marks["left_out"] == ladder
    assert marks["actual"] == 1
    assert marks["interval"] == 2


def test_each_prediction_stands_at_its_own_target(demo: ReportInputs) -> None:
    names = [item.name for item in demo.predictions]
    table = forecast_table(
        demo.runs,
        {item.name: item.loss for item in demo.predictions},
        "loss",
        actual=None,
        target_flops=1e13,
        targets={names[1]: {"flops": 3e12}},
    )
    marks = table[table["mark"] == "interval"]
    assert dict(zip(marks["prediction"], marks["flops"], strict=True)) == {
        names[0]: 1e13,
        names[1]: 3e12,
    }


def test_runs_know_which_prediction_used_them(demo: ReportInputs) -> None:
    table = forecast(demo)
    used = table[table["mark"] == "used"]
    small = sum("x1000" in by for by in used["used_by"])
    assert small == len(demo.predictions[1].loss.runs_used)
    assert 0 < small < len(used)


def test_runs_of_another_table_are_not_drawn_as_used(demo: ReportInputs) -> None:
    foreign = demo.runs.assign(run_id=[f"other-{i}" for i in range(len(demo.runs))])
    marks = forecast(dataclasses.replace(demo, runs=foreign))["mark"]
    assert "used" not in set(marks) and (marks == "unused").sum() == len(foreign) - 1
    bare = demo.runs.drop(columns="run_id")
    assert "used" not in set(forecast(dataclasses.replace(demo, runs=bare))["mark"])


def test_a_table_without_ids_goes_by_its_rows(outside: Callable[..., ReportInputs]) -> None:
    inputs = outside(6)
    assert (forecast(inputs)["mark"] == "used").sum() == 6  # nothing said which: all of them
    headline = inputs.headline
    some = dataclasses.replace(headline.loss, runs_used=("row 1", "row 4"))
    told = dataclasses.replace(
        inputs, predictions=(dataclasses.replace(headline, loss=some),)
    )  # fmt: skip
    table = forecast(told)
    assert set(table[table["mark"] == "used"]["flops"]) == set(told.runs["flops"].iloc[[1, 4]])


def test_tables_leave_their_inputs_alone(demo: ReportInputs) -> None:
    assert demo.samples is not None and demo.curves is not None
    before = [demo.runs.copy(), demo.samples.copy(), demo.curves.copy()]
    forecast(demo), pass_table(demo.samples), curve_table(demo.curves), setup_table(demo.runs)
    for then, now in zip(before, (demo.runs, demo.samples, demo.curves), strict=True):
        pd.testing.assert_frame_equal(then, now)


def test_row_order_does_not_matter(demo: ReportInputs) -> None:
    assert demo.samples is not None
    shuffled = demo.samples.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(pass_table(demo.samples), pass_table(shuffled))


def test_residuals_vanish_on_the_law_itself(demo: ReportInputs) -> None:
    table = forecast(demo)
    law = table[(table["mark"] == "law") & (table["prediction"] == "x30")]
    onto = law.assign(
        mark="used", prediction="", used_by=[("x30",)] * len(law), near=[("x30",)] * len(law)
    )
    found = residual_table(pd.concat([law, onto], ignore_index=True))
    assert len(found) == len(law)
    assert np.abs(found["percent"]).max() == pytest.approx(0, abs=1e-9)


def test_a_law_in_sizes_is_compared_with_runs_of_its_recipe_alone(demo: ReportInputs) -> None:
    few = demo.runs["tokens"].mask(demo.runs.index.isin([1, 2, 3]), 1.0)
    inputs = dataclasses.replace(demo, runs=demo.runs.assign(tokens=few))
    fitted = int((demo.runs["role"] == "ladder").sum()) - 1  # one was left out

    def compared(weights: dict[str, float]) -> int:
        loss = dataclasses.replace(inputs.headline.loss, weights=weights)
        table = forecast_table(
            inputs.runs,
            {"x30": loss},
            "loss",
            actual=None,
            target_flops=1.2e13,
            targets={"x30": {"n_active": 3e5, "tokens": 6.6e6}},
        )
        return len(residual_table(table))

    assert compared({"chinchilla": 0.3, "power": 0.7}) == fitted
    assert compared({"chinchilla": 0.7, "power": 0.3}) == fitted - 3


def test_runs_that_did_not_finish_are_not_drawn(demo: ReportInputs) -> None:
    whole = forecast(demo)
    lost = demo.runs.assign(
        status=demo.runs["status"].mask(demo.runs.index == 4, "failed"),
        loss=demo.runs["loss"].mask(demo.runs.index == 4, 60.0),
    )
    inputs = dataclasses.replace(demo, runs=lost)
    table = forecast(inputs)
    assert len(table) == len(whole) - 1 and limits(table)[3] < 10
    assert np.abs(residual_table(table)["percent"]).max() < 10
    page = page_sources(compute_content(inputs))["page.json"]
    assert "Not drawn: 1 run that did not finish." in page
    assert "Not drawn" not in page_sources(compute_content(demo))["page.json"]


def test_wilson_agrees_with_the_published_formula_at_its_ends() -> None:
    low, high = wilson(np.array([0.0, 10.0, 5.0]), np.array([10.0, 10.0, 10.0]))
    # at 0 of n the upper end is z² / (n + z²), z = 1.6449
    assert high[0] == pytest.approx(2.7055 / 12.7055, abs=1e-4)
    assert low[0] == 0 and high[1] == 1
    assert low[2] + high[2] == pytest.approx(1)


def test_pass_rates_pool_counts_and_keep_zeroes(demo: ReportInputs) -> None:
    assert demo.samples is not None
    table = pass_table(demo.samples)
    programs = demo.samples[demo.samples["kind"] == "program"]
    every = table[table["bucket"] == ""]
    assert every["n_samples"].sum() == programs["n_samples"].sum()
    assert (table["rate"] == 0).any()
    assert (table[table["rate"] == 0]["hi"] > 0).all()


def test_curves_keep_the_last_point_of_each_run(demo: ReportInputs) -> None:
    assert demo.curves is not None
    table = curve_table(demo.curves)
    last = table.groupby("run_id")["flops"].max()
    expected = demo.curves.groupby("run_id")["flops"].max()
    pd.testing.assert_series_equal(last, expected)


def test_long_training_curves_are_thinned_but_end_where_they_ended() -> None:
    flops = np.linspace(1e9, 1e12, 5000)
    curves = pd.DataFrame({"run_id": "a", "kind": "train", "flops": flops, "loss": flops**-0.1})
    table = curve_table(curves)
    assert 50 < len(table) <= 160
    assert table["flops"].max() == 1e12


def test_missing_columns_are_left_out_and_not_invented() -> None:
    bare = pd.DataFrame({"flops": [1e9, 2e9], "loss": [3.0, 2.9], "tokens": [np.nan, np.nan]})
    assert list(setup_table(bare).columns) == ["name", "flops"]
    assert "seconds" not in cost_table(bare).columns
    assert pass_table(None).empty and curve_table(None).empty


def test_left_out_runs_come_with_name_and_reason(demo: ReportInputs) -> None:
    table = left_out_table(demo)
    assert list(table["name"]) == ["r0-s0"]
    assert "1,000" in table["reason"][0]
    assert table["prediction"][0] == "x30, x1000"


def test_wall_time_adds_up_and_a_given_total_wins() -> None:
    assert wall_table({"a": 1.0, "b": 3.0})["seconds"].iloc[-1] == 4.0
    assert wall_table({"a": 1.0, "total": 9.0})["seconds"].iloc[-1] == 9.0
    assert wall_table({}).empty
