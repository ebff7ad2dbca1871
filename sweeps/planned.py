"""The plan as a record: what `plan` returns, `plan.json` holds and every other file here reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model.architecture.shape import Shape
from model.records import from_json, read_json, to_json, write_atomic
from model.training.spec import Execution, RunSpec
from sweeps.layout import PLAN_NAME
from sweeps.nearby import no_plan
from sweeps.throughput import Throughput

if TYPE_CHECKING:  # a job that only trains does without
    import pandas as pd

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
        raise no_plan(folder, PLAN_NAME)
    return from_json(Plan, read_json(path), where=str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a status shows of a planned run."""

    run_id: str | None
    name: str
    role: str
    rung: int
    seed: int
    steps: int
    flops: float
    expected_seconds: float
    execution: Execution | None


def load_outlines(folder: Path) -> list[Outline]:
    """The runs of the plan in a sweep's folder, without their specs: a thousand in milliseconds.

    Raises ValueError where there is no plan or it cannot be read.
    """
    path = folder / PLAN_NAME
    if not path.is_file():
        raise no_plan(folder, PLAN_NAME)
    names = [field.name for field in fields(Outline) if field.name != "execution"]
    known: dict[str, Execution] = {}
    outlines = []
    try:
        for run in read_json(path)["runs"]:
            text = json.dumps(run["spec"] and run["spec"]["execution"])
            if run["spec"] and text not in known:
                known[text] = from_json(Execution, run["spec"]["execution"], where=str(path))
            about = {name: run[name] for name in names}
            outlines.append(Outline(**about, execution=known.get(text)))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a plan ({error})") from None
    return outlines


def load_runs(path: Path, run_ids: Sequence[str]) -> list[PlannedRun]:
    """Those runs of a plan file, in its order; the others are not looked at, which saves seconds.

    Raises ValueError where one is not in it.
    """
    wanted = set(run_ids)
    entries = [run for run in read_json(path)["runs"] if run["run_id"] in wanted]
    if len(entries) < len(wanted):
        missing = sorted(wanted - {run["run_id"] for run in entries})
        raise ValueError(f"{path}: has no run {', '.join(missing)}")
    return [from_json(PlannedRun, entry, where=str(path)) for entry in entries]


def plan_table(planned: Plan) -> pd.DataFrame:
    """One row a run, for people: sizes, cost and what a fit will say."""
    import pandas as pd

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
