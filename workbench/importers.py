"""An outside table of runs as a run table: columns mapped by name, every doubt named by row.

Nothing is dropped silently. A cell that is no number becomes empty and its run unfinished (`status`
missing, or diverged where the table said NaN or infinity), so that a fit leaves it out by name, as
it does runs that failed, were killed or are running; only empty rows and exact repeats leave the
table, and they are listed. Rows count from 1, the header not counted. A table that this module
wrote comes back the same.

Loss curves (a chart's export, TensorBoard runs) become a row a run: `workbench.sources`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fits.observations import name_rows
from model.records import write_atomic
from workbench.column_scale import settle_scale
from workbench.columns import NUMERIC, NUMERIC_PART, TEXT, Origin, origins, parse_columns
from workbench.errors import InputError
from workbench.odd_sizes import check_sizes
from workbench.quantities import read_quantity
from workbench.required import require
from workbench.sources.curves import Source, curve_findings
from workbench.sources.parameters import add_parameters
from workbench.sources.tensorboard import read_runs
from workbench.sources.wandb_history import is_history, read_history
from workbench.table_checks import Finding, check_source, check_table, row_names
from workbench.table_files import blank, read_cells

__all__ = ["Imported", "import_runs", "import_table", "parse_columns", "write_table"]

EMPTY, UNFINISHED = "empty", "kept out of fits"
COMPUTED = "absent: computed as 6 × n_active × tokens"
ENDS = ("finished", "diverged", "failed", "killed")  # `status` of a run that goes on no more
STATES = {state: state for state in (*ENDS, "running", "missing")}
STATES |= dict.fromkeys(("completed", "complete", "done", "success", "succeeded"), "finished")
STATES |= dict.fromkeys(("crashed", "error", "timeout", "out_of_memory", "node_fail"), "failed")
STATES |= dict.fromkeys(("cancelled", "canceled", "stopped", "preempted"), "killed")
STATES |= dict.fromkeys(("preempting", "pending", "queued"), "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A run table and everything that was noticed on the way."""

    table: pd.DataFrame
    columns: dict[str, str]  # run-table column -> column of the source
    findings: tuple[Finding, ...]
    left_out: tuple[Finding, ...]  # rows that are not in the table, with the reason

    @property
    def usable(self) -> int:
        """How many runs a fit may see."""
        return int((self.table["status"] == "finished").sum())


def import_table(path: Path, columns: Mapping[str, str] | None = None) -> Imported:
    """The run table of an outside table.

    `columns` maps run-table columns to the source's, multiplied where need be (`params*1e9`).
    Raises InputError where the file cannot be read, a column is missing, or a unit is in doubt.
    """
    return import_runs(path, columns)


def import_runs(
    path: Path,
    columns: Mapping[str, str] | None = None,
    *,
    parameters: pd.DataFrame | None = None,
    flags: Mapping[str, dict[str, str]] | None = None,
    folders: bool = False,
    step: Callable[[int, int], None] | None = None,
) -> Imported:
    """The same, with sizes from a second table or by run, and from a folder of TensorBoard runs."""
    if folders and path.is_dir():
        source = read_runs(path, step)
    else:
        cells = read_cells(path)
        history = is_history([str(name) for name in cells.columns])
        source = read_history(path, cells) if history else Source(cells=cells)
    cells, added = add_parameters(path, source.cells, parameters, flags or {})
    imported = _typed_table(path, replace(source, cells=cells), dict(columns or {}))
    return replace(imported, findings=(*source.findings, *added, *imported.findings))


def _typed_table(path: Path, source: Source, asked: dict[str, str]) -> Imported:
    cells = source.cells
    empty = cells.index[cells.map(blank).all(axis=1)]
    left_out = [*source.left_out, *([Finding.of("row", empty, "empty")] if len(empty) else [])]
    cells = cells.drop(index=empty)
    if not len(cells):
        raise InputError(f"{path} holds no runs", "export it again, one row a run")
    sources, findings = origins(path, cells, asked)
    table, read = _typed(path, cells, sources)
    findings += read
    require(path, table, cells, curves=bool(source.curves))
    for column in (name for name in table if name == "loss" or str(name).startswith("loss_")):
        findings += curve_findings(source, sources[str(column)].columns[0], str(column))
    loss = sources["loss"]
    findings += check_source(table, cells, loss.text, unit=loss.factor != 1.0)
    given = {column for column, origin in sources.items() if origin.given}
    findings += settle_scale(path, table, {c: o.text for c, o in sources.items()}, given)
    filled = _fill(table)
    named = {row for finding in filled if finding.text.endswith(UNFINISHED) for row in finding.rows}
    findings = [f for f in findings if f.text != EMPTY or not set(f.rows) <= named] + filled
    repeated = table.index[_repeats(table)]
    if len(repeated):
        left_out.append(Finding.of("row", repeated, "the same as a row above it in every cell"))
        table = table.drop(index=repeated)
    computed = any(finding.text == COMPUTED for finding in filled)
    findings += check_sizes(table, computed=computed) + check_table(table)
    return Imported(
        table=name_rows(table),
        columns={column: origin.text for column, origin in sources.items()},
        findings=tuple(findings),
        left_out=tuple(left_out),
    )


def _typed(
    path: Path, cells: pd.DataFrame, sources: Mapping[str, Origin]
) -> tuple[pd.DataFrame, list[Finding]]:
    """Numbers where the run table has numbers; other columns as they are, typed where all agree."""
    columns: dict[str, pd.Series[Any]] = {}
    findings: list[Finding] = []
    not_finite: set[int] = set()
    for column, origin in sources.items():
        series = cells[origin.columns[0]]
        if column in NUMERIC or NUMERIC_PART.fullmatch(column):
            values, found, odd = _numbers(path, cells, column, origin)
            columns[column] = values
            findings += found
            not_finite |= odd if column == "loss" else set()
        elif column in TEXT:
            columns[column] = series.map(lambda cell: "" if blank(cell) else str(cell).strip())
        else:
            columns[column] = _natural(series)
    table = pd.DataFrame(columns, index=cells.index)
    table.attrs["not_finite"] = sorted(not_finite)
    return table, findings


def _numbers(
    path: Path, cells: pd.DataFrame, column: str, origin: Origin
) -> tuple["pd.Series[float]", list[Finding], set[int]]:
    """The column as floats, what was noticed, and the rows that said NaN or infinity."""
    product = len(origin.columns) > 1
    factor = 1.0 if product else origin.factor
    values, findings, odd = _of_cells(path, cells[origin.columns[0]], column, factor)
    for name in origin.columns[1:]:
        more, found, strange = _of_cells(path, cells[name], column, 1.0)
        values, findings, odd = values * more, findings + found, odd | strange
    if product:
        values = values * origin.factor
    if origin.logarithm:
        values = values.where(values > 0).map(np.log)
    if origin.logarithm or product:
        findings.append(Finding.of(column, (), f"computed as {origin.text}"))
    return values, findings, odd


def _of_cells(
    path: Path, series: "pd.Series[Any]", column: str, factor: float
) -> tuple["pd.Series[float]", list[Finding], set[int]]:
    """One column of the source; a unit in a cell says more than the factor of its column."""
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
        ("missing", EMPTY),
    ):
        rows = [row for row, quantity in read.items() if quantity.kind == kind]
        if rows and (kind != "missing" or column in ("flops", "loss")):
            if kind != "missing":
                text += f" ({series[rows[0]]!r}), left empty"
            findings.append(Finding.of(column, rows, text, doubt=True))
    for unit in sorted({quantity.unit for quantity in read.values()} - {""}):
        rows = [row for row, quantity in read.items() if quantity.unit == unit]
        example = f"{series[rows[0]]!r} as {read[rows[0]].value:.6g}"
        findings.append(Finding.of(column, rows, f"unit {unit!r} understood, {example}"))
    scaled = {row: q.value * (1.0 if q.unit else factor) for row, q in read.items()}
    odd = {row for row, quantity in read.items() if quantity.kind == "not finite"}
    return pd.Series(scaled).astype(float), findings, odd


def _natural(series: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column that is carried along: numbers or truth values where every cell is one."""
    texts = series.map(lambda cell: "" if blank(cell) else str(cell).strip())
    filled = texts[texts != ""]
    if len(filled) and set(filled) <= {"True", "False"}:
        return texts.map({"True": True, "False": False, "": None})
    numbers = pd.to_numeric(filled, errors="coerce")
    if len(filled) and not numbers.isna().any():
        return numbers.map(float).reindex(series.index)
    return texts


def _fill(table: pd.DataFrame) -> list[Finding]:
    """Columns that every run table has: flops, run_id, role, status; says what was made up."""
    findings = []
    if "flops" not in table or table["flops"].isna().all():
        table["flops"] = 6.0 * table["n_active"] * table["tokens"]
        findings.append(Finding.of("flops", (), COMPUTED))
    elif {"n_active", "tokens"} <= set(table) and _is_product(table):
        findings.append(Finding.of("flops", (), "computed: 6 × n_active × tokens in every row"))
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
    for state in dict.fromkeys(states[states.isin([*STATES])]):
        if STATES[state] != "finished":
            word = state if STATES[state] == state else f"{state}, here {STATES[state]}"
            rows = table.index[states == state]
            findings.append(Finding.of("status", rows, f"{word}: {UNFINISHED}"))
    status = states.map(lambda state: STATES.get(state, "missing") if state else "finished")
    measured = table["loss"].notna() & table["flops"].notna()
    status = status.where(measured | (status != "finished"), "missing")
    odd = table.attrs.pop("not_finite")
    lost = [row for row in odd if STATES.get(states[row] or "finished") == "finished"]
    status[lost] = "diverged"
    table["status"] = status
    return findings


def _is_product(table: pd.DataFrame) -> bool:
    """Whether flops are 6 · n_active · tokens to many digits, which no other count would be."""
    rows = table[["flops", "n_active", "tokens"]].dropna()
    product = 6.0 * rows["n_active"] * rows["tokens"]
    return len(rows) > 0 and bool(np.allclose(rows["flops"], product, rtol=1e-9, atol=0.0))


def _repeats(table: pd.DataFrame) -> "pd.Series[bool]":
    """Rows equal to an earlier one; made-up names do not make two rows different."""
    keys = table.drop(columns="run_id")
    made_up = table["run_id"].str.fullmatch(r"row-\d+")
    return keys.assign(run_id=table["run_id"].where(~made_up, "")).astype(str).duplicated()


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a run table as CSV or Parquet, whole or not at all."""
    write_atomic(path, table_bytes(table, path))


def check_out(path: Path) -> None:
    """Raise InputError for a name that is neither .csv nor .parquet."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"--out {path}: not a table", "name it .csv or .parquet")


def table_bytes(table: pd.DataFrame, path: Path) -> bytes:
    """What `write_table` writes, in the form that the name asks for."""
    check_out(path)
    table = table.drop(columns="row_name", errors="ignore")
    if path.suffix.lower() == ".parquet":
        return bytes(table.to_parquet(index=False))
    return table.to_csv(index=False).encode()
