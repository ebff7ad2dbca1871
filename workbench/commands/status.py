"""`workbench status DIR`: how far the runs of a sweep are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.output import Json, cautions, cell, emit, table

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.status import SweepStatus

Folder = Annotated[Path, typer.Argument(help="A sweep's folder, such as runs/demo.", metavar="DIR")]
# Rung and seed stand in the name; restarts and messages only where there are any.
TITLES = ("run", "name", "role", "state", "step", "loss", "left", "FLOPs")
# Of a sweep on Slurm: the reason stands beside the state, where it is a word or two.
SLURM_TITLES = ("run", "state", "step", "loss", "left", "restarts", "{}-hours")
SHORT_REASON = 28
MANY_ROWS = 200
ENDED = ("finished", "diverged")
SHOWN_LOGS = 5
Watch = Annotated[bool, typer.Option("--watch", help="Every five seconds, until nothing goes on.")]
WATCH_SECONDS = 5.0


def command(folder: Folder, watch: Watch = False, json: Json = False) -> None:
    """How far the runs of a sweep are: from their folders, and on a cluster one query of Slurm."""
    import time

    from sweeps.status import sweep_status

    while True:
        found = sweep_status(folder)

        def people(out: "Console", found: "SweepStatus" = found) -> None:
            if watch:
                out.clear()
            _print(folder, found, out)

        shown = {name: getattr(found, name) for name in ("runs", "chain", "reasons", "problems")}
        emit({"folder": folder, **shown}, as_json=json, people=people)
        if not (watch and found.going):
            return
        time.sleep(WATCH_SECONDS)


def _print(folder: Path, found: "SweepStatus", out: "Console") -> None:
    runs = found.runs
    if any(run["job"] or run["hours_used"] is not None for run in runs):
        unit = "GPU" if any(run["device"] == "gpu" for run in runs) else "core"
        titles = [title.format(unit) for title in SLURM_TITLES]
        _print_rows(str(folder), titles, [_on_slurm(run) for run in runs], out)
        notes = [(run, [run["message"]]) for run in runs if len(run["message"]) > SHORT_REASON]
    else:
        _print_rows(str(folder), TITLES, [_shown(run) for run in runs], out)
        notes = [(run, _notes(run)) for run in runs]
    if any(run["loss"] is not None and run["state"] not in ENDED for run in runs):
        out.print("loss: held-out where a run has ended, else of its last training step")
    for run, told in notes:
        if told:
            out.print(f"{run['name']}: {'; '.join(told)}")
    for word, meaning in found.reasons.items():
        out.print(f"{word}: {meaning}")
    out.print(_counted(runs))
    for stage in found.chain:
        job = f"job {stage.job}" if stage.job else "no job"
        out.print(f"{stage.stage}: {stage.state}, {job}" + (stage.message and f": {stage.message}"))
    _print_logs([run["log"] for run in runs] + [stage.log for stage in found.chain], out)
    cautions(found.problems, out)


def _print_logs(logs: list[str], out: "Console") -> None:
    """Where to read why jobs ended badly."""
    named = list(dict.fromkeys(log for log in logs if log))
    for log in named[:SHOWN_LOGS]:
        out.print(f"see {log}")
    if more := named[SHOWN_LOGS:]:
        out.print(f"and {len(more)} more such logs, which --json names")


def _print_rows(
    title: str, titles: Sequence[str], rows: list[tuple[object, ...]], out: "Console"
) -> None:
    """A table; where there are many rows, plain columns: rich takes a millisecond a row."""
    if len(rows) <= MANY_ROWS:
        out.print(table(title, titles, rows))
        return
    texts = [list(titles), *([cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in texts]
    out.file.write("\n".join([title, *lines, ""]))


def _notes(run: dict[str, Any]) -> list[str]:
    notes = [f"{int(run['restarts'])} restart(s)"] if run["restarts"] else []
    return notes + ([str(run["message"])] if run["message"] else [])


def _on_slurm(run: dict[str, Any]) -> tuple[object, ...]:
    """One row of a sweep on Slurm."""
    _, name, _, state, step, loss, left, _ = _shown(run)
    if 0 < len(run["message"]) <= SHORT_REASON:
        state = f"{state}: {run['message']}"
    used = "–" if run["hours_used"] is None else f"{run['hours_used']:.3g}"
    hours = f"{used}/{run['hours_planned']:.3g}"
    return (name, state, step, loss, left, run["restarts"], hours)


def _shown(run: dict[Any, Any]) -> tuple[object, ...]:
    """One row: the step beside the steps asked for, the time left as a clock."""
    from sweeps.progress import clock

    left = run["eta_seconds"]
    return (
        run["run_id"],
        run["name"],
        run["role"],
        run["state"],
        f"{run['step']}/{run['steps']}",
        run["loss"],
        None if not left else clock(float(left)),
        run["flops"],
    )


def _counted(runs: list[dict[Any, Any]]) -> str:
    """Like "12 runs: 10 finished, 2 waiting"."""
    states: dict[str, int] = {}
    for run in runs:
        states[run["state"]] = states.get(run["state"], 0) + 1
    return f"{len(runs)} runs: {', '.join(f'{many} {state}' for state, many in states.items())}"
