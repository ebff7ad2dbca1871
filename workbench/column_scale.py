"""The scale of a table's columns: by the unit in a name, or judged from the other columns.

A bare number names no unit. Its scale is judged from the other columns (flops against
6 · n_active · tokens, tokens per parameter) and applied only where exactly one scale agrees with
them; otherwise the table is refused with the question that a person can answer.
"""

from collections.abc import Container, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.quantities import PF_DAY, unit_of_header
from workbench.table_checks import SMALLEST, Finding

SCALES = {
    "n_active": {1.0: "", 1e3: "thousands", 1e6: "millions", 1e9: "billions"},
    "tokens": {1.0: "", 1e6: "millions", 1e9: "billions", 1e12: "trillions"},
    "flops": {1.0: "", 1e12: "1e12", 1e15: "1e15", 1e18: "1e18", 1e21: "1e21", PF_DAY: "PF-days"},
}
TOKENS_PER_PARAM = (0.5, 2000.0)  # beyond this a scale is not believed


def header_units(
    cells: pd.DataFrame, sources: Mapping[str, str], fixed: Container[str]
) -> dict[str, tuple[str, float]]:
    """Units that column names state, where the scale is not fixed and the numbers are no counts."""
    found = {}
    for column, source in sources.items():
        unit = unit_of_header(source, column)
        bare = pd.to_numeric(cells[source], errors="coerce").median()
        if unit and column not in fixed and bare < SMALLEST.get(column, np.inf):
            found[column] = (unit.unit, unit.factor)
    return found


def settle_scale(
    path: Path, table: pd.DataFrame, sources: Mapping[str, str], fixed: Container[str] = ()
) -> list[Finding]:
    """Bring columns that are too small to be counts to scale, in place, where the others agree.

    The scale of `fixed` columns was given. A table that carries 6 · n · tokens beside, as the
    workbench's own do, shows that it counts plainly. Raises InputError with the question where no
    scale or more than one agrees.
    """
    if _counts_plainly(table):
        return []
    medians = {
        c: float(table[c].median()) for c in SMALLEST if c in table and table[c].notna().any()
    }
    small = [c for c, median in medians.items() if 0 < median < SMALLEST[c] and c not in fixed]
    if not small:
        return []
    options: list[tuple[float, ...]] = [tuple(SCALES[c]) if c in small else (1.0,) for c in medians]
    agreeing = [
        scales
        for choice in product(*options)
        if _plausible(scales := dict(zip(medians, choice, strict=True)), table)
    ]
    if len(agreeing) != 1:
        raise _which_unit(path, table, sources, small, agreeing)
    findings = []
    for column in small:
        factor, first = agreeing[0][column], float(table[column].dropna().iloc[0])
        table[column] *= factor
        text = f"guessed to be in {SCALES[column][factor]} ({first:g} is {first * factor:g}): "
        text += "the other columns then agree"
        findings.append(Finding.of(column, (), text, doubt=True))
    return findings


def _which_unit(
    path: Path,
    table: pd.DataFrame,
    sources: Mapping[str, str],
    small: list[str],
    agreeing: list[dict[str, float]],
) -> InputError:
    """The question that only a person can answer, with the answers that would make sense."""
    what = [f"{c} runs from {table[c].min():g} to {table[c].max():g}" for c in small]
    asked = ",".join(f"{column}={sources[column]}*FACTOR" for column in small)
    readings = agreeing or [{small[0]: factor} for factor, word in SCALES[small[0]].items() if word]
    several = len(small) > 1
    words = [
        " and ".join(
            f"{factor[c]:g} {f'for {c} ' if several else ''}(in {SCALES[c][factor[c]]})"
            for c in small
            if c in factor
        )
        for factor in readings
    ]
    return InputError(
        f"{path}: {' and '.join(what)}, too small for a plain count; in which unit?",
        f"say so: workbench import … --columns '{asked}', with FACTOR {' or '.join(words)}, "
        "or 1 (as it stands)",
    )


def _counts_plainly(table: pd.DataFrame) -> bool:
    """Whether `flops_6nd` is 6 · n_active · tokens in every row, and these are whole and large."""
    names = ["flops_6nd", "n_active", "tokens"]
    if not set(names) <= set(table.columns):
        return False
    rows = table[names].dropna()
    if rows.empty or (rows[names[1:]] % 1 != 0).any(axis=None) or rows["n_active"].min() < 1000:
        return False
    return bool(np.allclose(rows["flops_6nd"], 6.0 * rows["n_active"] * rows["tokens"], rtol=1e-6))


def _plausible(scales: Mapping[str, float], table: pd.DataFrame) -> bool:
    """Whether columns at these scales are counts, and agree with each other."""
    scaled = {column: table[column] * factor for column, factor in scales.items()}
    if any(values.median() < SMALLEST[column] for column, values in scaled.items()):
        return False
    if not {"n_active", "tokens"} <= set(scaled):
        return False
    n, tokens = scaled["n_active"], scaled["tokens"]
    if not TOKENS_PER_PARAM[0] <= float((tokens / n).median()) <= TOKENS_PER_PARAM[1]:
        return False
    if "flops" not in scaled:
        return True
    ratio = float((scaled["flops"] / (6 * n * tokens)).median())
    return 1 / 3 <= ratio <= 3
