"""`workbench status DIR`: how far the runs of a sweep are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.output import Json, emit, table

if TYPE_CHECKING:
    from rich.console import Console

Folder = Annotated[Path, typer.Argument(help="A sweep's folder, such as runs/demo.", metavar="DIR")]
# Rung and seed stand in the name; restarts and messages only where there are any.
TITLES = ("run", "name", "role", "state", "step", "loss", "left", "FLOPs")
# Of a sweep on Slurm: the reason stands beside the state, where it is a word or two.
SLURM_TITLES = ("run", "name", "state", "step", "loss", "left", "restarts", "{}-hours")
SHORT_REASON = 28
Watch = Annotated[bool, typer.Option("--watch", help="Again every five seconds, until all ended.")]
WATCH_SECONDS = 5.0


def command(folder: Folder, watch: Watch = False, json: Json = False) -> None:
    """How far the runs of a sweep are: from their folders, and on a cluster one query of Slurm."""
    import time

    from sweeps.slurm.states import OVER
    from sweeps.status import status

    while True:
        rows = status(folder)
        going = watch and not set(rows["state"]) <= OVER

        def people(out: "Console", rows: Any = rows) -> None:
            if watch:
                out.clear()
            _print(folder, rows, out)

        payload = {"folder": folder, "runs": rows, "problems": rows.attrs["problems"]}
        emit(payload, as_json=json, people=people)
        if not going:
            return
        time.sleep(WATCH_SECONDS)


def _print(folder: Path, rows: Any, out: "Console") -> None:
    runs = rows.astype(object).where(rows.notna(), None).to_dict("records")
    if any(run["job"] or run["hours_used"] is not None for run in runs):
        unit = "GPU" if any(run["device"] == "gpu" for run in runs) else "core"
        titles = [title.format(unit) for title in SLURM_TITLES]
        out.print(table(str(folder), titles, [_on_slurm(run) for run in runs]))
        notes = [(run, [run["message"]]) for run in runs if len(run["message"]) > SHORT_REASON]
    else:
        out.print(table(str(folder), TITLES, [_shown(run) for run in runs]))
        notes = [(run, _notes(run)) for run in runs]
    for run, told in notes:
        if told:
            out.print(f"{run['name']}: {'; '.join(told)}")
    out.print(_counted(runs))
    for problem in rows.attrs["problems"]:
        out.print(f"caution: {problem}", style="yellow")


def _notes(run: dict[str, Any]) -> list[str]:
    notes = [f"{int(run['restarts'])} restart(s)"] if run["restarts"] else []
    return notes + ([str(run["message"])] if run["message"] else [])


def _on_slurm(run: dict[str, Any]) -> tuple[object, ...]:
    """One row of a sweep on Slurm."""
    run_id, name, _, state, step, loss, left, _ = _shown(run)
    if 0 < len(run["message"]) <= SHORT_REASON:
        state = f"{state}: {run['message']}"
    used = "–" if run["hours_used"] is None else f"{run['hours_used']:.3g}"
    hours = f"{used}/{run['hours_planned']:.3g}"
    return (run_id, name, state, step, loss, left, run["restarts"], hours)


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
