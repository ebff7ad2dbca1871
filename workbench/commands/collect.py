"""`workbench collect DIR`: run folders to a run table."""

from typing import TYPE_CHECKING

from workbench.commands.status import Folder
from workbench.output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console


def command(folder: Folder, json: Json = False) -> None:
    """Run folders to tables of runs, samples and loss curves: CSV and Parquet beside the runs."""
    from sweeps.table import write_tables

    tables = dict(zip(("runs", "samples", "curves"), write_tables(folder), strict=True))
    problems = [text for table in tables.values() for text in table.attrs["problems"]]
    files = {name: folder / f"{name}.csv" for name in tables}

    def people(out: "Console") -> None:
        for name, path in files.items():
            out.print(f"{path}: {len(tables[name])} rows")
        for problem in problems:
            out.print(f"left out: {problem}", style="yellow")

    rows = {name: len(table) for name, table in tables.items()}
    emit({"files": files, "rows": rows, "problems": problems}, as_json=json, people=people)
