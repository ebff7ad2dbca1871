"""Where every run of a sweep stands, from its run folders: nothing needs to be running.

A sweep that was submitted to Slurm is also asked about there, in one query for all its runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.training.spec import Execution
from sweeps.layout import run_folder
from sweeps.lock import is_held
from sweeps.planned import Outline, load_outlines
from sweeps.run_files import last_metrics
from sweeps.slurm import attempts
from sweeps.slurm.arrays import run_devices
from sweeps.slurm.chain import StageState, stage_states
from sweeps.slurm.states import RunState, View, look
from sweeps.slurm.words import explained, hopeless

if TYPE_CHECKING:
    import pandas as pd

STATES = (
    "finished",
    "diverged",
    "running",
    "interrupted",
    "failed",
    "waiting",  # not begun: locally, or behind others in its job
    "corrupt",
    "unplanned",  # the plan was made before data set and execution were known
    # On a cluster, of a run that is not over:
    "pending",
    "suspended",
    "timeout",
    "out_of_memory",
    "node_fail",
    "preempted",
    "cancelled",
    "held_back",  # the job that it waited for failed
    "not_submitted",  # sbatch refused its job, or has not answered yet
    "lost",  # it was submitted, and Slurm knows nothing of it
)
AWAITED = ("pending", "running")  # of seal and report
COLUMNS = (
    "run_id",
    "name",
    "role",
    "rung",
    "seed",
    "state",
    "step",
    "steps",
    "loss",
    "eta_seconds",
    "restarts",
    "flops",
    "message",  # why: Slurm's reason, or the error
    "job",
    "log",  # of a job that ended badly
    "device",  # of the hours: "gpu" or "core"
    "hours_used",
    "hours_planned",
)


def status(folder: Path) -> pd.DataFrame:
    """One row a planned run, in the plan's order, with the columns COLUMNS.

    `loss` is the held-out loss of a finished run, else the last training loss; `eta_seconds` what
    is left of a run at its own pace, or at the plan's where it has not begun. Hours are those of
    the GPUs or cores that a run has, from the start of its worker to its end: what a job holds
    before (its `setup`) and beside it is in no run. Used ones are known of a cluster only. What
    Slurm did not answer stands in `table.attrs["problems"]`.
    """
    import pandas as pd

    found = sweep_status(folder)
    table = pd.DataFrame(found.runs, columns=list(COLUMNS))
    table.attrs["problems"] = found.problems
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus:
    """A sweep in one look."""

    runs: list[dict[str, Any]]  # rows of `status`
    chain: list[StageState]  # seal and report, on a cluster
    reasons: dict[str, str]  # what Slurm's reasons for waiting mean
    problems: list[str]  # what Slurm did not answer, and what will not start as it is
    going: bool  # whether anything may still change by itself


def sweep_status(folder: Path) -> SweepStatus:
    """How a sweep stands, without pandas, which takes half a second."""
    runs = load_outlines(folder)
    view = look(folder, (run.run_id for run in runs))
    stages, waiting = stage_states(view), view.reasons()
    return SweepStatus(
        runs=[_row(folder, run, view) for run in runs],
        chain=stages,
        reasons=explained(waiting),
        problems=[*view.queue.problems, *hopeless(waiting, folder)],
        going=is_going(folder, view) or any(one.state in AWAITED for one in stages),
    )


def is_going(folder: Path, view: View) -> bool:
    """Whether any of the runs looked at may still change without anybody's doing."""
    return view.going(view.runs) or is_held(folder / "pipeline.lock")  # here, by `workbench run`


def _row(folder: Path, run: Outline, view: View) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run_id": run.run_id,
        "name": run.name,
        "role": run.role,
        "rung": run.rung,
        "seed": run.seed,
        "state": "unplanned",
        "step": 0,
        "steps": run.steps,
        "loss": None,
        "eta_seconds": run.expected_seconds,
        "restarts": None,
        "flops": run.flops,
        "message": "",
        "job": "",
        "log": "",
        "device": None,
        "hours_used": None,
        "hours_planned": None,
    }
    if run.run_id is None:
        return row
    home, known = run_folder(folder, run.run_id), view.runs[run.run_id]
    row |= {"state": known.state, "message": known.reason, "job": known.job, "log": known.log}
    row |= _hours(home, run, view)
    return row | _progress(home, run, known)


def _progress(home: Path, run: Outline, known: RunState) -> dict[str, Any]:
    """Steps, loss and time left, as the run's own files have them."""
    ended = known.found.result
    if ended is not None:
        done = {"step": ended.steps, "loss": ended.loss, "restarts": ended.restarts}
        return done | {"eta_seconds": 0.0}
    if known.found.state == "waiting":  # no metrics yet
        return {}
    try:
        restarts, last = last_metrics(home)
    except ValueError as error:
        return {"state": "corrupt", "message": str(error)}
    found: dict[str, Any] = {} if restarts is None else {"restarts": restarts}
    if last is not None:
        step, seconds = int(last["step"]), float(last.get("seconds") or 0.0)
        found |= {"step": step, "loss": last.get("loss")}
        if step and seconds:
            found["eta_seconds"] = seconds / step * (run.steps - step)
    return found


def _hours(home: Path, run: Outline, view: View) -> dict[str, Any]:
    """Hours of devices, used and planned."""
    task = view.tasks.get(str(run.run_id))
    execution = run.execution or Execution()
    planned = run.expected_seconds / 3600
    if task is not None:
        resources = task.job.resources
        planned *= run_devices(execution, resources) / resources.tasks
    return {
        "device": "gpu" if execution.device == "cuda" else "core",
        "hours_used": attempts.device_hours(home, attempts.read(home)) if task else None,
        "hours_planned": planned,
    }
