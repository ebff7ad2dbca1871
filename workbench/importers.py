"""An outside table of runs as a run table: columns mapped by name, every doubt named by row.

Nothing is dropped silently. A cell that is no number becomes empty and its run unfinished (`status`
missing, or diverged where the table said NaN or infinity), so that a fit leaves it out by name;
only empty rows and exact repeats leave the table, and they are listed. Rows count from 1, the
header not counted. A table that this module wrote comes back the same.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from model.records import write_atomic
from workbench.errors import InputError
from workbench.quantities import plain_header, read_quantity, unit_of_header
from workbench.table_checks import Finding, check_table, header_units, row_names, settle_scale
from workbench.table_files import read_cells

# Run-table columns that are numbers. `loss_<part>` and its like are matched by NUMERIC_PART.
NUMERIC = (
    *("flops", "flops_6nd", "n_active", "n_total", "n_embedding", "n_experts", "tokens", "loss"),
    *("loss_se", "seed", "weight", "tokens_per_param", "budget", "rung", "steps", "batch"),
    *("learning_rate", "weight_decay", "warmup_steps", "width", "layers", "top_k", "n_vision"),
)
NUMERIC_PART = re.compile(r"(loss|bits_per_byte|bigram|trigram|epochs)_[\w-]+|n_[a-z_]+")
TEXT = ("run_id", "name", "role", "status", "sweep", "data", "device", "dtype", "model_source")
# What other programs call the same thing; taken without `--columns` when exactly one is there.
ALIASES = {
    "run_id": ("id", "run"),
    "name": ("run_name",),
    "status": ("state",),
    "n_active": ("params", "n_params", "num_params", "parameters", "active_params", "n"),
    "tokens": ("n_tokens", "num_tokens", "train_tokens", "tokens_seen", "d"),
    "flops": ("compute", "total_flops", "train_flops", "training_flops", "c"),
    "loss": ("eval/loss", "val/loss", "eval_loss", "val_loss", "validation_loss", "final_loss"),
}
STATES = {"finished": "finished", "diverged": "diverged", "running": "running"}
STATES |= {"missing": "missing", "crashed": "missing", "failed": "missing", "killed": "missing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A run table and everything that was noticed on the way."""

    table: pd.DataFrame
    columns: dict[str, str]  # run-table column -> column of the source
    findings: tuple[Finding, ...]
    left_out: tuple[Finding, ...]  # rows that are not in the table, with the reason


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """The mapping of `--columns n_active=params,loss=eval/loss`; several options are joined."""
    mapping: dict[str, str] = {}
    for text in texts:
        for pair in re.split(r",(?=\s*\w+\s*=)", text):
            column, equals, source = (piece.strip() for piece in pair.partition("="))
            if not (column and equals and source):
                raise ValueError(f"--columns {pair!r}; write it as n_active=params,loss=eval/loss")
            if column in mapping:
                raise ValueError(f"--columns maps {column} twice: {mapping[column]} and {source}")
            if not (column in NUMERIC or column in TEXT or NUMERIC_PART.fullmatch(column)):
                allowed = ", ".join((*NUMERIC, "loss_<part>", *TEXT))
                raise ValueError(f"--columns {column}=…: no run-table column; allowed: {allowed}")
            mapping[column] = source
    return mapping


def import_table(path: Path, columns: Mapping[str, str] | None = None) -> Imported:
    """The run table of an outside table.

    `columns` maps run-table columns to the source's, which may carry a factor (`params*1e9`).
    Raises InputError where the file cannot be read, a column is missing, or a unit is in doubt.
    """
    cells = read_cells(path)
    _refuse_curves(path, cells)
    empty = cells.index[_is_blank(cells)]
    left_out = [Finding.of("row", empty, "empty")] if len(empty) else []
    cells = cells.drop(index=empty)
    if not len(cells):
        raise InputError(f"{path} holds no runs", "export it again, one row a run")
    sources, factors, findings = _resolve(path, cells, dict(columns or {}))
    table, read = _typed(path, cells, sources, factors)
    findings += read
    _require(path, table, list(cells.columns))
    findings += settle_scale(path, table, sources)
    findings += _fill(table, cells, sources)
    repeated = table.index[_repeats(table)]
    if len(repeated):
        left_out.append(Finding.of("row", repeated, "the same as a row above it in every cell"))
        table = table.drop(index=repeated)
    findings += check_table(table)
    return Imported(
        table=table, columns=sources, findings=tuple(findings), left_out=tuple(left_out)
    )


def _resolve(
    path: Path, cells: pd.DataFrame, asked: dict[str, str]
) -> tuple[dict[str, str], dict[str, float], list[Finding]]:
    """Where each run-table column comes from, with factors asked for or named in a header."""
    names = [str(name) for name in cells.columns]
    sources: dict[str, str] = {}
    factors: dict[str, float] = {}
    for column, source in asked.items():
        plain, star, text = source.rpartition("*")
        if source not in names and star and plain.strip() in names:
            source = plain.strip()
            factors[column] = _factor(column, text)
        if source not in names:
            close = get_close_matches(source, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(names)}"
            raise InputError(f"{path} has no column {source!r} (for {column})", hint)
        sources[column] = source
    findings = []
    taken = set(sources.values())
    for column, aliases in ALIASES.items():
        found = [name for name in names if name not in taken and _means(name, column, aliases)]
        if column not in sources and column not in names and len(found) == 1:
            sources[column] = found[0]
            findings.append(Finding.of(column, (), f"taken from column {found[0]!r}"))
    for column in names:
        if column not in sources and column not in sources.values():
            sources[column] = column
    for column, (unit, factor) in header_units(cells, sources, factors).items():
        factors[column] = factor
        text = f"read in units of {unit!r}, as the name {sources[column]!r} says"
        findings.append(Finding.of(column, (), text))
    return sources, factors, findings


def _means(name: str, column: str, aliases: Iterable[str]) -> bool:
    """Whether a source's column is one of these by name, a unit in the name apart."""
    unit = unit_of_header(name, column)
    plain = unit.stem if unit else plain_header(name)
    return plain in {plain_header(alias) for alias in (column, *aliases)}


def _factor(column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"--columns {column}=…*{text}: the factor is not a number") from error


def _typed(
    path: Path, cells: pd.DataFrame, sources: Mapping[str, str], factors: Mapping[str, float]
) -> tuple[pd.DataFrame, list[Finding]]:
    """Numbers where the run table has numbers; other columns as they are, typed where all agree."""
    columns: dict[str, pd.Series[Any]] = {}
    findings: list[Finding] = []
    not_finite: set[int] = set()
    for column, source in sources.items():
        series = cells[source]
        if column in NUMERIC or NUMERIC_PART.fullmatch(column):
            values, found, odd = _numbers(path, series, column, factors.get(column, 1.0))
            columns[column] = values
            findings += found
            not_finite |= odd if column == "loss" else set()
        elif column in TEXT:
            columns[column] = series.map(lambda cell: "" if _blank(cell) else str(cell).strip())
        else:
            columns[column] = _natural(series)
    table = pd.DataFrame(columns, index=cells.index)
    table.attrs["not_finite"] = sorted(not_finite)
    return table, findings


def _numbers(
    path: Path, series: "pd.Series[Any]", column: str, factor: float
) -> tuple["pd.Series[float]", list[Finding], set[int]]:
    """The column as floats, what was noticed, and the rows that said NaN or infinity."""
    read = {int(row): read_quantity(cell, column) for row, cell in series.items()}  # type: ignore[call-overload]
    unclear = [row for row, quantity in read.items() if quantity.kind == "ambiguous"]
    if unclear:
        raise InputError(
            f"{path}: {column}, {row_names(unclear)}: {series[unclear[0]]!r} is no plain number",
            "write a point before the decimals, and nothing between thousands",
        )
    findings = []
    for kind, text in (
        ("not finite", "not a finite number"),
        ("unreadable", "not a number"),
        ("missing", "empty"),
    ):
        rows = [row for row, quantity in read.items() if quantity.kind == kind]
        if rows and (kind != "missing" or column in ("flops", "loss")):
            shown = f" ({series[rows[0]]!r})" if kind != "missing" else ""
            findings.append(Finding.of(column, rows, f"{text}{shown}, left empty", doubt=True))
    for unit in sorted({quantity.unit for quantity in read.values()} - {""}):
        rows = [row for row, quantity in read.items() if quantity.unit == unit]
        example = f"{series[rows[0]]!r} as {read[rows[0]].value:.6g}"
        findings.append(Finding.of(column, rows, f"unit {unit!r} understood, {example}"))
    values = pd.Series({row: q.value * (1.0 if q.unit else factor) for row, q in read.items()})
    odd = {row for row, quantity in read.items() if quantity.kind == "not finite"}
    return values.astype(float), findings, odd


def _natural(series: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column that is carried along: numbers or truth values where every cell is one."""
    texts = series.map(lambda cell: "" if _blank(cell) else str(cell).strip())
    filled = texts[texts != ""]
    if len(filled) and set(filled) <= {"True", "False"}:
        return texts.map({"True": True, "False": False, "": None})
    numbers = pd.to_numeric(filled, errors="coerce")
    if len(filled) and not numbers.isna().any():
        return numbers.map(float).reindex(series.index)
    return texts


def _fill(table: pd.DataFrame, cells: pd.DataFrame, sources: Mapping[str, str]) -> list[Finding]:
    """Columns that every run table has: flops, run_id, role, status; says what was made up."""
    findings = []
    if "flops" not in table or table["flops"].isna().all():
        table["flops"] = 6.0 * table["n_active"] * table["tokens"]
        findings.append(Finding.of("flops", (), "absent: computed as 6 × n_active × tokens"))
    if "run_id" not in table or not (table["run_id"] != "").all():
        made = pd.Series([f"row-{row}" for row in table.index], index=table.index)
        if "name" in table and (table["name"] != "").all() and table["name"].is_unique:
            made = table["name"]
        table["run_id"] = (
            made if "run_id" not in table else table["run_id"].where(table["run_id"] != "", made)
        )
    if "role" not in table:
        table["role"] = "ladder"
    states = table["status"].str.lower() if "status" in table else pd.Series("", table.index)
    strange = table.index[~states.isin([*STATES, ""])]
    if len(strange):
        text = f"unknown state {table['status'][strange[0]]!r}, taken as missing"
        findings.append(Finding.of("status", strange, text, doubt=True))
    unfinished = table.index[states.isin([*STATES]) & (states.map(STATES) != "finished")]
    if len(unfinished):
        findings.append(Finding.of("status", unfinished, "not finished, kept out of fits"))
    status = states.map(lambda state: STATES.get(state, "missing") if state else "finished")
    measured = table["loss"].notna() & table["flops"].notna()
    status = status.where(measured | (status != "finished"), "missing")
    lost = [row for row in table.attrs.pop("not_finite") if states[row] in ("", "finished")]
    status[lost] = "diverged"
    table["status"] = status
    return findings


def _require(path: Path, table: pd.DataFrame, names: Sequence[str]) -> None:
    computed = {"n_active", "tokens"} <= set(table.columns)
    missing = "loss" if "loss" not in table else "" if "flops" in table or computed else "flops"
    if missing:
        raise InputError(
            f"{path}: no column for {missing}; it has: {', '.join(map(str, names))}",
            f"name it: workbench import {path.name} --columns {missing}=COLUMN"
            + (" (or n_active=…,tokens=… to compute it)" if missing == "flops" else ""),
        )


def _refuse_curves(path: Path, cells: pd.DataFrame) -> None:
    names = [str(name) for name in cells.columns]
    if any(f"{name}__MIN" in names and f"{name}__MAX" in names for name in names):
        raise InputError(
            f"{path} is a Weights & Biases chart: loss curves, a column a run",
            "export the table of runs instead (Runs, then the download button), one row a run",
        )


def _repeats(table: pd.DataFrame) -> "pd.Series[bool]":
    """Rows equal to an earlier one; made-up names do not make two rows different."""
    keys = table.drop(columns="run_id")
    made_up = table["run_id"].str.fullmatch(r"row-\d+")
    return keys.assign(run_id=table["run_id"].where(~made_up, "")).astype(str).duplicated()


def _blank(cell: object) -> bool:
    return (
        cell is None or cell is pd.NA or cell == "" or (isinstance(cell, float) and np.isnan(cell))
    )


def _is_blank(cells: pd.DataFrame) -> "pd.Series[bool]":
    return cells.map(_blank).all(axis=1)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a run table as CSV or Parquet, whole or not at all."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InputError(f"--out {path}: not a table", "name it .csv or .parquet")
    content: str | bytes = table.to_csv(index=False)
    if suffix == ".parquet":
        content = table.to_parquet(index=False)
    write_atomic(path, content)
