"""A report on several targets: each is named, nothing is cut off, nothing said twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from reports.build import page_sources
from reports.content import Content, compute_content
from reports.figures.forecast import headline_figure, residual_figure
from reports.figures.style import drawing
from reports.inputs import ReportInputs

NAMES = [f"n_active={many}B, tokens={20 * many}.5B" for many in (30, 31, 32, 33, 34)]


@pytest.fixture(scope="module")
def several(outside: Callable[..., ReportInputs]) -> Content:
    """Five targets of one table, two of them of equal compute."""
    inputs = outside(6)
    flops = [4e21, 5e21, 6e21, 7e21, 7e21]
    made = tuple(
        dataclasses.replace(
            inputs.headline,
            name=name,
            target={"flops": c, "n_active": place},
            compute_ratio=c / 4e20,
            inputs_hash=f"{place}f1e2d3c4b5a69788796a5b4c3d2e1f0",
        )
        for place, (name, c) in enumerate(zip(NAMES, flops, strict=True))
    )
    return compute_content(dataclasses.replace(inputs, predictions=made))


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_residual_panels_are_named_by_target_and_inside_the_sheet(several: Content) -> None:
    with drawing():
        figure = residual_figure(several.tables["residuals"], several.labels)
        figure.draw_without_rendering()
        boxes = [box for axes in figure.axes if (box := axes.get_tightbbox()) is not None]
    titles = words(figure)
    assert len(set(titles)) == 5
    assert titles[0] == "n 30B, tokens 600.5B: above the law, %"
    sheet = figure.bbox
    for place, box in enumerate(boxes):
        assert min(box.x0, box.y0) >= 0 and box.x1 <= sheet.x1 and box.y1 <= sheet.y1
        assert not any(box.overlaps(other) for other in boxes[:place])


def test_equal_runs_are_one_bar_and_every_prediction_is_told_apart(several: Content) -> None:
    with drawing():
        found = words(headline_figure(several.forecast, several.labels))
    assert [text for text in found if text.startswith("runs of")] == ["runs of every prediction"]
    assert len({text for text in found if "B, tokens" in text}) == 5


def test_predictions_of_one_target_go_by_their_ratio(demo: ReportInputs) -> None:
    content = compute_content(demo)
    assert all(label.endswith("×") for label in content.labels.values())
    with drawing():
        found = words(headline_figure(content.forecast, content.labels))
    assert sum(text.startswith("runs of the ") for text in found) == 2


def test_the_hash_of_each_targets_tables_stands_on_a_line(several: Content) -> None:
    page = json.loads(page_sources(several)["page.json"])
    made = next(s for s in page["sections"] if s["title"] == "How it was made")
    rows = next(b["rows"] for b in made["blocks"] if "tables hash" in b.get("head", ()))
    assert [row[0] for row in rows] == NAMES
    assert rows[2][1:] == ["2f1e2d3c4b5a6978", "0"]
