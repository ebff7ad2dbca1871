"""The runs and the laws on the page: everything is there, and nothing is run together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fits.observations import names_in_words
from reports.build import page_sources
from reports.content import compute_content
from reports.evidence import law_blocks, laws_in_words, run_blocks
from reports.figures.allocation import allocation_figure
from reports.figures.style import drawing
from reports.inputs import ReportInputs
from reports.page_blocks import beside, words_table


def table_of(rows: int) -> dict[str, Any]:
    cells = [[f"row-{row}", "1.0"] for row in range(rows)]
    return words_table(["run", "loss"], cells, numeric=[False, True], caption="Runs.")


@pytest.mark.parametrize("rows", [25, 72, 73, 245])
def test_a_long_narrow_table_stands_beside_itself_with_every_row(rows: int) -> None:
    blocks = beside(table_of(rows))
    tables = [table for block in blocks for table in block["tables"]]
    assert [row for table in tables for row in table["rows"]] == table_of(rows)["rows"]
    assert max(len(table["rows"]) for table in tables) <= 24
    assert [block["caption"] for block in blocks] == ["Runs.", *[""] * (len(blocks) - 1)]


def test_a_short_or_a_wide_table_stays_as_it_is() -> None:
    assert beside(table_of(24)) == [table_of(24)]
    wide = table_of(30)
    wide["rows"] = [[name * 20, loss] for name, loss in wide["rows"]]
    assert beside(wide) == [wide]


def test_the_runs_of_a_bare_table_are_one_table(outside: Callable[..., ReportInputs]) -> None:
    inputs = outside(6)
    runs = inputs.runs.assign(role="ladder", status="finished", run_id=[*"abcdef"])
    bare = dataclasses.replace(inputs, runs=runs)
    table, text = run_blocks(compute_content(bare))
    assert table["head"] == ["run", "FLOPs", "loss"] and len(table["rows"]) == 6
    assert "left out no finished run" in text["text"]
    some = dataclasses.replace(bare, runs=runs.assign(status=[*["finished"] * 5, "failed"]))
    assert run_blocks(compute_content(some))[0]["head"] == ["run", "FLOPs", "status", "loss"]


def test_runs_left_out_are_one_row_a_reason_with_every_name(
    outside: Callable[..., ReportInputs],
) -> None:
    inputs = outside(4)
    item = inputs.headline
    left = [{"run_id": f"row-{k}", "reason": "too short"} for k in (1, 2, 3, 9)]
    left += [{"run_id": "big", "reason": "too large"}]
    loss = dataclasses.replace(item.loss, left_out=tuple(left))
    changed = dataclasses.replace(inputs, predictions=(dataclasses.replace(item, loss=loss),))
    content = compute_content(changed)
    block = run_blocks(content)[-1]
    assert block["head"] == ["reason", "runs", "which"]
    assert block["rows"] == [["too short", "4", "rows 1–3, 9"], ["too large", "1", "big"]]
    assert len(content.tables["left_out"]) == 5  # report.json has a row a run


def test_names_and_row_numbers_are_told_apart() -> None:
    assert names_in_words(["row-2", "a", "row-1", "b (row 7)"]) == "rows 1–2, a, b (row 7)"
    assert names_in_words(["row 5"]) == "row 5"


def test_each_law_has_a_row_of_its_own() -> None:
    laws = pd.DataFrame(
        [
            ("one", "loss", "power_floor", 0.7, {"a": 2.0, "b": 0.1, "irreducible": 1.5}),
            ("one", "loss", "tied", 0.3, {"form_error_scale": 0.01}),
            ("two", "loss", "power", 1.0, {}),
        ],
        columns=["prediction", "quantity", "law", "weight", "constants"],
    )
    found = laws_in_words(laws)
    assert list(found.columns) == ["prediction", "law", "weight", "constants"]
    assert found["prediction"].tolist() == ["one", "", "two"]
    assert found["constants"].tolist() == [
        "irreducible 1.5, a 2, b 0.1",
        "form error scale 0.01",
        "",
    ]


def test_one_way_of_counting_is_no_sensitivity(
    outside: Callable[..., ReportInputs], demo: ReportInputs
) -> None:
    def captions(inputs: ReportInputs) -> str:
        return " ".join(block["caption"] for block in law_blocks(compute_content(inputs)))

    assert "Sensitivity" in captions(demo)
    inputs = outside(4)
    loss = dataclasses.replace(inputs.headline.loss, conventions={"flops": 2.0})
    item = dataclasses.replace(inputs.headline, loss=loss)
    assert "Sensitivity" not in captions(dataclasses.replace(inputs, predictions=(item,)))


def test_a_target_is_named_without_a_break_inside(outside: Callable[..., ReportInputs]) -> None:
    inputs = outside(4)
    name = "n_active=70B, tokens=1.4T, n_total=300B"
    item = dataclasses.replace(inputs.headline, name=name)
    other = dataclasses.replace(
        item, name="flops=5e+21", target={"flops": 5e21}, compute_ratio=12.5
    )
    changed = dataclasses.replace(inputs, predictions=(item, other))
    front = json.loads(page_sources(compute_content(changed))["page.json"])["front"]
    assert front["tables"][0]["rows"][0][0] == name
    assert front["lines"][1].startswith("flops=5e+21, 12× the largest run used: predicted")
    assert "less compute" not in json.dumps(front)


def test_a_table_without_rungs_has_budgets(
    outside: Callable[..., ReportInputs], demo: ReportInputs
) -> None:
    naive = {"last_rung": 2.5, "last_two_rungs": 2.4}
    inputs = outside(4)
    loss = dataclasses.replace(inputs.headline.loss, naive=naive)
    item = dataclasses.replace(inputs.headline, loss=loss)
    for given, word in (
        (dataclasses.replace(inputs, predictions=(item,)), "budget"),
        (demo, "rung"),
    ):
        page = page_sources(compute_content(given))["page.json"]
        head = json.loads(page)["front"]["tables"][0]["head"]
        assert head[-2:] == [f"last {word}", f"last two {word}s"]
        assert f"Last {word} in the table: the loss of the largest runs" in page


def test_an_allocation_says_only_what_it_draws() -> None:
    flops = np.array([1e18, 1e20])
    curve = pd.DataFrame({"approach": "parametric", "flops": flops, "n": [1e8, 1e9]})
    empty = pd.DataFrame(columns=["approach", "flops", "n"])
    point = pd.DataFrame({"approach": ["envelope"], "flops": [1e19], "n": [3e8]})

    def detail(points: pd.DataFrame, width: float) -> str:
        ends = {"n_lo90": curve["n"] / width, "n_hi90": curve["n"] * width}
        with drawing():
            figure = allocation_figure(pd.DataFrame(), pd.DataFrame(), curve.assign(**ends), points)
        return " ".join(text.get_text() for text in figure.axes[0].texts)

    assert "90 %" not in detail(empty, 1.0) and "lowest loss" not in detail(empty, 1.0)
    told = detail(point, 1.2)
    assert "shading: 90 %; squares: lowest loss" in told and "circles" not in told
