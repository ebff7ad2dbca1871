"""What a table lacks, from beside it: sizes by run from a second table or from the command line.

Loss curves hold no parameter counts. `--hparams FILE` is any table with a row a run and a column
that names it; `--run NAME:n_active=124M,tokens=2.5B` says the same for one run, and overrules.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from workbench.errors import InputError
from workbench.quantities import plain_header
from workbench.table_checks import Finding
from workbench.table_files import blank, read_cells

NAME_COLUMNS = ("run", "run id", "run name", "name", "id", "trial id", "experiment")
_FLAG = re.compile(r"(?P<run>.+?):(?P<pairs>\s*[^:=,]+=.*)")

Facts = dict[str, dict[str, str]]  # by run, then by column


def parse_runs(texts: Iterable[str]) -> Facts:
    """What `--run NAME:n_active=124M,tokens=2.5B` says, by run; the same run may come again."""
    found: Facts = {}
    for text in texts:
        parts = _FLAG.fullmatch(text.strip())
        if parts is None:
            raise InputError(
                f"--run {text!r} names no run or no number",
                "write it as --run NAME:n_active=124M,tokens=2.5B",
            )
        known = found.setdefault(parts["run"].strip(), {})
        for pair in re.split(r",(?=[^,=]+=)", parts["pairs"]):
            column, _, value = (piece.strip() for piece in pair.partition("="))
            if not (column and value):
                raise InputError(f"--run {text!r}: {pair!r} has no value", "write KEY=NUMBER")
            if known.get(column, value) != value:
                raise InputError(
                    f"--run {text!r}: {column} was {known[column]} before", "name it once"
                )
            known[column] = value
    return found


def read_parameters(path: Path) -> pd.DataFrame:
    """The second table, untouched cells; its rows are named by one of NAME_COLUMNS."""
    cells = read_cells(path)
    if not _name_columns(cells):
        raise InputError(
            f"{path} has no column that names the runs",
            f"call one {', '.join(NAME_COLUMNS[:4])}, with the runs' names as they are logged",
        )
    return cells


def add_parameters(
    path: Path, cells: pd.DataFrame, table: pd.DataFrame | None, flags: Mapping[str, dict[str, str]]
) -> tuple[pd.DataFrame, list[Finding]]:
    """The cells with the columns of the second table and of the flags; who got none is named.

    A column that both have keeps the cells of the first, filled from the second where empty.
    Raises InputError for a flag of an unknown run, and where no name agrees.
    """
    if table is None and not flags:
        return cells, []
    own = _name_columns(cells)
    if not own:
        raise InputError(
            f"{path} has no column that names its runs, so nothing can be added to them",
            f"call one {', '.join(NAME_COLUMNS[:4])}",
        )
    joined = cells.astype(object).copy()
    findings: list[Finding] = []
    if table is not None:
        findings += _from_table(joined, own, table)
    for run, facts in flags.items():
        rows = next((found for name in own if (found := _rows_of(joined[name], run))), [])
        if not rows:
            names = ", ".join(map(str, joined[own[0]].head(8)))
            raise InputError(f"--run {run}: {path} has no such run", f"its runs: {names}")
        for column, value in facts.items():
            if column not in joined:
                joined[column] = ""
            joined.loc[rows, column] = value
    return joined, findings


def _name_columns(cells: pd.DataFrame) -> list[str]:
    return [
        str(name) for known in NAME_COLUMNS for name in cells if plain_header(str(name)) == known
    ]


def _rows_of(names: "pd.Series[str]", run: str) -> list[int]:
    """Rows of this name; else those whose last folder has it, where they are of one run."""
    texts = names.map(str).str.strip()
    exact = texts.index[texts == run]
    if len(exact):
        return [int(row) for row in exact]
    tails = texts[texts.str.rsplit("/", n=1).str[-1] == run]
    return [int(row) for row in tails.index] if tails.nunique() == 1 else []


def _from_table(joined: pd.DataFrame, own: list[str], table: pd.DataFrame) -> list[Finding]:
    """Add the second table's columns in place, by the pair of name columns that agrees most."""
    pairs = [(mine, theirs) for mine in own for theirs in _name_columns(table)]
    matched = {
        pair: {
            int(row): rows  # type: ignore[call-overload]
            for row, run in table[pair[1]].items()
            if (rows := _rows_of(joined[pair[0]], str(run).strip()))
        }
        for pair in pairs
    }
    mine, theirs = max(pairs, key=lambda pair: len(matched[pair]))
    places = matched[mine, theirs]
    if not places:
        raise InputError(
            f"--hparams names no run of the table: {', '.join(map(str, table[theirs].head(4)))}",
            f"name them as the table does: {', '.join(map(str, joined[mine].head(4)))}",
        )
    taken: dict[int, int] = {}
    for row, rows in places.items():
        for place in rows:
            if place in taken:
                name = str(joined.at[place, mine])
                raise InputError(
                    f"--hparams rows {taken[place]} and {row} are both of run {name}",
                    "leave one of them",
                )
            taken[place] = row
    findings = _copy(joined, table.drop(columns=_name_columns(table)), taken)
    bare = [row for row in joined.index if row not in taken]
    if bare:
        text = f"not in the table of --hparams ({joined[mine][bare[0]]})"
        findings.append(Finding.of("hparams", bare, text, doubt=True))
    unused = [str(table[theirs][row]) for row in table.index if row not in places]
    if unused:
        text = f"of no run of the table: {', '.join(unused[:6])}"
        findings.append(Finding.of("hparams", (), text, doubt=True))
    return findings


def _copy(joined: pd.DataFrame, table: pd.DataFrame, taken: Mapping[int, int]) -> list[Finding]:
    findings = []
    for name in table:
        column = str(name)
        fresh = column not in joined
        if fresh:
            joined[column] = ""
        other = []
        for place, row in taken.items():
            old, new = joined[column][place], table[name][row]
            if fresh or blank(old):
                joined.at[place, column] = "" if blank(new) else new
            elif not blank(new) and str(old).strip() != str(new).strip():
                other.append(place)
        if other:
            shown = str(table[name][taken[other[0]]])
            text = f"another value in --hparams ({shown}), not taken"
            findings.append(Finding.of(column, other, text, doubt=True))
    return findings
