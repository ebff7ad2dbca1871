"""What a sweep's report is made from, gathered out of the sweep's folder and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fits.passes.counts import pass_rates
from model.records import to_json
from reports.inputs import ReportInputs
from sweeps.layout import SWEEP_NAME, kept_sweep, run_folder
from sweeps.planned import Plan, load_plan
from sweeps.slurm import attempts
from sweeps.slurm.submission import submissions
from sweeps.sweep_file import Sweep
from sweeps.table import collect, curves, samples
from workbench import ledger
from workbench.errors import InputError
from workbench.prepare import DATA_FOLDER, LEDGER_NAME, find_manifest
from workbench.seal import first_metrics_line, seal_state, sealed_predictions


def gather(folder: Path, *, wall: Mapping[str, float], anchor: str | None = None) -> ReportInputs:
    """Everything a report shows of the sweep in `folder`.

    Raises InputError where no prediction has been sealed yet.
    """
    planned = load_plan(folder)
    sweep = kept_sweep(folder)
    book, target = folder.parent / LEDGER_NAME, planned.target
    assert target.run_id is not None
    sealed = sealed_predictions(book, sweep.name, target.run_id)
    if not sealed:
        ledger.check(book)
        raise InputError(
            f"{folder}: no prediction of its target is sealed in {book}",
            f"`workbench run {folder / SWEEP_NAME}` trains what is missing and seals first",
        )
    seal = seal_state(
        book,
        sweep.name,
        target.run_id,
        first_metrics_line(folder / target.run_id),
        anchor=anchor,
    )
    table, counts, steps = collect(folder), samples(folder), curves(folder)
    unread = [text for frame in (table, counts, steps) for text in frame.attrs["problems"]]
    return ReportInputs(
        title=f"{sweep.name}: predicted against actual",
        family=family_facts(sweep, planned, table) | slurm_facts(folder, planned),
        runs=table,
        curves=steps,
        samples=counts,
        predictions=tuple(sealed.values()),
        loss_weights=sweep.loss,
        actual=actual(table, counts, target.run_id),
        seal=seal.as_dict(),
        manifest=_manifest(folder, sweep),
        wall=wall,
        notes=(*planned.warnings, *seal.notes, *unread),
    )


def actual(table: pd.DataFrame, counts: pd.DataFrame, run_id: str) -> dict[str, Any] | None:
    """What the target measured, `status` diverged alone where it diverged; None before its end."""
    rows = table[(table["run_id"] == run_id) & table["status"].isin(["finished", "diverged"])]
    if rows.empty:
        return None
    row = rows.iloc[0]
    if row["status"] == "diverged":
        return {"status": "diverged", "flops": row["flops"], "run_id": run_id}
    measured: dict[str, Any] = {
        str(name): row[name]
        for name in table.columns
        if str(name).startswith("loss") or name in ("flops", "run_id", "n_active", "tokens")
    }
    rate, buckets = pass_rates(counts[counts["run_id"] == run_id])
    if rate is not None:
        measured |= {"pass_rate": rate, "pass_rate_buckets": buckets}
    return measured


def family_facts(
    sweep: Sweep, planned: Plan, table: pd.DataFrame
) -> dict[str, str | float | int | None]:
    """How it was made: the family, the recipe, and the machine, as name → value."""
    target, shape = planned.target, planned.target.shape
    facts: dict[str, str | float | int | None] = {
        "sweep": sweep.name,
        "seed": sweep.seed,
        "target FLOPs": target.flops,
        "family": f"{shape.layers} layers, head dim {shape.head_dim}, "
        f"{shape.heads // shape.kv_heads} query heads a key head",
        "experts": "dense" if shape.dense else f"{shape.experts}, top {shape.top_k}",
        "short convolution": "yes" if shape.conv else "no",
        "vocabulary": shape.vocab,
        "context": shape.context,
        "mixture": ", ".join(f"{name} {share:.2f}" for name, share in sweep.mixture.items()),
        "loss weights": ", ".join(f"{part} {w:g}" for part, w in sweep.loss.items()),
        "rules": Path(sweep.training.rules).stem,
        "schedule": sweep.training.schedule,
    }
    for column in ("dtype", "attention", "device", "torch", "model_source"):
        if column in table.columns:
            seen = sorted({str(value) for value in table[column].dropna()})
            facts[column] = ", ".join(seen)
    return facts


def slurm_facts(folder: Path, planned: Plan) -> dict[str, str]:
    """Where the runs trained on Slurm, as their starts and the submissions tell it; empty: not."""
    begun = [attempts.read(run_folder(folder, str(run.run_id))) for run in planned.runs]
    starts = [start for found in begun for start in found]
    if not starts:
        return {}
    used = {start.submission for start in starts}
    records = [record for _, record in submissions(folder) if record.number in used]
    jobs, nodes = {start.job for start in starts}, sorted({start.node for start in starts})
    most = max((job.resources.nodes for record in records for job in record.jobs), default=1)
    shown = nodes if len(nodes) <= 4 else [*nodes[:4], f"{len(nodes) - 4} more"]
    places = f"of up to {most} nodes" if most > 1 else f"on {', '.join(shown)}"
    facts = {
        "cluster": ", ".join(sorted({record.cluster for record in records if record.cluster})),
        "profile": ", ".join(sorted({record.profile.name for record in records})),
        "jobs": f"{len(jobs)}, {places}",
        "starts of runs": f"{len(starts)} for {sum(map(bool, begun))} runs",
    }
    return {f"Slurm {name}": value for name, value in facts.items() if value}


def _manifest(folder: Path, sweep: Sweep) -> dict[str, Any] | None:
    """The manifest of the sweep's data set as plain values; None where it is gone."""
    manifest = find_manifest(sweep.data.spec(), folder.parent / DATA_FOLDER)
    return None if manifest is None else to_json(manifest)
