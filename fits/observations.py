"""The runs that a law is fitted to, checked, sorted and grouped; and the error of a refusal.

Columns of a run table that this room reads (all others are carried along untouched):

| column | meaning | needed |
|---|---|---|
| `flops` | training compute of the run | yes |
| `loss` (or `loss_<part>`) | nats per token on fixed held-out windows | yes |
| `n_active`, `tokens` | decoder parameters a token meets; positions trained on | laws in sizes |
| `n_total`, `n_experts` | parameters held; experts a layer (1 if dense) | laws of experts |
| `unique_tokens` | distinct tokens, where data was repeated | the law of repeated data |
| `run_id`, `seed` | provenance; runs of one `run_id` are one cluster in a bootstrap | no |
| `row_name` | a name of the row alone, where one `run_id` has several rows | no |
| `weight` | weight of the run in the objective (default 1) | no |

A missing number in `flops`, `loss` or another column used here is an error that names the row:
a caller leaves out what it does not want fitted.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BUDGET_DECADES = 0.08  # runs within 20 % in compute count as one budget


class FitError(Exception):
    """No usable estimate: `name` is the refusal in one word, the message says why and what next."""

    def __init__(self, name: str, message: str, left_out: pd.DataFrame | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.left_out = left_out  # run_id, reason of the runs that screens took out, if any did


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Where a law is asked: compute, and what else is known; every array has one entry a point."""

    flops: Vector
    n: Vector | None = None  # active parameters
    tokens: Vector | None = None
    n_total: Vector | None = None
    n_experts: Vector | None = None
    unique_tokens: Vector | None = None  # distinct tokens, where data repeats

    def sizes(self) -> tuple[Vector, Vector]:
        """n and tokens; ValueError where either is unknown."""
        if self.n is None or self.tokens is None:
            raise ValueError("a law in sizes predicts only where n_active and tokens are given")
        return self.n, self.tokens

    def take(self, rows: npt.NDArray[np.bool_] | Indices) -> "Points":
        """The chosen points."""
        return Points(**_rows(self, Points, rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations(Points):
    """Runs in order of compute."""

    loss: Vector
    weight: Vector
    cluster: Indices  # runs that a bootstrap moves together
    run_id: tuple[str, ...]  # as `run_names` has them, one a row

    @property
    def x(self) -> Vector:
        """log10 of compute."""
        return np.log10(self.flops)

    @property
    def y(self) -> Vector:
        """Natural log of the loss."""
        return np.log(self.loss)

    @property
    def budget(self) -> Indices:
        """Index of each run's budget, 0 the smallest."""
        return budgets(self.flops)

    def take(self, rows: npt.NDArray[np.bool_] | Indices) -> "Observations":
        """The chosen runs, as observations of their own."""
        picked = np.arange(self.flops.size)[rows]
        taken = _rows(self, Observations, picked)
        return Observations(**taken | {"run_id": tuple(self.run_id[i] for i in picked)})


def _rows(at: Points, kind: type[Points], rows: npt.NDArray[Any]) -> dict[str, Any]:
    """The arrays of `kind` among `at`'s, the chosen rows of each."""
    values = {f.name: getattr(at, f.name) for f in fields(kind)}
    return {k: v[rows] if isinstance(v, np.ndarray) else v for k, v in values.items()}


def budgets(flops: Vector) -> Indices:
    """Budget index of each run: a new budget starts 20 % above the start of the one before."""
    index = np.zeros(flops.size, dtype=np.int64)
    order = np.argsort(flops, kind="stable")
    start, current = -np.inf, -1
    for i in order:
        if np.log10(flops[i]) > start + BUDGET_DECADES:
            start, current = float(np.log10(flops[i])), current + 1
        index[i] = current
    return index


def numbers(table: pd.DataFrame, column: str, *, positive: bool = True) -> Vector:
    """The column as floats; ValueError naming the first row that is no (positive) number.

    The row is named by its index label: its place in the table, for a table as read from a file.
    """
    if column not in table.columns:
        raise ValueError(f"column {column!r} is missing; the table has {sorted(table.columns)}")
    values = np.empty(len(table))
    for place, (row, value) in enumerate(zip(table.index, table[column].tolist(), strict=True)):
        good = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        try:
            number = float(value) if good else np.nan
        except OverflowError:
            number = np.inf
        if not np.isfinite(number) or (positive and number <= 0):
            who = f" (run {table['run_id'].iloc[place]})" if "run_id" in table.columns else ""
            wanted = "a finite number above 0" if positive else "a finite number"
            raise ValueError(f"row {row}{who}: {column} is {value!r}; it must be {wanted}")
        values[place] = number
    return values


def run_names(table: pd.DataFrame) -> tuple[str, ...]:
    """A name for each row: its row_name, else its run_id, else `row 3`."""
    if "row_name" in table.columns:
        return tuple(str(v) for v in table["row_name"].tolist())
    return run_ids(table)


def name_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a `row_name` like "a (row 3)" where a run_id repeats; without one elsewhere.

    The number is the index label: of a table as read from a file, the place in it.
    """
    bare = table.drop(columns="row_name", errors="ignore")
    repeated = bare["run_id"].duplicated(keep=False)
    if not repeated.any():
        return bare
    ids = bare["run_id"].astype(str)
    return bare.assign(row_name=ids.where(~repeated, ids + [f" (row {row})" for row in bare.index]))


def run_ids(table: pd.DataFrame) -> tuple[str, ...]:
    """The run of each row: its run_id, or `row 3` where there is none.

    The number is the index label, so that a row keeps its name when others are taken out.
    """
    if "run_id" in table.columns:
        return tuple(str(v) for v in table["run_id"].tolist())
    labels = table.index if table.index.is_unique else range(len(table))
    return tuple(f"row {i}" for i in labels)


def ranges(rows: Iterable[int]) -> list[str]:
    """Row numbers in order, neighbours joined: "1–3", "7"."""
    spans: list[list[int]] = []
    for row in sorted(set(rows)):
        if spans and row == spans[-1][1] + 1:
            spans[-1][1] = row
        else:
            spans.append([row, row])
    return [str(a) if a == b else f"{a}–{b}" for a, b in spans]


def names_in_words(names: Iterable[object]) -> str:
    """Names one after another; those that are only row numbers as "rows 1–3, 7"."""
    listed = [str(name) for name in names]
    found = [re.fullmatch(r"row[- ](\d+)", name) for name in listed]
    numbers = [int(match[1]) for match in found if match]
    named = [name for name, match in zip(listed, found, strict=True) if not match]
    rows = [f"row{'s' if len(numbers) > 1 else ''} {', '.join(ranges(numbers))}"]
    return ", ".join([*(rows if numbers else []), *named])


def without_duplicates(table: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """The table without exact repeats in the given columns, and how many there were."""
    known = [c for c in columns if c in table.columns]
    repeated = table.duplicated(subset=known)
    return table.loc[~repeated], int(repeated.sum())


def observe(table: pd.DataFrame, *, loss: str = "loss") -> Observations:
    """Observations of one loss column, sorted so that the order of rows cannot matter.

    Raises ValueError naming row, column and value for anything that is not a positive number.
    """
    flops, losses = numbers(table, "flops"), numbers(table, loss)
    at = points(table)
    weighted = "weight" in table.columns
    weight = numbers(table, "weight") if weighted else np.ones(len(table))
    names, runs = run_names(table), run_ids(table)
    keys = [v for v in (losses, at.n_experts, at.n_total, at.tokens, at.n) if v is not None]
    by_name = np.asarray(runs, dtype=str)
    order = np.lexsort([by_name, *keys, flops]) if len(runs) else np.arange(0)
    first: dict[str, int] = {}
    cluster = np.array([first.setdefault(runs[i], len(first)) for i in order], dtype=np.int64)
    ordered = at.take(order)
    return Observations(
        **{f.name: getattr(ordered, f.name) for f in fields(Points)},
        loss=losses[order],
        weight=weight[order],
        cluster=cluster,
        run_id=tuple(names[i] for i in order),
    )


def points(table: pd.DataFrame) -> Points:
    """The columns of `Points` that every row has; n and tokens only together."""
    columns = {
        "n": "n_active", "tokens": "tokens", "n_total": "n_total", "n_experts": "n_experts",
        "unique_tokens": "unique_tokens",
    }  # fmt: skip
    known = {k for k, c in columns.items() if c in table.columns and table[c].notna().all()}
    if not {"n", "tokens"} <= known:
        known -= {"n", "tokens"}
    values = {name: numbers(table, columns[name]) for name in known}
    return Points(flops=numbers(table, "flops"), **values)


def budget_means(obs: Observations) -> tuple[Vector, Vector, Vector]:
    """Mean log10 compute, mean log loss and number of runs of each budget, ascending.

    Means are weighted, and a run of twice the table's mean weight counts as two.
    """
    index, weight = obs.budget, obs.weight / obs.weight.mean()
    counts: Vector = np.bincount(index, weight).astype(np.float64)
    x = np.bincount(index, weight * obs.x) / counts
    y = np.bincount(index, weight * obs.y) / counts
    return x, y, counts
