"""Reads tables of other programs as they stand: text stays text, so that every cell can be checked.

CSV and TSV (Weights & Biases exports among them), Parquet, JSON lines or a JSON list.
"""

import csv
import io
import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import InputError

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json")


def read_cells(path: Path) -> pd.DataFrame:
    """The table with untouched cells: text from CSV and TSV, values from the other formats.

    The index counts the rows from 1, the header not counted. Empty lines are kept as empty rows.
    """
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*.*") if other.suffix in SUFFIXES]
        close = get_close_matches(path.name, beside, n=1)
        hint = (
            f"did you mean {path.with_name(close[0])}?" if close else "check the path of the table"
        )
        raise InputError(f"{path}: no such file", hint)
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, not a table",
            f"name a file ({', '.join(SUFFIXES)}); `workbench import` also takes a folder of "
            "TensorBoard runs",
        )
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path}: tables of type {suffix or 'without a suffix'} are not read",
            f"export it as one of {', '.join(SUFFIXES)}",
        )
    try:
        if suffix in (".csv", ".tsv"):
            cells = _read_delimited(path, "\t" if suffix == ".tsv" else None)
        elif suffix == ".parquet":
            cells = pd.read_parquet(path)
        else:
            objects = read_objects(path, lines=suffix != ".json")
            cells = pd.json_normalize(objects).astype(object)
    except InputError:
        raise
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file
        what = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: {what}", "open the file and repair it, or export it anew") from (
            error
        )
    if cells.columns.has_duplicates:
        twice = sorted({str(name) for name in cells.columns[cells.columns.duplicated()]})
        raise InputError(f"{path}: columns {', '.join(twice)} stand there twice", "rename one")
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    return cells


def _read_delimited(path: Path, separator: str | None) -> pd.DataFrame:
    """Every row as long as the header; pandas alone would pad a short row without a word."""
    text = path.read_text(encoding="utf-8-sig").lstrip("\r\n")
    header = text.partition("\n")[0]
    if not header.strip():
        raise InputError(f"{path} is empty", "export the table again, with its header")
    separator = separator or max(",;\t", key=header.count)
    names, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    wrong = [
        f"row {number} has {len(row)} cells"
        for number, row in enumerate(rows, start=1)
        if row and len(row) != len(names)
    ]
    if wrong:
        raise InputError(
            f"{path}: the header has {len(names)} columns, but {'; '.join(wrong[:5])}",
            "repair these rows (a separator too many or too few, or a quote left open)",
        )
    cells = [row or [""] * len(names) for row in rows]
    return pd.DataFrame(cells, columns=[name.strip() for name in names], dtype=object)


def read_objects(path: Path, *, lines: bool = True) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, or of one JSON list; InputError naming the line."""
    if not path.is_file():
        raise InputError(f"{path}: no such file", "check the path")
    text = path.read_text(encoding="utf-8-sig")
    if lines:
        numbered = enumerate(text.split("\n"), start=1)
        rows = [_json(line, f"{path}: line {number}") for number, line in numbered if line.strip()]
    else:
        rows = _json(text, str(path))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: not a list of objects", "write one JSON object a line")
    if not rows:
        raise InputError(f"{path} is empty", "export it again, one object a line")
    return rows


def blank(cell: object) -> bool:
    """Whether a cell holds nothing."""
    return (
        cell is None or cell is pd.NA or cell == "" or (isinstance(cell, float) and np.isnan(cell))
    )


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error})", "repair or remove it") from error
