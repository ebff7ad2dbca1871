"""What `workbench submit` would add, and what that costs: planned, asked of Slurm, nothing made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeps.slurm.cost import allocated_hours, array_map, rung_costs, total
from sweeps.slurm.limits import read_limits
from sweeps.slurm.profile import Profile
from sweeps.slurm.rehearsal import objections
from sweeps.slurm.states import look
from sweeps.slurm.submission import next_place
from sweeps.slurm.submit import draft_jobs, scripts
from workbench.cluster import STAGES_MODULE, elsewhere, sweep_folder
from workbench.prepare import preview


def dry_run(sweep_path: Path, runs: Path, profile: Profile) -> dict[str, Any]:
    """Scripts, array map, hours and cost, and what the cluster has against such jobs.

    As long as the data set is not built, runs have no ids, and all count as missing.
    """
    sweep, planned, assumed = preview(sweep_path, runs, elsewhere(profile))
    folder = sweep_folder(runs, sweep.name)
    view = look(folder, (run.run_id for run in planned.runs))
    limits = read_limits(profile.resources("ladder"))
    draft = draft_jobs(planned, view, profile, limits, needs=("seal", "report"), assumed=assumed)
    hours = {step.label: allocated_hours(step) for step in draft.steps}
    place, speed = next_place(folder), planned.throughput
    doubts = [f"speed: {speed.source}; hours and price are no better"] if speed.guessed else []
    return {
        "sweep": planned.sweep,
        "profile": profile.name,
        "limits": limits,
        "built": planned.data is not None,
        "speed": speed.source,
        "arrays": array_map(draft, profile),
        "cost": rung_costs(draft, profile, assumed),
        "allocated": {label: {unit: value} for label, (unit, value) in hours.items()},
        "total": total(draft, profile),
        "currency": profile.price.currency,
        "scripts": scripts(draft, place, sweep.name, profile, STAGES_MODULE),
        "problems": [*doubts, *map(str, objections(profile, place)), *view.queue.problems],
    }
