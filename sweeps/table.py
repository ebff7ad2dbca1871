"""Run folders → tables: one row a run, a run × problem, a line of a loss curve.

Only the runs of the sweep's present plan enter, so that runs of older model code never mix with
newer ones. A missing measurement is empty, never a number. A result file that cannot be read gives
a row of status "corrupt" and a line in `table.attrs["problems"]`; the others are collected.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd

from model.architecture.accounting import (
    n_active,
    n_embedding,
    n_total,
    n_vision,
    parameter_groups,
    unembedding_share,
)
from model.records import write_atomic
from model.training.result import RunResult
from model.training.spec import PARTS, RunSpec
from sweeps.layout import run_folder
from sweeps.planned import Plan, PlannedRun, load_plan
from sweeps.run_files import SAMPLE_COLUMNS, Standing, read_metrics, read_samples, standing

TEXT = {
    "run_id",
    "sweep",
    "name",
    "role",
    "status",
    "dtype",
    "device",
    "attention",
    "data",
    "model_source",
    "torch",
    "annealed",
}
LABELS = ("run_id", "name", "role", "rung", "seed")
TABLE_STATUS = {"interrupted": "missing", "failed": "missing", "waiting": "missing"}


def collect(folder: Path) -> pd.DataFrame:
    """The run table of the sweep in `folder`, in the plan's order.

    Raises ValueError where there is no plan or its runs have no specs yet.
    """
    planned = load_plan(folder)
    sources, parts = _names(planned)
    rows, problems = [], []
    for run, spec in _resolved(planned, folder):
        found = standing(run_folder(folder, str(run.run_id)))
        if found.state == "corrupt":
            problems.append(found.message)
        rows.append(
            _identity(planned, run, spec, found)
            | _counts(spec, found.result)
            | _settings(run, spec, found.result, sources)
            | _losses(found.result, parts)
            | _cost(found.result)
            | _machine(spec, found.result)
        )
    table = _numeric(pd.DataFrame(rows))
    table.attrs["problems"] = problems
    return table


def samples(folder: Path) -> pd.DataFrame:
    """One row a finished run and problem: counts of samples and passes, gold likelihood."""
    planned, frames, problems = load_plan(folder), [], []
    for run, spec in _resolved(planned, folder):
        home = run_folder(folder, str(run.run_id))
        result = standing(home).result
        if result is None:
            continue
        try:
            table = read_samples(home)
        except ValueError as error:
            problems.append(str(error))
            continue
        sizes = {"flops": result.flops, "n_active": n_active(spec.shape), "tokens": result.tokens}
        frames.append(_labelled(table, run, sizes))
    columns = [*LABELS, "flops", "n_active", "tokens", *SAMPLE_COLUMNS]
    return _joined(frames, columns, problems)


def curves(folder: Path) -> pd.DataFrame:
    """One row a recorded step: training and held-out losses, of unfinished runs too."""
    planned, frames, problems = load_plan(folder), [], []
    _, parts = _names(planned)
    wanted = ["step", "tokens", "flops", "kind", "loss", *(f"loss_{part}" for part in parts)]
    for run, _spec in _resolved(planned, folder):
        try:
            lines = read_metrics(run_folder(folder, str(run.run_id)))
        except ValueError as error:
            problems.append(str(error))
            continue
        points = [line for line in lines if line.get("kind") in ("train", "heldout")]
        table = pd.DataFrame(points, columns=wanted).astype({"loss": float})
        table = table.drop_duplicates(["kind", "step"], keep="last")
        frames.append(_labelled(table, run, {}))
    return _joined(frames, [*LABELS, *wanted], problems)


def write_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(runs, samples, curves), also written into the sweep's folder as CSV and Parquet."""
    tables = {
        "runs": collect(folder),
        "samples": samples(folder),
        "curves": curves(folder),
    }
    for name, table in tables.items():
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False))
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        write_atomic(folder / f"{name}.parquet", buffer.getvalue())
    return tables["runs"], tables["samples"], tables["curves"]


def _numeric(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers in which nothing was measured as empty numbers, not as objects."""
    empty = [name for name in table.columns if name not in TEXT and table[name].dtype == object]
    return table.astype(dict.fromkeys(empty, float))


def _resolved(planned: Plan, folder: Path) -> list[tuple[PlannedRun, RunSpec]]:
    pairs = [(run, run.spec) for run in planned.runs if run.spec is not None]
    if len(pairs) < len(planned.runs):
        raise ValueError(f"{folder}: planned without a data set, nothing can have been trained")
    return pairs


def _names(planned: Plan) -> tuple[list[str], list[str]]:
    """Names of the sources and of the parts of the loss, over all runs."""
    specs = [run.spec for run in planned.runs if run.spec is not None]
    sources = sorted({name for spec in specs for name in spec.mixture})
    parts = [part for part in PARTS if any(part in spec.loss_weights for spec in specs)]
    return sources, parts


def _identity(plan: Plan, run: PlannedRun, spec: RunSpec, found: Standing) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "sweep": plan.sweep,
        "name": run.name,
        "role": run.role,
        "rung": run.rung,
        "status": TABLE_STATUS.get(found.state, found.state),
        "seed": spec.seed,
        "budget": run.budget,
    }


def _counts(spec: RunSpec, result: RunResult | None) -> dict[str, Any]:
    groups = parameter_groups(spec.shape)
    return {
        "flops": result.flops if result else None,
        "flops_6nd": result.flops_6nd if result else None,
        "n_active": n_active(spec.shape),
        "n_total": n_total(spec.shape),
        "n_embedding": n_embedding(spec.shape),
        "n_unembedding": groups["unembedding"],
        "n_attention": groups["attention"],
        "n_experts_total": groups["experts"],
        "n_router": groups["router"],
        "n_vision": n_vision(spec.shape),
    }


def _settings(
    run: PlannedRun, spec: RunSpec, result: RunResult | None, sources: list[str]
) -> dict[str, Any]:
    shape, epochs = spec.shape, result.epochs if result else {}
    return {
        "tokens": result.tokens if result else None,
        "tokens_per_param": result.tokens / n_active(shape) if result else None,
        **{f"epochs_{name}": epochs.get(name) for name in sources},
        "steps": spec.steps,
        "batch": spec.batch,
        "learning_rate": spec.optimiser.learning_rate,
        "weight_decay": spec.optimiser.weight_decay,
        "warmup_steps": spec.schedule.warmup_steps,
        "width": shape.width,
        "layers": shape.layers,
        "heads": shape.heads,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "n_experts": shape.experts,
        "top_k": shape.top_k,
        "expert_hidden": shape.expert_hidden,
        "vocab": shape.vocab,
        "context": shape.context,
        "unembedding_share": unembedding_share(shape),
    }


def _losses(result: RunResult | None, parts: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "loss": result.loss if result else None,
        "loss_se": result.loss_se if result else None,
    }
    for part in parts:
        loss = result.losses.get(part) if result else None
        row |= {f"loss_{part}": loss and loss.mean, f"loss_{part}_se": loss and loss.se}
    for part in parts:
        row[f"bits_per_byte_{part}"] = result.bits_per_byte.get(part) if result else None
    for name in ("bigram", "trigram"):
        for part in parts:
            count_models = result.ngrams.get(part) if result else None
            row[f"{name}_{part}"] = count_models and getattr(count_models, name)
    return row


def _cost(result: RunResult | None) -> dict[str, Any]:
    names = ("router_entropy", "dead_experts", "tokens_per_second", "flops_per_second", "mfu")
    row = {name: getattr(result, name) if result else None for name in names}
    row["peak_memory_bytes"] = result.peak_memory_bytes if result else None
    for stage in ("start", "train", "evaluate", "save"):
        row[f"seconds_{stage}"] = getattr(result.seconds, stage) if result else None
    row["restarts"] = result.restarts if result else None
    row["world_size"] = result.world_size if result else None
    row["annealed"] = result.annealed if result else None
    return row


def _machine(spec: RunSpec, result: RunResult | None) -> dict[str, Any]:
    return {
        "dtype": spec.execution.dtype,
        "threads": spec.execution.threads,
        "device": result.device if result else None,
        "attention": spec.execution.attention,
        "data": spec.data,
        "model_source": spec.model_source,
        "torch": result.versions.get("torch") if result else None,
    }


def _labelled(table: pd.DataFrame, run: PlannedRun, more: dict[str, Any]) -> pd.DataFrame:
    labels: dict[str, Any] = {label: getattr(run, label) for label in LABELS} | more
    for place, (label, value) in enumerate(labels.items()):
        table.insert(place, label, value)
    return table


def _joined(frames: list[pd.DataFrame], columns: list[str], problems: list[str]) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    table.attrs["problems"] = problems
    return table[columns]
