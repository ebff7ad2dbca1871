"""`workbench report TABLE_OR_DIR`: prediction against actual, as PDF and JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.fit import Part
from workbench.commands.predict import Ledger, Targets
from workbench.output import Json, emit, progress

if TYPE_CHECKING:
    from rich.console import Console

    from reports.inputs import ReportFiles


Source = Annotated[
    Path, typer.Argument(metavar="TABLE_OR_DIR", help="A run table, or a sweep's folder.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the report; that of the source.")
]
Anchor = Annotated[
    str | None, typer.Option("--anchor", help="A ledger head kept elsewhere, or a file with it.")
]
Actual = Annotated[
    str | None, typer.Option("--actual", help="The run_id that was the target (a table).")
]
Past = Annotated[
    bool, typer.Option("--backtest", help="Also what would have been said of the largest runs.")
]


def command(
    source: Source,
    target: Targets = None,
    part: Part = None,
    out: Out = None,
    anchor: Anchor = None,
    actual: Actual = None,
    ledger: Ledger = None,
    backtest: Past = False,
    json: Json = False,
) -> None:
    """Prediction against actual: report.pdf and report.json."""
    from workbench import outside
    from workbench.seal import refuse_broken
    from workbench.targets import parse_targets

    if source.is_dir():
        if target or part or actual or ledger or backtest:
            raise ValueError(
                "--target, --part, --actual, --ledger and --backtest are for tables\n"
                "a sweep's folder knows its target; leave them out"
            )
        files = _sweep(source, out, anchor)
    else:
        if out is None and (source.parent / "plan.json").exists():
            raise ValueError(
                f"{source} lies in a sweep's folder, whose own report it would replace\n"
                f"`workbench report {source.parent}` is the sweep's report; else give --out"
            )
        opened = outside.open_table(source, part=part, book=ledger)
        wanted = parse_targets(target or ())
        with progress(as_json=json) as bars:
            task = bars.add_task("report", total=None)
            files = outside.report_table(
                opened,
                wanted,
                out or source.parent,
                anchor=anchor,
                actual=actual,
                past=backtest,
                step=lambda done, total: bars.update(task, completed=done, total=total),
            )
    refuse_broken(files.json)

    def people(on: "Console") -> None:
        on.print(files.shown)
        if files.pdf is not None:
            on.print(str(files.json))

    emit({"pdf": files.pdf, "json": files.json}, as_json=json, people=people)


def _sweep(folder: Path, out: Path | None, anchor: str | None) -> "ReportFiles":
    from workbench.pipeline import report_sweep

    if out is None and anchor is None:
        return report_sweep(folder)
    from reports.build import write_report
    from workbench.pipeline import read_wall
    from workbench.report_inputs import gather
    from workbench.seal import read_anchor

    text = read_anchor(anchor) if anchor else None
    return write_report(gather(folder, wall=read_wall(folder), anchor=text), out or folder)
