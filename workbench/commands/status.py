"""`workbench status DIR`: how far the runs of a sweep are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.output import Json, emit, table

if TYPE_CHECKING:
    from rich.console import Console

Folder = Annotated[Path, typer.Argument(help="A sweep's folder, such as runs/demo.", metavar="DIR")]


def command(folder: Folder, json: Json = False) -> None:
    """How far the runs of a sweep are, from their folders alone."""
    from sweeps.status import status

    rows = status(folder)

    def people(out: "Console") -> None:
        titles = [str(name).replace("_", " ") for name in rows.columns]
        out.print(table(str(folder), titles, rows.itertuples(index=False)))

    emit({"folder": folder, "runs": rows}, as_json=json, people=people)
