"""Rows whose n_active or tokens is in another unit than the rest of the table's.

A ladder's sizes lie evenly on a log scale, at most a decade or two from one to the next. A few rows
that a factor of GAP parts from all others are in another unit, too small or too large. Nearer ones,
beyond NEAR, are so only where the loss says it: of a run with ten times the compute of most others
the loss is not above theirs.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from workbench.table_checks import AGREE, SMALLEST, Finding, row_names

GAP = 500.0  # a factor between neighbouring sizes that no ladder has
NEAR = 5.0  # and one beyond which the loss is asked
FEW, FEW_TINY = 0.25, 0.5  # shares of the rows that may be odd; the second where none is a count
MORE_COMPUTE = 10.0  # a run with this factor more has the lower loss
CONTRADICTED = 0.25  # by this share of the other rows
LARGEST = {"n_active": 1e13, "tokens": 1e15}  # no language model is that large, nor its data
FACTORS = tuple(10.0**power for power in (-12, -9, -6, -3, 3, 6, 9, 12))
SLACK = 3.0  # a size brought to scale may lie this far outside the others


def check_sizes(table: pd.DataFrame, *, computed: bool) -> list[Finding]:
    """A caution for each size out of line; its row becomes `missing`, so that fits leave it out.

    Only finished runs of the ladder are compared: a target may well be far above them. A row is
    believed where its own flops, not `computed` here, and its loss both bear its size out.
    """
    ladder = (table["status"] == "finished") & table["role"].isin(["ladder", "grid", ""])
    runs = table[ladder]
    found = []
    for column in (c for c in ("n_active", "tokens") if c in table):
        for rows, rest, text in _odd(runs, column, computed=computed):
            table.loc[rows, "status"] = "missing"
            found.append(_finding(runs[column], column, rows, rest, text))
    return found


def _odd(
    runs: pd.DataFrame, column: str, *, computed: bool
) -> Iterator[tuple[list[int], list[int], str]]:
    """Rows out of line with one factor between them and the rest, the rest, and the evidence."""
    sizes = runs[column][runs[column] > 0].sort_values(kind="stable")
    seen: set[int] = set()
    for few, rest, gap in _apart(sizes, column):
        wild = gap >= GAP
        told: dict[tuple[float, str], list[int]] = {}
        for row in (row for row in few if row not in seen):
            against = _contradicted(runs, row, rest, larger=bool(sizes[row] > sizes[rest].max()))
            absurd = sizes[row] > LARGEST[column] or (wild and sizes[row] < SMALLEST[column])
            believed = not (absurd or computed) and _borne_out(runs, row, rest)
            if against or absurd or (wild and not believed):
                told.setdefault((_factor(sizes, row, rest), against), []).append(row)
                seen.add(row)
        for (_, against), rows in told.items():
            yield sorted(rows), rest, against


def _apart(sizes: Any, column: str) -> Iterator[tuple[list[int], list[int], float]]:
    """Few rows below or above all others, the others, and the factor between; widest gaps first."""
    values, rows = sizes.to_numpy(), [int(row) for row in sizes.index]
    gaps = values[1:] / values[:-1]
    for at in sorted(np.flatnonzero(gaps >= NEAR), key=lambda at: -gaps[at]):
        low, high = rows[: at + 1], rows[at + 1 :]
        few, rest = (low, high) if len(low) < len(high) else (high, low)
        tiny = few is low and values[at] < SMALLEST[column] and gaps[at] >= GAP
        share = len(few) / len(rows)
        if share <= FEW or (tiny and share < FEW_TINY):
            yield few, rest, float(gaps[at])


def _contradicted(runs: pd.DataFrame, row: int, rest: list[int], *, larger: bool) -> str:
    """What the losses say against a size, empty where nothing."""
    if not {"n_active", "tokens"} <= set(runs.columns):
        return ""
    compute = runs["n_active"] * runs["tokens"]
    others, own, loss = runs.loc[rest], compute[row], runs["loss"][row]
    if larger:
        against = (compute[rest] * MORE_COMPUTE < own) & (others["loss"] < loss)
    else:
        against = (compute[rest] > own * MORE_COMPUTE) & (others["loss"] > loss)
    if against.sum() < max(2.0, CONTRADICTED * len(rest)):
        return ""
    have = "lower losses with a tenth of" if larger else "higher losses with ten times"
    return f"its loss contradicts it: {int(against.sum())} other rows have {have} its compute"


def _borne_out(runs: pd.DataFrame, row: int, rest: list[int]) -> bool:
    """Whether the row's flops agree with its sizes as the others' do, and its loss is extreme."""
    if not {"n_active", "tokens"} <= set(runs.columns):
        return False
    ratio = runs["flops"] / (runs["n_active"] * runs["tokens"])
    agrees = 1 / AGREE < ratio[row] / ratio[rest].median() < AGREE
    compute, losses = runs["n_active"] * runs["tokens"], runs["loss"]
    if compute[row] > compute[rest].max():
        return bool(agrees and losses[row] < losses[rest].min())
    return bool(agrees and compute[row] < compute[rest].min() and losses[row] > losses[rest].max())


def _factor(sizes: Any, row: int, rest: list[int]) -> float:
    """The power of a thousand that brings a size among the others, NaN where none does."""
    low, high = sizes[rest].min() / SLACK, sizes[rest].max() * SLACK
    middle = float(np.log(sizes[rest]).median())
    fitting = [factor for factor in FACTORS if low <= sizes[row] * factor <= high]
    return min(fitting, key=lambda f: abs(np.log(sizes[row] * f) - middle), default=float("nan"))


def _finding(sizes: Any, column: str, rows: list[int], rest: list[int], against: str) -> Finding:
    """What the rows hold, what would bring them among the others, and what to type."""
    factor, first = _factor(sizes, rows[0], rest), sizes[rows[0]]
    text = f"{first:.4g} where the others have {sizes[rest].min():.4g} to {sizes[rest].max():.4g}"
    text += f"; {against}" if against else ""
    if np.isfinite(factor):
        change = f"divide by {1 / factor:.0e}" if factor < 1 else f"multiply by {factor:.0e}"
        change = change.replace("e+0", "e").replace("e+", "e")
        right = f"{first * factor:.4g} would be among them"
        text += f": another unit? {right}: in {row_names(rows)} of the source {change}"
    else:
        text += f": another unit? correct {row_names(rows)} of the source"
    if not against and SMALLEST[column] <= first <= LARGEST[column]:
        text += ", or, if it is right, add a column flops that agrees"
    return Finding.of(column, rows, f"{text}; kept out of fits", doubt=True)
