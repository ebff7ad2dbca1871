"""RUN on the command line → a sweep's folder and one of its planned runs."""

from __future__ import annotations

from pathlib import Path

from sweeps.layout import PLAN_NAME
from sweeps.planned import PlannedRun, load_plan
from workbench.errors import InputError


def find_run(text: str, runs: Path) -> tuple[Path, PlannedRun]:
    """The run that `text` names: DIR/RUN, or RUN alone, sought in every sweep under `runs`.

    RUN is a run's id or its name, DIR a sweep's folder or its name under `runs`. Raises InputError
    where there is none, or more than one.
    """
    path = Path(text)
    if len(path.parts) > 1:
        folders = [f for f in (path.parent, runs / path.parent) if (f / PLAN_NAME).is_file()][:1]
    else:
        folders = sorted(plan.parent for plan in runs.glob(f"*/{PLAN_NAME}"))
    found = [
        (folder, run)
        for folder in folders
        for run in load_plan(folder).runs
        if path.name in (run.run_id, run.name)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"{text}: no such run" + ("" if len(path.parts) > 1 else f" under {runs}"),
            "name a run as `workbench status DIR` does, or DIR/RUN",
        )
    places = ", ".join(f"{folder}/{path.name}" for folder, _ in found)
    raise InputError(f"{text}: several sweeps have such a run", f"name one of {places}")
