"""The plan as a record: what `plan` returns, `plan.json` holds and every other file here reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from model.architecture.shape import Shape
from model.records import from_json, read_json, to_json, write_atomic
from model.training.spec import RunSpec
from sweeps.layout import PLAN_NAME
from sweeps.throughput import Throughput

Role = Literal["ladder", "grid", "twin", "target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run to be trained."""

    name: str  # for people, such as r03-d24-s1; unique in the sweep
    role: Role  # ladder: the nominal rungs; grid: other tokens per parameter; twin: dense
    rung: int  # from 0, the smallest budget; the target has the number of rungs
    budget: float  # FLOPs asked for
    seed: int
    spec: RunSpec | None  # None until data set and execution are known
    run_id: str | None
    shape: Shape
    flops: float  # counted
    n_active: int
    n_total: int
    tokens: int
    tokens_per_param: float
    steps: int
    batch: int
    learning_rate: float
    images: int
    unembedding_share: float
    epochs: dict[str, float]  # by source; empty until the data set is built
    refused: tuple[str, ...]  # why a fit will leave the run out
    warnings: tuple[str, ...]  # everything worth a line, refusals included
    expected_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All runs of one sweep, ladder first by budget, the target last."""

    schema: int = 1
    sweep: str
    seed: int
    data: str | None  # hash of the data set's manifest
    throughput: Throughput  # that the expected times come from
    runs: tuple[PlannedRun, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def target(self) -> PlannedRun:
        """The run that is predicted."""
        return next(run for run in self.runs if run.role == "target")

    @property
    def ladder(self) -> tuple[PlannedRun, ...]:
        """Every run but the target."""
        return tuple(run for run in self.runs if run.role != "target")


def save_plan(planned: Plan, folder: Path) -> None:
    """Write `plan.json` into the sweep's folder."""
    write_atomic(folder / PLAN_NAME, json.dumps(to_json(planned), indent=1) + "\n")


def load_plan(folder: Path) -> Plan:
    """The plan in a sweep's folder; ValueError where there is none or it cannot be read."""
    path = folder / PLAN_NAME
    if not path.is_file():
        raise ValueError(f"{path}: no plan there; is {folder} the folder of a sweep?")
    return from_json(Plan, read_json(path), where=str(path))


def plan_table(planned: Plan) -> pd.DataFrame:
    """One row a run, for people: sizes, cost and what a fit will say."""
    return pd.DataFrame(
        [
            {
                "name": run.name,
                "role": run.role,
                "rung": run.rung,
                "seed": run.seed,
                "budget": run.budget,
                "flops": run.flops,
                "width": run.shape.width,
                "layers": run.shape.layers,
                "n_active": run.n_active,
                "n_total": run.n_total,
                "tokens": run.tokens,
                "tokens_per_param": run.tokens_per_param,
                "batch": run.batch,
                "steps": run.steps,
                "learning_rate": run.learning_rate,
                "unembedding_share": run.unembedding_share,
                "expected_seconds": run.expected_seconds,
                "warnings": "; ".join(run.warnings),
            }
            for run in planned.runs
        ]
    )
