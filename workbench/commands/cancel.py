"""`workbench cancel RUN` or `workbench cancel --all DIR`: out of the queue, checkpoints kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.plan import RUNS, Runs
from workbench.output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

What = Annotated[
    str,
    typer.Argument(
        help="A run's name or id, alone or as DIR/RUN; with --all a sweep's folder.",
        metavar="RUN_OR_DIR",
    ),
]
All = Annotated[bool, typer.Option("--all", help="Everything of the sweep, its chain included.")]


def command(what: What, every: All = False, runs: Runs = RUNS, json: Json = False) -> None:
    """Cancel a run, or with --all a whole sweep; the next `submit` goes on from the checkpoints."""
    from sweeps.planned import load_outlines
    from sweeps.slurm.cancel import cancel_all, cancel_runs
    from sweeps.slurm.states import look
    from workbench.errors import Failure
    from workbench.run_names import find_run

    folder, run = (Path(what), None) if every else find_run(what, runs)
    view = look(folder, (planned.run_id for planned in load_outlines(folder)))
    if not view.submissions:
        raise Failure(
            f"{folder}: nothing of it was submitted to Slurm",
            "a sweep that `workbench run` trains here ends with Ctrl-C in its terminal",
        )
    if not view.queue.answered:
        raise Failure(
            f"cannot tell what is queued: {'; '.join(view.queue.problems)}",
            "cancel on a machine of the cluster, when its controller answers",
        )
    if run is not None and view.runs[str(run.run_id)].done:
        raise Failure(f"{run.name} has ended already", "there is nothing to cancel")
    jobs = cancel_all(folder, view) if run is None else cancel_runs(folder, view, [str(run.run_id)])

    def people(out: "Console") -> None:
        name = folder if run is None else run.name
        out.print(f"cancelled {name}: " + (f"job {', '.join(jobs)}" if jobs else "its job goes on"))

    emit({"folder": folder, "jobs": jobs}, as_json=json, people=people)
