"""How to spend compute, from a table of runs: for `workbench allocate`, the joint to `fits`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fits.allocation.compare import Comparison, allocate
from fits.allocation.cost import Cost
from fits.allocation.path import Interval
from fits.observations import FitError, name_rows, run_names
from fits.screens import screen
from workbench.errors import InputError
from workbench.estimate import ladder_rows, loss_column, table_hash
from workbench.importers import import_table
from workbench.quantities import read_quantity

if TYPE_CHECKING:
    from reports.figures.style import Form

SCHEMA = 1
CHECKPOINTS = 3  # rows of one name that make a curve
AHEAD = (1.0, 10.0, 100.0)  # times the largest run, where no compute is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRecord:
    """One approach: exponents, and n and tokens at each asked compute."""

    approach: str
    a: Interval  # n ~ C**a
    b: Interval  # tokens ~ C**b
    at: tuple[dict[str, Any], ...]  # flops, n, n_lo90, n_hi90, tokens, tokens_lo90, tokens_hi90
    evidence: tuple[dict[str, Any], ...]
    draws: int
    cautions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What `workbench allocate` prints; reproducible to the bit from the table and the seed."""

    schema: int
    loss: str  # the column
    flops_per_token: Cost
    paths: tuple[PathRecord, ...]
    refused: tuple[dict[str, str], ...]  # approach, name, reason
    disagreement: tuple[dict[str, Any], ...]  # flops, ratio, overlap
    runs: int
    largest_flops: float
    bootstrap: int
    seed: int
    left_out: tuple[dict[str, str], ...]  # run_id, reason
    cautions: tuple[str, ...]
    table_hash: str


def parse_flops(texts: Sequence[str]) -> tuple[float, ...]:
    """The computes of `--flops`; ValueError naming the one that is no number above 0."""
    found = []
    for text in texts:
        quantity = read_quantity(text, "flops")
        if quantity.kind != "number" or quantity.value <= 0:
            raise ValueError(f"--flops {text}: it must be a finite number above 0, such as 1e21")
        found.append(quantity.value)
    return tuple(found)


def allocate_table(
    path: Path, flops: Sequence[float], *, part: str | None, draws: int, seed: int = 0
) -> tuple[Allocation, Comparison]:
    """The record and the comparison behind it, at `flops` or up to 100x the largest run.

    Raises InputError for a table that cannot be read, FitError where every approach refuses.
    """
    imported = import_table(path)
    runs, doubts = ladder_rows(imported)
    column = loss_column(imported.table, part)
    missing = [name for name in ("n_active", "tokens") if name not in runs.columns]
    if missing:
        raise InputError(
            f"{path} has no column {' and '.join(missing)}, so nothing can be allocated",
            "name them: workbench import TABLE --columns n_active=COLUMN,tokens=COLUMN",
        )
    runs, notes = _named_curves(runs)
    doubts += notes
    screened = screen(runs, loss=column)
    unsized = screened.grid[["n_active", "tokens"]].isna().any(axis=1)
    usable = screened.grid[~unsized]
    if usable.empty:
        raise FitError("all_screened", "no run passes the screens with its n_active and tokens")
    asked = tuple(flops) or tuple(float(usable["flops"].max()) * times for times in AHEAD)
    comparison = allocate(usable, asked, loss=column, draws=draws, rng=np.random.default_rng(seed))
    used = set(run_names(usable))
    reasons = [(str(r), str(why)) for r, why in screened.left_out.itertuples(index=False)]
    left_out = [{"run_id": run, "reason": why} for run, why in reasons if run not in used]
    lost = run_names(screened.grid[unsized])
    left_out += [{"run_id": run, "reason": "n_active or tokens is empty"} for run in lost]
    record = Allocation(
        schema=SCHEMA,
        loss=column,
        flops_per_token=comparison.cost,
        paths=tuple(_record(comparison, item.approach) for item in comparison.paths),
        refused=tuple(
            {"approach": r.approach, "name": r.name, "reason": r.reason} for r in comparison.refused
        ),
        disagreement=_rows(comparison.at),
        runs=comparison.runs,
        largest_flops=comparison.largest_flops,
        bootstrap=draws,
        seed=seed,
        left_out=tuple(left_out),
        cautions=(*doubts, *comparison.cautions),
        table_hash=table_hash(path),
    )
    return record, comparison


def _named_curves(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Rows that share a name but have no run_id of their own are checkpoints of one run."""
    if "name" not in runs.columns or not runs["run_id"].str.fullmatch(r"row-\d+").all():
        return runs, []
    counts = runs["name"].value_counts()
    if (runs["name"] == "").any() or counts.median() < CHECKPOINTS:
        return runs, []
    note = f"rows of one name are taken as checkpoints of one run ({counts.size} runs)"
    return name_rows(runs.assign(run_id=runs["name"])), [note]


def picture(comparison: Comparison, form: Form) -> bytes:
    """The comparison as the content of a file."""
    from reports.figures.allocation import allocation_picture

    evidence = {path.approach: path.evidence for path in comparison.paths}
    curves = [path.curve.assign(approach=path.approach) for path in comparison.paths]
    points = [
        evidence[name].dropna(subset=["n"])[["flops", "n"]].assign(approach=name)
        for name in ("envelope", "isoflop")
        if name in evidence
    ]
    return allocation_picture(
        comparison.slices,
        evidence.get("isoflop", pd.DataFrame()),
        pd.concat(curves),
        pd.concat(points) if points else pd.DataFrame(columns=["approach", "flops", "n"]),
        form,
    )


def _record(comparison: Comparison, approach: str) -> PathRecord:
    path = comparison.path(approach)
    return PathRecord(
        approach=path.approach,
        a=path.a,
        b=path.b,
        at=_rows(path.at),
        evidence=_rows(path.evidence),
        draws=path.draws,
        cautions=path.cautions,
    )


def _rows(table: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    return tuple({str(k): v for k, v in row.items()} for row in table.to_dict("records"))
