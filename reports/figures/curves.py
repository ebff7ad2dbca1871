"""Loss curves of all runs against the compute they had spent."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from reports.figures.style import (
    ACTUAL,
    INK,
    WIDTH,
    compute_axis,
    heading,
    loss_axis,
    panel,
    power_label,
    sheet,
)
from reports.inputs import floats

LIGHT = "#a9bccd"  # the smallest rung; larger ones go to ink


def shade(position: float) -> str:
    """The colour of a rung, from light at 0 to ink at 1."""
    low, high = np.array(to_rgb(LIGHT)), np.array(to_rgb(INK))
    red, green, blue = low + (high - low) * float(np.clip(position, 0, 1))
    return to_hex((red, green, blue))


def curves_figure(table: pd.DataFrame) -> Figure:
    """One line a run, light to dark with its final compute; the target apart."""
    figure = sheet(86)
    axes = panel(figure, 11, 10, WIDTH - 13, 69)
    ends = table.groupby("run_id", sort=True)["flops"].max()
    logs = np.log10(ends.to_numpy(dtype=float))
    span = max(float(logs.max() - logs.min()), 1e-9)
    flops, loss = floats(table, "flops"), floats(table, "loss")
    # the first held-out loss is near that of knowing nothing: the axis may start beneath it
    compute_axis(axes, flops.min() / 1.3, flops.max() * 2.2)
    loss_axis(axes, float(loss.min()) / 1.06, float(np.quantile(loss, 0.995)) * 1.03)
    labelled: list[tuple[float, float, float]] = []
    for run, end in ends.items():
        rows = table[table["run_id"] == run]
        at, value = floats(rows, "flops"), floats(rows, "loss")
        target = bool((rows["role"] == "target").all())
        color = ACTUAL if target else shade((np.log10(float(end)) - logs.min()) / span)
        axes.plot(
            at, value, color=color, linewidth=1.5 if target else 0.9, zorder=5 if target else 3
        )
        axes.plot(at[-1:], value[-1:], marker="o", markersize=3, color=color, zorder=6)
        if target:
            axes.annotate(
                "target", (at[-1], value[-1]), (5, 0), textcoords="offset points",
                color=ACTUAL, va="center",
            )  # fmt: skip
        else:
            labelled.append((float(at[-1]), float(value[-1]), float(np.log10(float(end)))))
    _label_rungs(axes, labelled, span)
    heading(axes, "Held-out loss on the way, nats per token")
    return figure


def _label_rungs(axes: Axes, ends: list[tuple[float, float, float]], span: float) -> None:
    """The final compute under the ends of some rungs, well apart: nothing lies below them."""
    last = -np.inf
    for flops, loss, log in sorted(ends):
        if log - last < max(span / 9, 0.28):
            continue
        last = log
        lowest = min(value for at, value, _ in ends if abs(np.log10(at) - log) < 0.1)
        axes.annotate(
            power_label(flops), (flops, min(loss, lowest)), (-2, -4), textcoords="offset points",
            ha="right", va="top", fontsize=8, color=INK,
        )  # fmt: skip
