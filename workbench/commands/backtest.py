"""`workbench backtest TABLE`: the largest runs, predicted from the smaller ones."""

from typing import TYPE_CHECKING, Any

from workbench.commands.fit import Part, Table
from workbench.figure_file import Figure, figure_form
from workbench.output import Json, cautions, emit, progress, table

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = {
    "target_flops": "target",
    "compute_ratio": "ratio",
    "runs": "runs",
    "predicted": "predicted",
    "lo90": "90 % from",
    "hi90": "to",
    "actual": "actual",
    "error_percent": "error %",
    "inside_90": "inside",
}
SUMMARY = {
    "law": "law",
    "predictions": "answers",
    "refused": "refused",
    "median": "all",
    "near": "below 10x",
    "middle": "to 100x",
    "far": "above",
    "worst": "worst",
    "inside": "inside",
}


def command(
    runs: Table,
    part: Part = None,
    figure: Figure = None,
    json: Json = False,
) -> None:
    """Hold out the largest runs and predict them from the smaller ones, law by law."""
    from model.records import write_atomic
    from reports.figures.backtest import backtest_picture
    from workbench.backtest_table import FORECASTER, backtest

    form = None if figure is None else figure_form(figure)
    with progress(as_json=json) as bars:
        task = bars.add_task("backtest", total=None)
        found = backtest(
            runs,
            part=part,
            step=lambda done, total: bars.update(task, completed=done, total=total),
        )
    drawn = figure if bool(found.rows["error_percent"].notna().any()) else None
    if drawn is not None and form is not None:
        write_atomic(drawn, backtest_picture(found.rows, form))
    payload = {
        "loss": found.loss,
        "rows": found.rows,
        "summary": found.summary,
        "cautions": found.cautions,
        "figure": drawn,
    }

    def people(out: "Console") -> None:
        rows = found.rows.astype(object).where(found.rows.notna(), None).to_dict("records")
        shown = [_shown(row) for row in rows if row["law"] == FORECASTER]
        title = f"{found.loss} of the largest runs, held out: the forecaster"
        out.print(table(title, tuple(COLUMNS.values()), shown))
        title = "median error of each law in percent, by how far the held-out runs lay above"
        laws = [row | {"inside": _inside(row)} for row in found.summary.to_dict("records")]
        whole = [[_short(row[name]) for name in SUMMARY] for row in laws if row["predictions"]]
        out.print(table(title, tuple(SUMMARY.values()), whole))
        silent = [str(row["law"]) for row in laws if not row["predictions"]]
        if silent:
            out.print(f"refused every question: {', '.join(silent)}")
        cautions(found.cautions, out)
        if drawn is not None:
            out.print(str(drawn))
        elif figure is not None:
            cautions(["no figure: every prediction was refused"], out)

    emit(payload, as_json=json, people=people)


def _shown(row: dict[Any, Any]) -> list[object]:
    """A row of the forecaster, a refusal by its name."""
    inside = None if row["inside_90"] is None else "yes" if row["inside_90"] else "no"
    known = row | {"predicted": row["refused"] or row["predicted"], "inside_90": inside}
    return [_short(known[name]) for name in COLUMNS]


def _short(value: object) -> object:
    """Errors in percent need no more than two decimals."""
    return round(value, 3 if abs(value) < 10 else 2) if isinstance(value, float) else value


def _inside(row: dict[Any, Any]) -> str | None:
    """Like "5 of 6": how many of the actuals a law's 90 % intervals held."""
    return f"{row['inside_90']:.0f} of {row['judged']}" if row["judged"] else None
