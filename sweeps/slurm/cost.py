"""What a draft will take, for the dry run: the array map, and hours and money by rung."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.slurm.arrays import Assumed, execution_of, run_devices, turns
from sweeps.slurm.profile import Profile
from sweeps.slurm.submit import Draft, Step

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


def rung_costs(draft: Draft, profile: Profile, assumed: Assumed | None = None) -> pd.DataFrame:
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


def allocated_hours(step: Step) -> tuple[str, float]:
    """("gpu" or "core", hours) that the step's jobs hold, idle slots included.

    Of a job of the chain those of its time limit, since nobody knows how long it takes.
    """
    resources = step.resources
    unit = "gpu" if resources.gpus else "core"
    devices = resources.nodes * (resources.gpus or resources.cpus)
    seconds = sum(step.array.seconds) if step.array else resources.seconds
    return unit, seconds * devices / 3600


def total(draft: Draft, profile: Profile) -> dict[str, float]:
    """Hours that the training jobs hold, by "gpu" and "core"; "price" where the profile has one."""
    hours: dict[str, float] = {}
    for unit, value in (allocated_hours(step) for step in draft.steps if step.array):
        hours[unit] = hours.get(unit, 0.0) + value
    price = profile.price
    cost = hours.get("gpu", 0.0) * price.gpu_hour + hours.get("core", 0.0) * price.core_hour
    return {**hours, "price": cost} if cost else hours
