"""The whole way: plan, train the ladder, fit, seal, train the target, report.

The only file that knows both sides, the runs and the fits. Every stage leaves plain files behind
and looks for them first, so an interrupted sweep goes on where it was and a finished one trains
nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fits.predictions.prediction import Prediction, predict_target
from model.records import read_json, write_atomic
from reports.build import write_report
from reports.inputs import ReportFiles
from sweeps.local import train_runs
from sweeps.lock import hold
from sweeps.planned import PlannedRun
from sweeps.pool import Event
from sweeps.progress import SweepProgress
from sweeps.sweep_file import load_sweep
from sweeps.table import collect, samples, write_tables
from workbench import ledger
from workbench.errors import Failure
from workbench.prepare import LEDGER_NAME, Prepared, data_line, data_progress, prepare
from workbench.report_inputs import gather
from workbench.seal import sealed_predictions
from workbench.target_entries import ledger_kinds, note_finished, note_started

WALL_NAME = "wall.json"
SHORT = 5.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A sweep taken the whole way: its report, and what came of each prediction in a sentence."""

    files: ReportFiles
    verdict: tuple[str, ...]


def run_sweep(sweep_path: Path, runs: Path, tell: Callable[[str], None]) -> Done:
    """Take a sweep file the whole way; `tell` gets a line for each stage.

    Raises ValueError for bad input, LedgerError where the ledger is broken, SweepBusy where another
    process has this sweep, Failure where training could not finish.
    """
    sweep = load_sweep(sweep_path)
    folder = runs / sweep.name
    ledger.check(runs / LEDGER_NAME)
    with hold(folder, "pipeline.lock"):
        with data_progress() as progress, stage(folder, "data"):
            prepared = prepare(sweep, sweep_path, runs, progress)
        tell(data_line(prepared))
        train_ladder(prepared, tell)
        with stage(folder, "fit"):
            for prediction in seal_predictions(prepared):
                tell(prediction_line(prediction))
        train_target(prepared, tell)
        with stage(folder, "report"):
            files = report_sweep(folder)
    return Done(files=files, verdict=verdict(files))


def train_ladder(prepared: Prepared, tell: Callable[[str], None]) -> None:
    """Train what is missing of the ladder, one single-threaded worker a core."""
    ladder = prepared.plan.ladder
    tell(f"ladder: {len(ladder)} runs, {sum(run.flops for run in ladder):.3g} FLOPs")
    with stage(prepared.folder, "ladder") as beat:
        _train(prepared, ladder, workers=prepared.workers, beat=beat)


def train_target(prepared: Prepared, tell: Callable[[str], None]) -> None:
    """Train the target with all its threads, its seals' head in its first line of metrics."""
    target = prepared.plan.target
    head = note_started(prepared, tell)
    tell(f"target: {target.name}, {target.flops:.3g} FLOPs")
    with stage(prepared.folder, "target") as beat:
        _train(prepared, (target,), workers=1, beat=beat, ledger_head=head)
    note_finished(prepared)


def _train(
    prepared: Prepared,
    runs: tuple[PlannedRun, ...],
    *,
    workers: int,
    beat: Callable[[], None],
    ledger_head: str | None = None,
) -> None:
    """Train the runs that have no result yet; Failure names those that could not be trained."""
    with SweepProgress(runs) as bars:

        def listen(event: Event) -> None:
            bars(event)
            if event.kind != "skipped":
                beat()

        outcome = train_runs(
            runs,
            data_folder=prepared.data_folder,
            folder=prepared.folder,
            workers=workers,
            ledger_head=ledger_head,
            listen=listen,
        )
    if outcome.failed:
        name, reason = next(iter(outcome.failed.items()))
        raise Failure(
            f"{len(outcome.failed)} of {len(runs)} runs failed; {name}: {reason}",
            f"read {prepared.folder}/{name}/log.txt; the same command again retries only those",
        )


def seal_predictions(prepared: Prepared) -> tuple[Prediction, ...]:
    """The sealed prediction of each ratio; those already in the ledger are read, not made anew."""
    target, book, family = prepared.plan.target, prepared.ledger, prepared.sweep.name
    assert target.run_id is not None
    sealed = sealed_predictions(book, family, target.run_id)
    if "target_started" in ledger_kinds(prepared):
        return tuple(sealed.values())  # too late for any other
    table, counts = collect(prepared.folder), samples(prepared.folder)
    unread = (*table.attrs["problems"], *counts.attrs["problems"])
    max_epochs = {source.name: source.max_epochs for source in prepared.sweep.data.resolved()}
    for ratio in prepared.sweep.ladder.ratios:
        if f"x{ratio:g}" in sealed:
            continue
        prediction = predict_target(
            table[table["role"] != "target"],
            counts[counts["role"] != "target"],
            target_facts(target),
            ratio=ratio,
            loss_weights=prepared.sweep.loss,
            seed=prepared.sweep.seed,
            max_epochs=max_epochs,
        )
        prediction = replace(prediction, cautions=(*prediction.cautions, *unread))
        body = {
            "target_run_id": target.run_id,
            "name": prediction.name,
            "prediction": json.loads(prediction.to_json()),
        }
        ledger.append(book, "prediction", family, body)
        sealed[prediction.name] = prediction
    return tuple(sealed.values())


def target_facts(target: PlannedRun) -> dict[str, float | int | str | None]:
    """What a forecaster may know of the target before it is trained."""
    groups = {
        "flops": target.flops,
        "budget": target.budget,
        "n_active": target.n_active,
        "n_total": target.n_total,
        "tokens": target.tokens,
        "n_experts": target.shape.experts,
        "steps": target.steps,
        "layers": target.shape.layers,
        "unembedding_share": target.unembedding_share,
        "n_unembedding": target.shape.vocab * target.shape.width,
        "flops_6nd": 6.0 * target.n_active * target.tokens,
    }
    return {"run_id": target.run_id, "name": target.name, **groups}


def report_sweep(folder: Path, *, anchor: str | None = None) -> ReportFiles:
    """Write report.pdf and report.json of a sweep's folder from what lies in it."""
    write_tables(folder)
    return write_report(gather(folder, wall=read_wall(folder), anchor=anchor), folder)


def prediction_line(prediction: Prediction) -> str:
    """One line on a sealed prediction."""
    loss = prediction.loss
    if loss.median is None:
        return f"sealed {prediction.name}: refused ({loss.refused}): {loss.reason}"
    rates = prediction.pass_rate
    told = f"loss {loss.median:.4f} [{loss.lo90:.4f}, {loss.hi90:.4f}]"
    if rates.median is not None:
        return f"sealed {prediction.name}: {told}, pass rate {rates.median:.3f}" + (
            f" [{rates.lo90:.3f}, {rates.hi90:.3f}]"
        )
    return f"sealed {prediction.name}: {told}, pass rate refused ({rates.refused})"


@contextmanager
def stage(folder: Path, name: str) -> Iterator[Callable[[], None]]:
    """Add the wall seconds spent inside to the stage in `wall.json`.

    The function it gives is called as work goes on, and writes them every SHORT seconds, so that
    what a killed process did still counts. A stage that found its work done adds nothing.
    """
    counted = time.monotonic()

    def write() -> None:
        nonlocal counted
        now = time.monotonic()
        wall = read_wall(folder)
        wall[name] = wall.get(name, 0.0) + now - counted
        write_atomic(folder / WALL_NAME, json.dumps(wall, indent=1) + "\n")
        counted = now

    worked = False

    def beat() -> None:
        nonlocal worked
        worked = True
        if time.monotonic() - counted > SHORT:
            write()

    yield beat
    if worked or time.monotonic() - counted > SHORT or name not in read_wall(folder):
        write()


def read_wall(folder: Path) -> dict[str, float]:
    """Seconds by stage so far."""
    path = folder / WALL_NAME
    return dict(read_json(path)) if path.exists() else {}


def verdict(files: ReportFiles) -> tuple[str, ...]:
    """What came of each prediction, a sentence each, out of report.json."""
    report = read_json(files.json)
    nested = [value for value in report.values() if isinstance(value, dict)]
    ratios = [report, *(value for value in nested if "prediction" in value and "loss" in value)]
    lines = [
        f"{found['prediction']}: " + "; ".join(_outcome(found[key], key) for key in OUTCOMES)
        for found in ratios
    ]
    return (*lines, str(report["seal_verdict"]))


OUTCOMES = {"loss": "loss", "pass_rate": "pass rate"}


def _outcome(found: dict[str, Any], key: str) -> str:
    """One measured quantity against its prediction."""
    actual = found["actual"]
    measured = "not measured" if actual is None else f"actual {actual:.4f}"
    if found.get("refused"):
        return f"{OUTCOMES[key]} refused ({found['refused']}), {measured}"
    interval = f"{found['predicted']:.4f}, 90 % [{found['lo']:.4f}, {found['hi']:.4f}]"
    if actual is None:
        return f"{OUTCOMES[key]} {interval}"
    held = "inside" if found["lo"] <= actual <= found["hi"] else "OUTSIDE"
    return f"{OUTCOMES[key]} {interval}, {measured}, {held}"
