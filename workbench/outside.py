"""Predictions and reports from an outside table: no sweep, no training, no torch.

A seal here shows when a prediction was made and that it was not changed since. That the target
was trained later only the target's owner knows: unlike a sweep's target, it wrote no ledger head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fits.observations import FitError, run_names
from fits.predictions.prediction import LADDER_ROLES, Prediction, predict_target
from reports.build import write_report
from reports.inputs import ReportFiles, ReportInputs
from workbench import ledger
from workbench.actual_run import alike, is_of, sealed_run, with_actual
from workbench.backtest_table import backtest_runs
from workbench.errors import InputError
from workbench.estimate import ladder_rows, loss_column, table_hash
from workbench.importers import Imported, import_table
from workbench.output import json_text, plain
from workbench.seal import first_seals, read_anchor, seal_state
from workbench.targets import (
    REACH,
    TARGET_KEYS,
    suggest_target,
    target_doubts,
    target_id,
    target_name,
)

__all__ = ["Outside", "open_table", "predict_table", "report_table", "seal", "sealed_before"]

LEDGER_NAME = "ledger.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """A checked table with the place of its seals."""

    path: Path
    imported: Imported
    runs: pd.DataFrame  # the loss that is predicted stands in `loss`
    ledger: Path
    named_ledger: bool  # and not the one beside the table
    family: str

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a reader must know of the table."""
        return tuple(ladder_rows(self.imported)[1])


def open_table(path: Path, *, part: str | None = None, book: Path | None = None) -> Outside:
    """The table, ready to predict `loss` or one of its parts; seals lie beside it by default."""
    imported = import_table(path)
    column = loss_column(imported.table, part)
    runs = imported.table.assign(loss=imported.table[column])
    suffix = "" if column == "loss" else f":{column}"
    return Outside(
        path=path,
        imported=imported,
        runs=runs,
        ledger=book or path.parent / LEDGER_NAME,
        named_ledger=book is not None,
        family=f"table:{path.stem}{suffix}",
    )


def predict_table(
    outside: Outside,
    targets: Sequence[dict[str, float]],
    *,
    seed: int = 0,
    step: Callable[[], None] | None = None,
) -> tuple[Prediction, ...]:
    """A prediction of each target from all runs of at most its compute; refusals stand inside."""
    made = []
    for target in targets:
        found = predict_target(outside.runs, None, target, ratio=1.0, loss_weights={}, seed=seed)
        doubts = (*target_doubts(target, outside.runs), *_already_run(outside, found))
        loss = replace(found.loss, cautions=(*found.loss.cautions, *doubts))
        made.append(replace(found, name=target_name(target), loss=loss))
        if step:
            step()
    return tuple(made)


def _already_run(outside: Outside, prediction: Prediction) -> list[str]:
    """A caution where the target stands in the table as a run that has ended."""
    names = run_names(outside.runs[alike(outside.runs, prediction.target)])
    if not names:
        return []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    fitted = ", which was fitted" if set(names) & set(prediction.loss.runs_used) else ""
    return [f"already_run: the table holds this target as {names[0]}{more}{fitted}: no forecast"]


def sealed_before(outside: Outside, predictions: Sequence[Prediction]) -> list[str]:
    """A caution for each prediction whose target this table's ledger holds a seal of."""
    first: dict[str, ledger.Entry] = {}
    for entry in ledger.read(outside.ledger).entries:
        if entry.kind == "prediction" and entry.family == outside.family:
            first.setdefault(str(entry.body["target_run_id"]), entry)
    return [
        f"sealed_before: {prediction.name} repeats line {entry.index + 1} of {outside.ledger} "
        f"(of {entry.time[:19]} UTC); the first seal counts"
        for prediction in predictions
        for entry in [first.get(target_id(prediction.target))]
        if entry is not None
    ]


def seal(outside: Outside, predictions: Sequence[Prediction]) -> list[ledger.Entry]:
    """Append each prediction to the ledger; one that repeats an earlier target counts as later."""
    return [
        ledger.append(
            outside.ledger,
            "prediction",
            outside.family,
            {
                "target_run_id": target_id(prediction.target),
                "name": prediction.name,
                "prediction": plain(prediction),
                "table_hash": table_hash(outside.path),
            },
        )
        for prediction in predictions
    ]


def sealed_predictions(outside: Outside) -> dict[str, Prediction]:
    """The predictions of this table that count, by the id of their target."""
    found: dict[str, Prediction] = {}
    for entry in ledger.read(outside.ledger).entries:
        if entry.kind == "prediction" and entry.family == outside.family:
            where = f"{outside.ledger}, line {entry.index + 1}"
            text = json_text(entry.body["prediction"])
            found.setdefault(str(entry.body["target_run_id"]), Prediction.from_json(text, where))
    return found


def report_table(
    outside: Outside,
    targets: Sequence[dict[str, float]],
    folder: Path,
    *,
    anchor: str | None = None,
    actual: str | None = None,
    past: bool = False,
    step: Callable[[int, int], None] | None = None,
) -> ReportFiles:
    """Write the report of a table: sealed predictions where there are, else made now.

    Without a target: that of the run that was measured, or the sealed ones, or ten times the
    largest compute. `actual` names the run that was the target; a row whose role is target is
    taken without it. Only predictions of the measured run's compute and sizes are shown against
    it. With `past`, what would have been said of the largest runs is shown too; `step` tells how
    far it is. Raises InputError for a broken ledger, or a named one that is not there.
    """
    sealed = sealed_predictions(outside)
    unsealed = _no_seals(outside) if not sealed else []
    runs, measured, notes = with_actual(
        outside.runs, outside.path, actual or sealed_run(outside.runs, sealed)
    )
    outside = replace(outside, runs=runs)
    wanted, measured, more = _wanted(outside, targets, sealed, measured, named=actual is not None)
    notes += [*more, *unsealed]
    predictions = []
    for target in wanted:
        known = sealed.get(target_id(target))
        predictions.append(known or predict_table(outside, [target])[0])
    tests, untested = _past(runs, step) if past else (None, [])
    stamp, more = _seal(outside, predictions[0], sealed, anchor, trained=measured is not None)
    inputs = ReportInputs(
        title=f"{outside.path.stem}: what a larger run would give",
        family={
            "table": outside.path.name,
            "table hash": table_hash(outside.path),
            "runs": len(runs),
            "flops": _flops_source(outside.imported),
        },
        runs=runs,
        predictions=tuple(predictions),
        actual=measured,
        seal=stamp,
        notes=(*outside.doubts, *notes, *more, *untested),
        backtest=tests,
    )
    return write_report(inputs, folder)


def _past(
    runs: pd.DataFrame, step: Callable[[int, int], None] | None
) -> tuple[pd.DataFrame | None, list[str]]:
    """A backtest of the ladder's runs; None and the reason where none is due."""
    try:
        return backtest_runs(runs[runs["role"].isin(LADDER_ROLES)], "loss", step=step).rows, []
    except FitError as refusal:
        return None, [f"no backtest: {refusal}"]


def _wanted(
    outside: Outside,
    targets: Sequence[dict[str, float]],
    sealed: dict[str, Prediction],
    measured: dict[str, Any] | None,
    *,
    named: bool,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None, list[str]]:
    """The targets to show, what was measured of them, and what the reader must know of both.

    Raises InputError where the run that was named as the actual is of none of the targets.
    """
    asked: list[dict[str, Any]] = [*targets] or [dict(p.target) for p in sealed.values()]
    if measured is None:
        if asked:
            return asked, None, []
        note = f"no target was named: {REACH:g} times the largest compute is shown"
        return [suggest_target(outside.runs)], None, [note]
    run = f"{measured['run_id']} ({float(measured['flops']):.4g} FLOPs)"
    same = [t for t in asked if is_of(measured, t)]
    others = [t for t in asked if t not in same]
    if targets and not same and named:
        remedy = "leave out --target: the run is then held against its own compute"
        what = "; ".join(target_name(t) for t in others)
        raise InputError(f"the run {run} is not the target: {what}", remedy)
    if targets and not same:
        return asked, None, [f"the table's target {run} is another one and is not compared"]
    own = {key: float(measured[key]) for key in TARGET_KEYS if key in measured}
    return same or [own], measured, [_not_compared(outside.runs, t, run) for t in others]


def _not_compared(runs: pd.DataFrame, target: dict[str, Any], run: str) -> str:
    """What to say of a prediction that is not of the run compared, and how to compare it."""
    text = f"{target_name(target)} is not of {run} and is not compared here"
    ids = runs.loc[alike(runs, target), "run_id"].tolist()
    return f"{text}: `--actual {ids[0]}` shows its run" if ids else text


def _no_seals(outside: Outside) -> list[str]:
    """What to say where no prediction of this table is sealed; InputError where that may be the
    ledger's fault."""
    if not outside.ledger.exists() and outside.named_ledger:
        remedy = "`workbench predict … --seal` writes one; without --ledger it lies by the table"
        raise InputError(f"there is no ledger {outside.ledger}", remedy)
    reading = ledger.read(outside.ledger)
    if reading.problems:
        remedy = "what it sealed can't be told any more; take it from where it was kept, or move it"
        raise InputError(f"{outside.ledger} is broken: {reading.problems[0]}", remedy)
    families = sorted({entry.family for entry in reading.entries})
    if not families:
        return []
    return [
        f"{outside.ledger.name} holds no seal of {outside.family}, only of {', '.join(families)}"
    ]


def _flops_source(imported: Imported) -> str:
    computed = any(f.column == "flops" and "computed" in f.text for f in imported.findings)
    return "6 × n_active × tokens" if computed else "as the table has them"


def _seal(
    outside: Outside,
    headline: Prediction,
    sealed: dict[str, Prediction],
    anchor: str | None,
    *,
    trained: bool,
) -> tuple[dict[str, Any] | None, list[str]]:
    """The state of the headline's seal, None where it was never sealed.

    Raises InputError for an anchor where there is no seal that it could hold.
    """
    name = target_id(headline.target)
    text = read_anchor(anchor) if anchor else None
    if name not in sealed and text:
        what = f"--anchor: {headline.name} is not sealed in {outside.ledger}"
        raise InputError(what, "`workbench predict … --seal` seals it; --ledger names another book")
    if name not in sealed:
        return None, []
    state = seal_state(outside.ledger, outside.family, name, None, anchor=text)
    data, notes = state.as_dict(), list(state.notes)
    entry = first_seals(ledger.read(outside.ledger).entries, outside.family, name)
    if any(e.body.get("table_hash") != table_hash(outside.path) for e in entry.values()):
        notes.append("the table has changed since the prediction was sealed")
    if trained:
        data["sealed_before_target"] = None
        notes.append("an outside table does not show when its target was trained")
    return data, notes
