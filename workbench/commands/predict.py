"""`workbench predict TABLE --target …`: a larger run's loss, with intervals; sealed on request."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.fit import Part, Table
from workbench.errors import FAILED
from workbench.output import Json, cautions, emit, progress, table
from workbench.remedies import remedy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from fits.predictions.prediction import Prediction

Targets = Annotated[
    list[str] | None,
    typer.Option("--target", help="flops=1e23, or n_active=70B,tokens=1.4T; may be repeated."),
]
Ledger = Annotated[
    Path | None, typer.Option("--ledger", help="Where seals lie; ledger.jsonl beside the table.")
]


def command(
    runs: Table,
    target: Targets = None,
    part: Part = None,
    seal: Annotated[bool, typer.Option("--seal", help="Append to the ledger.")] = False,
    ledger: Ledger = None,
    json: Json = False,
) -> None:
    """Predict a larger run with the automatic forecaster, and seal the prediction.

    Exit status 1 if every target was refused; a refusal is sealed all the same.
    """
    from workbench import outside
    from workbench.targets import parse_targets, target_option

    if not target:
        raise ValueError("--target is missing\nsay what to predict: --target flops=1e23")
    wanted = parse_targets(target)
    opened = outside.open_table(runs, part=part, book=ledger)
    with progress(as_json=json) as bars:
        task = bars.add_task("predict", total=len(wanted))
        predictions = outside.predict_table(opened, wanted, step=lambda: bars.advance(task))
    doubts = outside.sealed_before(opened, predictions) if seal else []
    entries = outside.seal(opened, predictions) if seal else []

    def people(out: "Console") -> None:
        _show(predictions, part, out)
        cautions([*_said(predictions), *doubts, *opened.doubts], out)
        for entry in entries:
            out.print(f"sealed {entry.body['name']} in {opened.ledger}; head {entry.hash}")
        if entries:
            out.print("keep the last head elsewhere (a commit, a mail): it anchors the seal")
        wanted_again = [] if seal else [target_option(item.target) for item in predictions]
        out.print(f"next: {_report(runs, wanted_again, part, ledger)}")

    payload = {
        "predictions": predictions,
        "cautions": [*doubts, *opened.doubts],
        "ledger": opened.ledger if entries else None,
        "sealed": [{"name": e.body["name"], "time": e.time, "head": e.hash} for e in entries],
    }
    emit(payload, as_json=json, people=people)
    if all(item.loss.refused for item in predictions):
        raise typer.Exit(FAILED)


def _show(predictions: "Sequence[Prediction]", part: str | None, out: "Console") -> None:
    """A row a target, then each refusal with what to do about it."""
    columns = ("target", "ratio", "median", "50 % from", "to", "90 % from", "to")
    rows = []
    for item in predictions:
        ends = [getattr(item.loss, end) for end in ("median", "lo50", "hi50", "lo90", "hi90")]
        rows.append((item.name, item.compute_ratio, *ends))
    out.print(table(f"predicted {part or 'loss'}", columns, rows))
    for item in predictions:
        if item.loss.refused:
            out.print(f"{item.name}: refused ({item.loss.refused}): {item.loss.reason}")
            out.print(f"  do: {remedy(item.loss.refused)}")


def _report(runs: Path, targets: list[str], part: str | None, book: Path | None) -> str:
    """The report's command line: what is sealed need not be named again."""
    options = [("--target", target) for target in targets]
    options += [("--part", part)] if part else []
    options += [("--ledger", str(book))] if book else []
    return shlex.join(["workbench", "report", str(runs), *(w for pair in options for w in pair)])


def _said(predictions: "Sequence[Prediction]") -> list[str]:
    """Every caution once; those of some targets alone under their names."""
    names: dict[str, list[str]] = {}
    for item in predictions:
        for text in item.loss.cautions:
            names.setdefault(text, []).append(item.name)
    every = len(predictions)
    return [t if len(of) == every else f"{'; '.join(of)}: {t}" for t, of in names.items()]
