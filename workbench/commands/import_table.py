"""`workbench import TABLE`: an outside table as a run table, with everything noticed in it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.output import Json, cell, emit

if TYPE_CHECKING:
    from rich.console import Console


def command(
    source: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV, TSV, Parquet, JSON lines, W&B export.")
    ],
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", help="n_active=params,loss=eval/loss,tokens=tok_B*1e9 …"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where to write: .csv or .parquet.")] = Path(
        "runs.csv"
    ),
    json: Json = False,
) -> None:
    """An outside table to a run table: columns mapped by name, every doubt named by row."""
    from workbench.importers import import_table, parse_columns, write_table

    if out.exists() and out.resolve() == source.resolve():
        raise ValueError(f"--out {out} is the table itself\nname another file; the table stays")
    imported = import_table(source, parse_columns(columns or []))
    write_table(imported.table, out)
    usable = int((imported.table["status"] == "finished").sum())
    payload = {
        "out": out,
        "rows": len(imported.table),
        "usable": usable,
        "columns": imported.columns,
        "findings": imported.findings,
        "left_out": imported.left_out,
    }

    def people(on: "Console") -> None:
        for finding in imported.findings:
            on.print(f"{'caution: ' if finding.doubt else ''}{finding.sentence()}")
        for finding in imported.left_out:
            on.print(f"left out: {finding.sentence()}")
        table = imported.table
        for name in ("flops", "n_active", "tokens", "loss"):
            if name in table:
                on.print(f"{name}: {cell(table[name].min())} to {cell(table[name].max())}")
        on.print(f"{out}: {len(table)} runs, {usable} of them usable")

    emit(payload, as_json=json, people=people)
