"""The history that Weights & Biases exports from a chart: a column a run, a row a step.

The header is the axis ("Step", or whatever the chart's axis was), then for each run and metric
"run - metric", "run - metric__MIN" and "run - metric__MAX". The last two are the extremes of the
steps that the export drew together, if it did. A run's cells are empty where it logged nothing.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.quantities import read_quantity
from workbench.sources.curves import STEP_AXES, Curve, Source, source_of
from workbench.table_checks import Finding, row_names

SEPARATOR = " - "
EXTREMES = ("__MIN", "__MAX")
OWN = ("_step", "_runtime", "_timestamp")  # what W&B adds to every run


def is_history(names: list[str]) -> bool:
    """Whether a header is that of a chart's export."""
    if any(set(_extremes(name)) <= set(names) for name in names):
        return True
    rest = names[1:]
    axis = names[0].strip().lower() if names else ""
    return axis in STEP_AXES and bool(rest) and all(SEPARATOR in name for name in rest)


def _extremes(name: str) -> tuple[str, str]:
    return f"{name}{EXTREMES[0]}", f"{name}{EXTREMES[1]}"


def read_history(path: Path, cells: pd.DataFrame) -> Source:
    """A row a run, with the value at its last step.

    Raises InputError for a chart that does not part its runs, and for a cell that is no number.
    """
    axis, *names = (str(name) for name in cells.columns)
    plain = [name for name in names if not name.endswith(EXTREMES)]
    grouped = [name for name in plain if SEPARATOR not in name]
    if grouped:
        raise InputError(
            f"{path}: column {grouped[0]!r} names no run: a chart of one run, or of averages",
            "export a chart in which each run has its own line, or the table of runs",
        )
    x = _numbers(path, cells[axis], axis)
    unplaced = [int(row) for row in cells.index[~np.isfinite(x)]]
    findings = [Finding.of(axis, unplaced, "empty: the row is left out")] if unplaced else []
    curves, silent = [], []
    for name in plain:
        run, _, metric = name.rpartition(SEPARATOR)
        if metric in OWN:
            continue
        logged = np.array([read_quantity(cell, "loss").kind != "missing" for cell in cells[name]])
        rows = np.flatnonzero(logged & np.isfinite(x))
        if not rows.size:
            silent.append(run)
            continue
        rows = rows[np.argsort(x[rows], kind="stable")]
        curves.append(
            Curve(
                run=run.strip(),
                metric=metric.strip(),
                steps=x[rows],
                values=_numbers(path, cells[name], name)[rows],
                blur=_blur(path, cells, name, int(rows[-1])),
            )
        )
    if not curves:
        raise InputError(f"{path} holds no value of any run", "export the chart again")
    if silent:
        text = f"no value at all in the chart: {', '.join(dict.fromkeys(silent))}, not in the table"
        findings.append(Finding.of(plain[0], (), text, doubt=True))
    return source_of(curves, axis=axis, findings=findings)


def _numbers(
    path: Path, column: "pd.Series[str]", name: str
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Floats, NaN for what is empty or not finite."""
    read = [read_quantity(cell, "loss") for cell in column]
    wrong = [row for row, q in enumerate(read, start=1) if q.kind in ("unreadable", "ambiguous")]
    if wrong:
        raise InputError(
            f"{path}: {name}, {row_names(wrong)}: {column.iloc[wrong[0] - 1]!r} is no plain number",
            "export the chart again, with a numeric axis",
        )
    return np.array([quantity.value for quantity in read], dtype=np.float64)


def _blur(path: Path, cells: pd.DataFrame, name: str, row: int) -> float:
    """How far apart the extremes of the last value's steps are, over the value."""
    lowest, highest = _extremes(name)
    if lowest not in cells or highest not in cells:
        return 0.0
    value, low, high = (
        read_quantity(cells[column].iloc[row], "loss").value for column in (name, lowest, highest)
    )
    blur = (high - low) / value if value else 0.0
    return float(blur) if np.isfinite(blur) else 0.0
