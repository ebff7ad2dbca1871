"""The section on a table's own past: what would have been said of its largest runs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.inputs import floats, texts
from reports.numbers import DASH, breakable, interval, percent, plain, power_of_ten, ratio
from reports.page_blocks import Block, figure_block, without_empty, words_table

HEAD = ("held out, FLOPs", "ratio", "runs", "predicted", "90 %", "actual", "error")
CAPTION = (
    "The largest runs of this table, held out and predicted from those of so much less compute. "
    "Above: predicted over actual, thick bar 50 %, thin bar 90 %. Below: the median of absolute "
    "errors of each law, by how far it looked ahead."
)


def past_blocks(rows: pd.DataFrame, *, drawn: bool) -> list[Block]:
    """The figure, and the predictions of whatever gave intervals; nothing without a backtest."""
    if rows.empty:
        return []
    blocks = [figure_block("backtest", CAPTION)] if drawn else []
    judged = [law for law in dict.fromkeys(texts(rows, "law")) if _has_intervals(rows, law)]
    for law in judged:
        own = pd.DataFrame(rows[rows["law"] == law])
        block = words_table(
            HEAD,
            [_row(row) for row in own.to_dict("records")],
            numeric=[True] * len(HEAD),
            caption=f"What the {breakable(law, 24)} would have said.",
        )
        blocks.append(without_empty(block))
    return blocks


def _has_intervals(rows: pd.DataFrame, law: str) -> bool:
    own = pd.DataFrame(rows[rows["law"] == law])
    return bool((floats(own, "lo90") > 0).any())


def _row(row: dict[Any, Any]) -> list[str]:
    refused = row.get("refused")
    return [
        power_of_ten(row.get("target_flops")),
        ratio(row.get("compute_ratio")),
        plain(row.get("runs"), 0),
        f"refused: {breakable(refused, 40)}"
        if isinstance(refused, str)
        else plain(row.get("predicted")),
        DASH if isinstance(refused, str) else interval(row.get("lo90"), row.get("hi90")),
        plain(row.get("actual")),
        percent(row.get("error_percent"), signed=True),
    ]
