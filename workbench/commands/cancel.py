"""`workbench cancel RUN` or `workbench cancel --all DIR`: out of the queue, checkpoints kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.plan import RUNS, Runs
from workbench.output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.planned import PlannedRun
    from sweeps.slurm.states import View

What = Annotated[
    str,
    typer.Argument(
        help="A run's name or id, alone or as DIR/RUN; with --all a sweep's folder.",
        metavar="RUN_OR_DIR",
    ),
]
NOTHING = "neither in the queue nor at work"
All = Annotated[bool, typer.Option("--all", help="Everything of the sweep, its chain included.")]


def command(what: What, every: All = False, runs: Runs = RUNS, json: Json = False) -> None:
    """Cancel a run, or with --all a whole sweep; the next `submit` goes on from the checkpoints."""
    from sweeps.layout import PLAN_NAME
    from sweeps.planned import load_outlines
    from sweeps.slurm.cancel import cancel_all, cancel_runs
    from sweeps.slurm.states import look
    from workbench.errors import Failure, InputError
    from workbench.run_names import find_run

    if not every and (Path(what) / PLAN_NAME).is_file():
        raise InputError(
            f"{what} is a sweep",
            f"`workbench cancel --all {what}` cancels all of it, DIR/RUN one run",
        )
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
    if run is None:
        jobs = cancel_all(folder, view)
        told = [f"cancelled {folder}: job {', '.join(jobs)}" if jobs else f"{folder}: {NOTHING}"]
    elif not view.is_open(str(run.run_id)):
        state = view.runs[str(run.run_id)].state
        raise Failure(f"{run.name}: {NOTHING} ({state})", "there is nothing to cancel")
    else:
        jobs = cancel_runs(folder, view, [str(run.run_id)])
        living = view.living(str(run.run_id))
        goes_on = "its job goes on with its other runs" if living else "it saves and ends"
        told = [f"cancelled {run.name}: " + (f"job {', '.join(jobs)}" if jobs else goes_on)]
        told += _consequence(run, view)

    def people(out: "Console") -> None:
        for line in told:
            out.print(line)

    emit({"folder": folder, "jobs": jobs, "told": told}, as_json=json, people=people)


def _consequence(run: "PlannedRun", view: "View") -> list[str]:
    """What the rest of the sweep does without the run."""
    if run.role == "target":
        return ["the report will have the prediction alone, until `submit` adds the target again"]
    if view.chain("seal"):
        return ["the seal needs every run of the ladder: there the sweep stops, until `submit` "
                "adds this one again"]  # fmt: skip
    return []
