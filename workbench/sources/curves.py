"""Loss curves as rows of a table: one row a run, with the value at its last step.

Why the last and not the lowest: a law describes runs at the end of their schedule, when the
learning rate has decayed. The lowest of a noisy curve is too low by as much as the noise allows,
and more so the longer the run, which bends the law. Where the last value is clearly above the
lowest, or was measured before the run ended, the run is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fits.observations import Vector
from workbench.table_checks import Finding

RUN, LAST_STEP = "run", "last_step"
RISE = 0.02  # a last value this far above the lowest is no end of a schedule
EARLY = 0.01  # a last measurement this share of the steps before the end is too early
BLUR = 0.01  # a bin of an export this wide blurs the value
STEP_AXES = ("step", "_step", "trainer/global_step", "global_step", "iteration", "iterations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One metric of one run, by increasing step; NaN or infinity where the run logged it."""

    run: str
    metric: str
    steps: Vector
    values: Vector
    blur: float = 0.0  # relative width of the last value's bin, where an export thinned the curve

    @property
    def last(self) -> float:
        """The value at the last step."""
        return float(self.values[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table as another program wrote it: untouched cells, and what was noticed on reading."""

    cells: pd.DataFrame  # rows from 1
    curves: tuple[Curve, ...] = ()
    findings: tuple[Finding, ...] = ()
    left_out: tuple[Finding, ...] = ()
    taken: Mapping[str, str] = field(default_factory=dict)  # column: what its cells are


def source_of(
    curves: Sequence[Curve],
    *,
    axis: str = "step",
    facts: Mapping[str, Mapping[str, str]] | None = None,
    findings: Sequence[Finding] = (),
) -> Source:
    """A row for each run, in the order of its curves: name, last step, every metric's last value.

    `facts` are further cells of a run. The axis is called `last_step` where it counts steps, and
    keeps its own name where it is another quantity, such as tokens.
    """
    end = LAST_STEP if axis.strip().lower() in STEP_AXES else axis
    rows: dict[str, dict[str, str]] = {}
    for curve in curves:
        row = rows.setdefault(curve.run, {RUN: curve.run, end: ""})
        row[end] = _text(max(float(row[end] or "-inf"), float(curve.steps[-1])))
        row[curve.metric] = repr(curve.last)
    for run, known in (facts or {}).items():
        if run in rows:
            rows[run] |= {name: text for name, text in known.items() if name not in rows[run]}
    cells = pd.DataFrame(list(rows.values()), dtype=object).fillna("")
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    metrics = dict.fromkeys(curve.metric for curve in curves)
    return Source(
        cells=cells,
        curves=tuple(curves),
        findings=tuple(findings),
        taken={name: f"each run's value at its last {axis}, not its lowest" for name in metrics},
    )


def _text(step: float) -> str:
    return str(int(step)) if step.is_integer() else repr(step)


def curve_findings(source: Source, metric: str, column: str) -> list[Finding]:
    """What a reader must know of the last values of a metric that became this column."""
    if metric not in source.taken:
        return []
    found = [Finding.of(column, (), source.taken[metric])]
    row_of = {run: int(row) for row, run in source.cells[RUN].items()}  # type: ignore[call-overload]
    ends: dict[str, float] = {}
    for curve in source.curves:
        ends[curve.run] = max(ends.get(curve.run, -np.inf), float(curve.steps[-1]))
    high: dict[int, str] = {}
    early: dict[int, str] = {}
    blurred: dict[int, str] = {}
    for curve in source.curves:
        if curve.metric != metric or not np.isfinite(curve.last):
            continue
        row = row_of[curve.run]
        lowest, at = float(np.nanmin(curve.values)), float(curve.steps[-1])
        if lowest > 0 and curve.last > (1 + RISE) * lowest:
            high[row] = f"{curve.run} by {100 * (curve.last / lowest - 1):.1f} %"
        if at < (1 - EARLY) * ends[curve.run]:
            early[row] = f"{curve.run} at {at:g} of {ends[curve.run]:g}"
        if curve.blur > BLUR:
            blurred[row] = f"{curve.run} over {100 * curve.blur:.1f} %"
    for rows, text in (
        (high, "ends above its lowest value ({}): not annealed, diverging, or noisy"),
        (early, "last measured before the run ended ({})"),
        (blurred, "the export thinned the curve: the last value is an average ({})"),
    ):
        if rows:
            found.append(Finding.of(column, rows, text.format(rows[min(rows)]), doubt=True))
    return found
