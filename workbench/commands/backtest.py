"""`workbench backtest TABLE`: the largest runs, predicted from the smaller ones."""

from typing import TYPE_CHECKING

from workbench.commands.fit import Part, Table
from workbench.output import Json, emit, progress, table

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = {
    "law": "law",
    "compute_ratio": "ratio",
    "runs": "runs",
    "predicted": "predicted",
    "lo90": "90 % from",
    "hi90": "to",
    "actual": "actual",
    "error_percent": "error %",
    "inside_90": "inside",
    "refused": "refused",
}


def command(runs: Table, part: Part = None, json: Json = False) -> None:
    """Hold out the largest runs and predict them from the smaller ones, law by law."""
    from workbench.estimate import CUTS, backtest

    with progress(as_json=json) as bars:
        task = bars.add_task("backtest", total=len(CUTS))
        rows = backtest(runs, part=part, step=lambda: bars.advance(task))

    def people(out: "Console") -> None:
        shown = rows[list(COLUMNS)].itertuples(index=False)
        out.print(table("the largest runs, held out", tuple(COLUMNS.values()), shown))

    emit({"rows": rows}, as_json=json, people=people)
