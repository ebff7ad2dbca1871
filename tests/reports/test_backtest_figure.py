"""The figure of a backtest: its table, and that every error and refusal can be seen in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reports.figures.backtest import backtest_figure, backtest_picture, backtest_table, error_table
from reports.figures.style import drawing


def rows() -> pd.DataFrame:
    made = []
    for ratio, runs in ((3.2, 12), (31.0, 8), (320.0, 4)):
        for law in ("forecaster", "power", "last two rungs"):
            off = ratio / 10_000
            row = {"law": law, "target_flops": 1e20, "compute_ratio": ratio, "runs": runs,
                   "actual": 2.0, "predicted": 2.0 * (1 + off), "refused": None}  # fmt: skip
            if law == "forecaster":
                wide = 0.1 * np.log10(ratio)
                row |= {
                    "lo50": 2 - wide / 2,
                    "hi50": 2 + wide / 2,
                    "lo90": 2 - wide,
                    "hi90": 2 + wide,
                }
            made.append(row)
    refused = {"law": "forecaster", "target_flops": 1e20, "compute_ratio": 900.0, "actual": 2.0,
               "refused": "too_few_budgets"}  # fmt: skip
    wild = {"law": "last two rungs", "target_flops": 1e20, "compute_ratio": 900.0, "actual": 2.0,
            "predicted": 0.4}  # fmt: skip
    return pd.DataFrame([*made, refused, wild])


def test_the_table_is_in_percent_of_the_actual() -> None:
    table = backtest_table(rows())
    first = table.iloc[0]
    assert first["percent"] == pytest.approx(100 * 3.2 / 10_000)
    assert first["lo90"] == pytest.approx(-100 * 0.1 * np.log10(3.2) / 2)
    refused = table[table["refused"] != ""]
    assert refused["percent"].isna().all() and len(refused) == 1
    assert len(table) == len(rows())


def test_every_interval_is_in_the_picture_and_every_law_in_its_key() -> None:
    with drawing():
        figure = backtest_figure(backtest_table(rows()))
    below, above = figure.axes
    words = [text.get_text() for text in below.texts]
    for text in ("forecaster  0.3 %, 3 of 3 inside", "power  0.3 %", "last two rungs  1.8 %"):
        assert text in words
    assert "crosses: refused" in " ".join(text.get_text() for text in above.texts)
    low, high = above.get_ylim()
    assert low < -100 * 0.1 * np.log10(320) / 2 and high > 100 * 0.1 * np.log10(320) / 2
    crosses = [line for line in above.lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == pytest.approx([900.0])
    for axes in figure.axes:
        assert axes.get_xlim()[0] < 3.2 and axes.get_xlim()[1] > 900
    assert below.get_ylim()[1] > 80  # the wildest error as well


def test_a_law_that_always_refused_is_named_and_not_drawn() -> None:
    silent = rows()[rows()["law"] == "power"].assign(
        law="broken", predicted=None, refused="too_few_runs"
    )
    with drawing():
        figure = backtest_figure(backtest_table(pd.concat([rows(), silent])))
    assert any(t.get_text() == "always refused: broken" for t in figure.axes[0].texts)


def test_errors_are_medians_by_band_of_ratio() -> None:
    table = error_table(backtest_table(rows()))
    own = table[table["law"] == "last two rungs"]
    assert own["percent"].tolist() == pytest.approx([0.032, 0.31, 3.2, 80])
    assert own["compute_ratio"].tolist() == pytest.approx([3.2, 31, 320, 900])


@pytest.mark.parametrize(
    ("form", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_same_rows_give_the_same_bytes(form: str, head: bytes) -> None:
    first = backtest_picture(rows(), form)  # type: ignore[arg-type]
    assert first.startswith(head)
    assert first == backtest_picture(rows(), form)  # type: ignore[arg-type]


def test_nothing_but_refusals_is_no_figure() -> None:
    refused = rows().assign(predicted=None)
    with pytest.raises(ValueError, match="every prediction was refused"):
        backtest_picture(refused, "png")


def test_one_law_without_intervals_is_a_figure_too() -> None:
    only = rows()[rows()["law"] == "power"]
    assert backtest_picture(only, "png").startswith(b"\x89PNG")


def test_no_two_laws_look_alike() -> None:
    from fits.estimators.catalogue import CATALOGUE

    laws = [*CATALOGUE, "last two rungs"]
    every = pd.concat([rows()[rows()["law"] == "power"].assign(law=law) for law in laws])
    with drawing():
        figure = backtest_figure(backtest_table(every))
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines})
    assert len({line.get_color() for line in lines}) == len(laws)
