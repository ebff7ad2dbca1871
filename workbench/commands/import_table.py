"""`workbench import SOURCE`: an outside table, or loss curves, as a run table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.errors import Failure, InputError
from workbench.output import Json, cell, emit, progress

if TYPE_CHECKING:
    from rich.console import Console

    from workbench.importers import Imported

DEFAULT_OUT = Path("runs.csv")
SHOWN = ("flops", "n_active", "tokens", "loss")


Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="CSV, TSV, Parquet or JSON lines, a row a run; a Weights & Biases export of runs or "
        "of a chart; or a folder of TensorBoard runs. Of loss curves, the value at each run's "
        "last step is taken.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        help="n_active=params,loss=eval/loss … A source may be multiplied "
        "(tokens=steps*524288, n_active=size*1e9) or a logarithm, loss=ln(eval/ppl).",
    ),
]
Hparams = Annotated[
    Path | None,
    typer.Option("--hparams", help="A second table with a row a run, for what SOURCE lacks."),
]
Runs = Annotated[
    list[str] | None,
    typer.Option("--run", help="The same for one run: NAME:n_active=124M,tokens=2.5B"),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Where to write: .csv or .parquet; runs.csv.")
]


def command(
    source: Source,
    columns: Columns = None,
    hparams: Hparams = None,
    run: Runs = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """An outside table to a run table: columns mapped by name, every doubt named by row.

    Exit status 1, and nothing written, where no row can be used.
    """
    from workbench.importers import check_out, import_runs, parse_columns, table_bytes
    from workbench.sources.parameters import parse_runs, read_parameters

    place = out or DEFAULT_OUT
    check_out(place)
    _refuse_source(place, [source, *([hparams] if hparams else [])])
    mapping, flags = parse_columns(columns or []), parse_runs(run or [])
    with progress(as_json=json) as bars:
        task = bars.add_task("read", total=None)
        imported = import_runs(
            source,
            mapping,
            parameters=read_parameters(hparams) if hparams else None,
            flags=flags,
            folders=True,
            step=lambda done, total: bars.update(task, completed=done, total=total),
        )
    if not imported.usable:
        raise _nothing_usable(source, imported)
    written = _write(table_bytes(imported.table, place), place, named=out is not None)
    payload = {
        "out": place,
        "written": written,
        "rows": len(imported.table),
        "usable": imported.usable,
        "columns": imported.columns,
        "findings": imported.findings,
        "left_out": imported.left_out,
    }
    emit(payload, as_json=json, people=lambda on: _tell(on, imported, place, written))


def _refuse_source(place: Path, sources: list[Path]) -> None:
    for path in sources:
        if place.exists() and path.exists() and place.samefile(path):
            what = f"--out {place} is a table that is read"
            raise InputError(what, "name another file with --out; the source stays as it is")


def _nothing_usable(source: Path, imported: "Imported") -> Failure:
    """Why no row can be fitted: what was found against rows, the first three of it."""
    against = [finding.sentence() for finding in imported.findings if finding.rows]
    reasons = "; ".join(against[:3]) or "see its status column"
    return Failure(
        f"{source}: none of its {len(imported.table)} rows can be used: {reasons}",
        "a usable row is finished, with a loss and its flops (or n_active and tokens): "
        "name the right columns with --columns, or repair these rows",
    )


def _write(content: bytes, place: Path, *, named: bool) -> str:
    """Write the table: "new", "replaced" or "unchanged"; only a file that was named is replaced."""
    from model.records import write_atomic

    before = place.read_bytes() if place.is_file() else None
    if before == content:
        return "unchanged"
    if before is not None and not named:
        raise InputError(
            f"{place} is there already and holds something else",
            f"--out {place} replaces it; another --out keeps it",
        )
    write_atomic(place, content)
    return "new" if before is None else "replaced"


def _tell(on: "Console", imported: "Imported", place: Path, written: str) -> None:
    from workbench.targets import suggest_target, target_option

    table = imported.table
    if any(finding.rows for finding in (*imported.findings, *imported.left_out)):
        on.print("rows: row 1 is the first below the header")
    for finding in imported.findings:
        on.print(f"{'caution: ' if finding.doubt else ''}{finding.sentence()}")
    for finding in imported.left_out:
        on.print(f"left out: {finding.sentence()}")
    for name in SHOWN:
        if name in table:
            on.print(f"{name}: {cell(table[name].min())} to {cell(table[name].max())}")
    state = f" ({written})" if written != "new" else ""
    others = table["status"][table["status"] != "finished"].value_counts()
    rest = ", ".join(f"{many} {status}" for status, many in others.items())
    usable = f"{imported.usable} of them usable" + (f" ({rest})" if rest else "")
    on.print(f"{place}{state}: {len(table)} runs, {usable}")
    if table["role"].isin(["ladder", "grid", ""])[table["status"] == "finished"].any():
        target = target_option(suggest_target(table))
        on.print(f"next: workbench predict {place} --target {target} --seal")
