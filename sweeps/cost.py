"""What a plan costs: core-hours or GPU-hours by rung, and the wall time of the whole sweep."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sweeps.planned import Plan, PlannedRun

if TYPE_CHECKING:
    import pandas as pd


def longest_first(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """The order in which workers take runs: the most expensive first, then by name."""
    return sorted(runs, key=lambda run: (-run.expected_seconds, -run.flops, run.name))


def cost_table(planned: Plan, *, device: str = "cpu", target_threads: int = 1) -> pd.DataFrame:
    """One row a rung and role: runs, FLOPs and hours of a core, or of a GPU for device "cuda".

    The target counts `target_threads` cores for as long as it runs.
    """
    import pandas as pd

    unit = "gpu_hours" if device == "cuda" else "core_hours"
    table = pd.DataFrame(
        [
            {
                "rung": run.rung,
                "role": run.role,
                "budget": run.budget,
                "runs": 1,
                "flops": run.flops,
                unit: run.expected_seconds / 3600,
            }
            for run in planned.runs
        ]
    )
    if device != "cuda":
        table.loc[table["role"] == "target", unit] *= target_threads
    return table.groupby(["rung", "role", "budget"], as_index=False, sort=False).sum()


def wall_seconds(planned: Plan, workers: int) -> float:
    """Expected seconds of the whole sweep: the ladder on so many workers, then the target."""
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    busy = [0.0] * workers
    for run in longest_first(planned.ladder):
        heapq.heappush(busy, heapq.heappop(busy) + run.expected_seconds)
    targets = (run.expected_seconds for run in planned.runs if run.role == "target")
    return max(busy) + sum(targets)
