"""A task's accuracy at a larger run, from two tables: for `workbench two-step`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fits.downstream.tasks import Task
from fits.downstream.two_step import fit_two_step
from fits.observations import points, run_names
from workbench.errors import InputError
from workbench.estimate import ladder_rows, table_hash
from workbench.importers import import_table

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskForecast:
    """What `workbench two-step` prints; reproducible to the bit from both tables and the seed."""

    schema: int
    task: Task
    loss_law: dict[str, float]
    sigmoid: dict[str, float]
    loss_sd: float
    accuracy_sd: float
    predictions: tuple[dict[str, Any], ...]  # n_active, tokens, and the columns of TwoStep.predict
    runs_used: tuple[str, ...]
    left_out: tuple[dict[str, str], ...]  # run_id, reason
    bootstrap: int
    seed: int
    cautions: tuple[str, ...]
    table_hashes: tuple[str, str]


def forecast_task(
    ladder: Path,
    checkpoints: Path,
    task: Task,
    targets: Sequence[Mapping[str, float]],
    *,
    draws: int,
    seed: int = 0,
) -> TaskForecast:
    """The task at every target; a run as large as the smallest target is not fitted.

    Raises InputError for a table that cannot be read, FitError where no estimate is due.
    """
    final, doubts = _rows(ladder, task, [task.bits])
    many, _ = _rows(checkpoints, task, [task.bits, task.accuracy])
    limit = min(target["flops"] for target in targets)
    large = final[final["flops"] >= limit]
    small = final[final["flops"] < limit]
    known = many[many["flops"] < limit]
    doubts += [f"{len(many) - len(known)} checkpoint(s) as large as the target are not fitted"] * (
        len(known) < len(many)
    )
    found = fit_two_step(small, known, task, draws=draws, rng=np.random.default_rng(seed))
    asked = pd.DataFrame([dict(target) for target in targets])
    table = found.predict(points(asked)).drop(columns="flops")
    rows = pd.concat([asked, table], axis=1).to_dict("records")
    link = found.link
    return TaskForecast(
        schema=SCHEMA,
        task=task,
        loss_law=found.loss_law.constants(),
        sigmoid={name: getattr(link, name) for name in link.__slots__},
        loss_sd=found.loss_sd,
        accuracy_sd=found.accuracy_sd,
        predictions=tuple({str(k): v for k, v in row.items()} for row in rows),
        runs_used=found.runs,
        left_out=tuple(
            {"run_id": str(run), "reason": "as large as the target"} for run in run_names(large)
        ),
        bootstrap=draws,
        seed=seed,
        cautions=(*doubts, *found.cautions),
        table_hashes=(table_hash(ladder), table_hash(checkpoints)),
    )


def _rows(path: Path, task: Task, needed: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Rows that have the task's measures, under the task's own column names."""
    imported = import_table(path, {"loss": task.bits})
    runs, doubts = ladder_rows(imported)
    runs = runs.rename(columns={"loss": task.bits})
    absent = [name for name in needed if name not in runs.columns]
    if absent:
        raise InputError(
            f"{path} has no column {absent[0]!r}",
            f"a task NAME needs bpb_NAME, and acc_NAME beside the checkpoints: {', '.join(needed)}",
        )
    return runs[runs[task.bits].notna()], doubts
