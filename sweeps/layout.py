"""Where a sweep's files lie, and the two files that are written once.

A sweep folder holds `sweep.toml`, `sweep.json`, `plan.json`, `execution.json` and one folder a run,
named by the run's id. `execution.json` freezes what was chosen by measuring; a later run never
chooses again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model.records import from_json, read_json, to_json, write_atomic
from model.training.spec import Execution

if TYPE_CHECKING:  # most who ask for a file's name do without the format of sweep files
    from sweeps.sweep_file import Sweep

PLAN_NAME = "plan.json"
SPEC_NAME = "spec.json"
SWEEP_NAME = "sweep.toml"
RESOLVED_NAME = "sweep.json"
SAMPLES_NAME = "samples.csv"
METRICS_NAME = "metrics.jsonl"
FAILED_NAME = "failed.json"
RUN_LOCK_NAME = "lock"
EXECUTION_NAMES = {"ladder": "execution.json", "target": "execution-target.json"}


def run_folder(folder: Path, run_id: str) -> Path:
    """The folder of one run of the sweep in `folder`."""
    return folder / run_id


def freeze_execution(
    folder: Path, choose: Callable[[], Execution], role: Literal["ladder", "target"] = "ladder"
) -> Execution:
    """The execution frozen in `folder`; chosen by `choose` and written the first time only."""
    path = folder / EXECUTION_NAMES[role]
    if path.exists():
        return from_json(Execution, read_json(path), where=str(path))
    execution = choose()
    write_atomic(path, json.dumps(to_json(execution), indent=1) + "\n")
    return execution


def keep_sweep(folder: Path, sweep_path: Path, sweep: Sweep) -> None:
    """Keep the sweep beside its runs: the file as written, and resolved, with absolute paths."""
    write_atomic(folder / SWEEP_NAME, sweep_path.read_bytes())
    write_atomic(folder / RESOLVED_NAME, json.dumps(to_json(sweep), indent=1) + "\n")


def kept_sweep(folder: Path) -> Sweep:
    """The resolved sweep of a folder; ValueError where it is no sweep's folder."""
    from sweeps.sweep_file import Sweep

    path = folder / RESOLVED_NAME
    if not path.is_file():
        raise ValueError(
            f"{folder}: not the folder of a sweep ({RESOLVED_NAME} is missing)\n"
            "name the folder that `workbench run` made, such as runs/demo"
        )
    return from_json(Sweep, read_json(path), where=str(path))
