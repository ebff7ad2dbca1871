"""Blocks of the page: tables, figures and lists as plain data, with numbers already words.

The typesetting template draws blocks and knows nothing of scaling laws; every text reaches it
as JSON data, so no name can be read as markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.numbers import (
    DASH,
    breakable,
    clean,
    count,
    percent,
    plain,
    power_of_ten,
    seconds,
    share,
    significant,
    whole,
)

Block = dict[str, Any]
SMALL, NORMAL = 7.4, 8.4  # pt
PAGE_WIDTH, TABLE_GAP, CELL_AIR = 482.0, 18.0, 6.4  # pt
LETTER = 0.38  # mean width of a letter over the size of its type
MOST_BESIDE, BESIDE_ROWS = 3, 24  # tables side by side, and the rows of each
SHORT_TABLE, LONG_TEXT = 14, 2500  # rows and letters up to which a table is kept on one page


@dataclass(frozen=True, slots=True)
class Column:
    """How one column of a table is headed and printed."""

    title: str
    show: Callable[[object], str]
    numeric: bool = True
    wide: bool = False  # takes what room is left


def _name(value: object) -> str:
    return breakable(value, 48) if value is not None and not pd.isna(value) else DASH  # type: ignore[call-overload]


def _text(value: object) -> str:
    return breakable(value) if isinstance(value, str) and value else DASH


def _phrase(value: object) -> str:
    """A name that is broken between its words alone."""
    return clean(value, 60) if isinstance(value, str) and value else ""


def _all(value: object) -> str:
    return breakable(value, 100_000)


def _signed(value: object) -> str:
    return percent(value, 2, signed=True)


COLUMNS: dict[str, Column] = {
    "name": Column("run", _name, numeric=False),
    "part": Column("part", _name, numeric=False),
    "bigram": Column("bigram model", plain),
    "trigram": Column("trigram model", plain),
    "role": Column("role", _text, numeric=False),
    "status": Column("status", _text, numeric=False),
    "prediction": Column("prediction", _phrase, numeric=False),
    "reason": Column("reason", _text, numeric=False),
    "which": Column("which", _all, numeric=False, wide=True),
    "convention": Column("compute counted as", _text, numeric=False),
    "quantity": Column("quantity", _phrase, numeric=False),
    "law": Column("law", _text, numeric=False),
    "constants": Column("constants", _text, numeric=False, wide=True),
    "weight": Column("weight", lambda value: plain(value, 2)),
    "predicted": Column("predicted", plain),
    "change_percent": Column("change", _signed),
    "source": Column("source", _name, numeric=False),
    "kind": Column("kind", _text, numeric=False),
    "origin": Column("origin", _text, numeric=False),
    "version": Column("version", _text, numeric=False),
    "licence": Column("licence", _text, numeric=False),
    "documents_train": Column("documents", whole),
    "documents_heldout": Column("held out", whole),
    "tokens_train": Column("tokens", count),
    "windows_heldout": Column("held-out windows", whole),
    "overlap": Column("overlap", lambda value: share(value, 2)),
    "bytes_per_token": Column("bytes per token", lambda value: plain(value, 2)),
    "epochs": Column("epochs, most", lambda value: plain(value, 2)),
    "stage": Column("stage", _text, numeric=False),
    "seconds": Column("time", seconds),
    "share": Column("share", share),
    "runs": Column("runs", whole),
    "seed": Column("seed", whole),
    "flops": Column("FLOPs", lambda value: power_of_ten(value, 1)),
    "n_active": Column("n active", count),
    "n_total": Column("n total", count),
    "tokens": Column("tokens", count),
    "tokens_per_param": Column("tokens / n", lambda value: plain(value, 1)),
    "layers": Column("layers", whole),
    "width": Column("width", whole),
    "steps": Column("steps", whole),
    "batch": Column("batch", whole),
    "learning_rate": Column("learning rate", lambda value: significant(value, 2)),
    "seconds_train": Column("time", seconds),
    "loss": Column("loss", plain),
    "loss_se": Column("± se", lambda value: plain(value, 4)),
    "bits_per_byte": Column("bits / byte", plain),
    "router_entropy": Column("router entropy", lambda value: plain(value, 2)),
    "dead_experts": Column("dead experts", lambda value: significant(value, 2)),
    "unembedding_share": Column("unembed. share", lambda value: share(value, 0)),
    "mfu": Column("MFU", lambda value: share(value, 0)),
}


def column_of(name: str) -> Column:
    """The column's printing; a loss part prints as a loss under the part's own name."""
    known = COLUMNS.get(name)
    if known is not None:
        return known
    if name.startswith("loss_"):
        return Column(breakable(name.removeprefix("loss_"), 24), plain)
    return Column(breakable(name.replace("_", " "), 24), _text, numeric=False)


def table_block(
    frame: pd.DataFrame,
    *,
    size: float = NORMAL,
    caption: str = "",
    bold_last: bool = False,
    fill: bool = False,
) -> Block:
    """A table of a frame whose columns COLUMNS knows; fill spreads it over the page's width."""
    columns = [column_of(str(name)) for name in frame.columns]
    values = frame.astype(object).to_numpy()
    rows = [
        [column.show(value) for column, value in zip(columns, row, strict=True)] for row in values
    ]
    return {
        "kind": "table",
        "head": [column.title for column in columns],
        "numeric": [column.numeric for column in columns],
        "wide": [column.wide for column in columns],
        "rows": rows,
        "size": size,
        "caption": caption,
        "strong": [len(rows) - 1] if bold_last and rows else [],
        "whole": _fits_a_page(rows),
        "weights": _weights([column.title for column in columns], rows) if fill else [],
    }


def _weights(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[float]:
    """Widths in proportion to the longest word of each heading or cell, within reason."""
    lengths = [max(len(word) for word in re.split(r"[ \u200b]", title)) for title in head]
    for row in rows:
        cells = [len(cell.replace("\u200b", "")) for cell in row]
        lengths = [max(pair) for pair in zip(lengths, cells, strict=True)]
    return [min(length, 30 if place == 0 else 18) + 2.5 for place, length in enumerate(lengths)]


def _fits_a_page(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table should not be split over two pages."""
    return len(rows) <= SHORT_TABLE and sum(len(cell) for row in rows for cell in row) < LONG_TEXT


def beside(block: Block) -> list[Block]:
    """A long narrow table as rows of tables side by side, read down, then across.

    Each row of tables stands on one page; a table that is short or wide stays as it is.
    """
    rows: list[list[str]] = block["rows"]
    lengths = [
        max(len(cell.replace("\u200b", "")) for cell in (*title.split(" "), *cells))
        for title, cells in zip(block["head"], zip(*rows, strict=True), strict=True)
    ]
    wide = sum(LETTER * block["size"] * length + CELL_AIR for length in lengths)
    many = min(MOST_BESIDE, int((PAGE_WIDTH + TABLE_GAP) // (wide + TABLE_GAP)))
    if many < 2 or len(rows) <= BESIDE_ROWS:
        return [block]
    found = []
    for start in range(0, len(rows), many * BESIDE_ROWS):
        chunk = rows[start : start + many * BESIDE_ROWS]
        each = -(-len(chunk) // many)
        parts = [chunk[at : at + each] for at in range(0, len(chunk), each)]
        tables = [block | {"rows": part, "caption": "", "weights": []} for part in parts]
        caption = "" if start else block["caption"]
        found.append({"kind": "beside", "tables": tables, "many": many, "caption": caption})
    return found


def words_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: Sequence[bool],
    size: float = NORMAL,
    caption: str = "",
    strong: Sequence[int] = (),
) -> Block:
    """A table whose cells are words already."""
    return {
        "kind": "table",
        "head": list(head),
        "numeric": list(numeric),
        "wide": [False] * len(head),
        "rows": [list(row) for row in rows],
        "size": size,
        "caption": caption,
        "strong": list(strong),
        "whole": _fits_a_page(rows),
        "weights": [],
    }


def pivot_block(
    key: str, rows: Mapping[str, Sequence[str]], predictions: Sequence[str], caption: str = ""
) -> Block:
    """One row a quantity: its actual, then predicted, interval and error of each prediction."""
    head = [key, "actual"]
    for name in predictions:
        head += [f"{clean(name, 60)} predicted", "90 %", "error"]
    block = words_table(
        head,
        [[breakable(name, 30), *cells] for name, cells in rows.items()],
        numeric=[False] + [True] * (len(head) - 1),
        size=8.0 if len(predictions) < 3 else SMALL,
        caption=caption,
    )
    if not predictions:
        return block
    return without_empty(block | {"weights": [1.3, 0.9] + [1.3, 1.5, 0.9] * len(predictions)})


def without_empty(block: Block) -> Block:
    """The table without columns that hold nothing but dashes."""
    rows: list[list[str]] = block["rows"]
    kept = [
        place
        for place in range(len(block["head"]))
        if not rows or any(row[place] != DASH for row in rows)
    ]
    pruned = {
        key: [block[key][place] for place in kept]
        for key in ("head", "numeric", "wide", "weights")
        if block[key]
    }
    return block | pruned | {"rows": [[row[place] for place in kept] for row in rows]}


def facts_block(facts: Mapping[str, str]) -> Block:
    """Names and values in two columns of pairs."""
    return {"kind": "facts", "rows": [[breakable(k, 40), breakable(v)] for k, v in facts.items()]}


def figure_block(file: str, caption: str) -> Block:
    """A figure by its file name, with the sentence under it."""
    return {"kind": "figure", "file": file, "caption": caption}


def text_block(text: str) -> Block:
    """A paragraph."""
    return {"kind": "text", "text": text}


def list_block(rows: Sequence[tuple[str, str]]) -> Block:
    """Findings, each with its weight (against, note)."""
    return {"kind": "list", "rows": [list(row) for row in rows]}
