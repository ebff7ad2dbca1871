"""What a draft will take, for the dry run: the array map, and hours and money by rung."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.training.spec import Execution
from sweeps.slurm.arrays import Array, execution_of, run_devices, turns
from sweeps.slurm.profile import Profile
from sweeps.slurm.submit import Draft

if TYPE_CHECKING:
    import pandas as pd


def array_map(draft: Draft, profile: Profile) -> pd.DataFrame:
    """One row a job of each array: its runs, how many at once, expected seconds and turns."""
    import pandas as pd

    columns = ["array", "index", "runs", "at_once", "seconds", "turns", "names"]
    rows = [
        (
            array.label,
            index,
            len(task),
            min(array.slots, len(task)),
            seconds,
            turns(seconds, array.resources, profile.signal_seconds),
            " ".join(run.name for run in task),
        )
        for array in draft.arrays
        for index, (task, seconds) in enumerate(zip(array.tasks, array.seconds, strict=True))
    ]
    return pd.DataFrame(rows, columns=columns)


def rung_costs(draft: Draft, profile: Profile, assumed: Execution | None = None) -> pd.DataFrame:
    """One row a rung and role: runs, FLOPs, device-hours at work, and their price where given."""
    import pandas as pd

    rows = []
    for array in draft.arrays:
        for run in (run for task in array.tasks for run in task):
            execution = execution_of(run, assumed)
            unit = "gpu" if execution.device == "cuda" else "core"
            seconds = run.expected_seconds / array.resources.tasks
            hours = seconds / 3600 * run_devices(execution, array.resources)
            each = profile.price.gpu_hour if unit == "gpu" else profile.price.core_hour
            rows.append((run.rung, run.role, 1, run.flops, unit, hours, hours * each))
    columns = ["rung", "role", "runs", "flops", "device", "hours", "price"]
    table = pd.DataFrame(rows, columns=columns)
    keys = ["rung", "role", "device"]
    table = table.groupby(keys, as_index=False, sort=False).sum().sort_values(keys[:2])
    table = table[columns]
    return table if table["price"].any() else table.drop(columns="price")


def allocated_hours(array: Array) -> tuple[str, float]:
    """("gpu" or "core", hours) that the array's jobs hold, idle slots included."""
    resources = array.resources
    unit = "gpu" if resources.gpus else "core"
    devices = resources.nodes * (resources.gpus or resources.cpus)
    return unit, sum(array.seconds) * devices / 3600
