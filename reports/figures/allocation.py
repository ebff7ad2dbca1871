"""Compute-optimal size: losses cut at equal compute, and n against compute by each approach."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.figures.curves import shade
from reports.figures.style import (
    DASHES,
    FAINT,
    INK,
    WIDTH,
    Form,
    color_of,
    compute_axis,
    compute_ticks,
    drawing,
    heading,
    loss_axis,
    panel,
    picture,
    power_label,
    rules,
    sheet,
    spread,
)
from reports.inputs import floats

NAMES = {"envelope": "envelope", "isoflop": "isoFLOP", "parametric": "parametric"}
MARKS = {"envelope": "s", "isoflop": "o"}
HEIGHT = 88.0
BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.4}  # a label
LABELLED = 5  # levels whose compute is written beside them


def allocation_picture(
    slices: pd.DataFrame,
    levels: pd.DataFrame,
    curves: pd.DataFrame,
    points: pd.DataFrame,
    form: Form,
) -> bytes:
    """The figure as a file's content, the same bytes for the same tables.

    `slices` has a row per run and common compute (flops, n, loss), `levels` a row per parabola
    (flops, n_low, n_high, n, loss, curvature, refused), `curves` the paths (approach, flops, n,
    n_lo90, n_hi90), `points` what they rest on (approach, flops, n); the first two may be empty.
    """
    with drawing():
        return picture(allocation_figure(slices, levels, curves, points), form)


def allocation_figure(
    slices: pd.DataFrame, levels: pd.DataFrame, curves: pd.DataFrame, points: pd.DataFrame
) -> Figure:
    """Losses at equal compute on the left where there are any, the paths on the right."""
    figure = sheet(HEIGHT)
    left = 11.0
    if not slices.empty:
        wide = 0.44 * WIDTH
        _draw_slices(panel(figure, left, 10, wide - left - 3, HEIGHT - 23), slices, levels)
        left += wide
    _draw_paths(panel(figure, left, 10, WIDTH - left - 21, HEIGHT - 23), curves, points)
    return figure


def _draw_slices(axes: Axes, slices: pd.DataFrame, levels: pd.DataFrame) -> None:
    n, loss = floats(slices, "n"), floats(slices, "loss")
    _size_axis(axes, n.min() / 1.3, n.max() * 3.5, vertical=False)
    loss_axis(axes, float(loss.min()) / 1.02, float(np.quantile(loss, 0.98)) * 1.03)
    every = np.unique(floats(slices, "flops"))
    step = -(-every.size // LABELLED)
    for place, flops in enumerate(every):
        color = shade(place / max(every.size - 1, 1))
        rows = slices[slices["flops"] == flops]
        axes.plot(floats(rows, "n"), floats(rows, "loss"), linestyle="none", marker="o",
                  markersize=2.4, color=color, zorder=3)  # fmt: skip
        if (every.size - 1 - place) % step == 0:
            last = rows.loc[rows["n"].idxmax()]
            axes.annotate(power_label(flops), (last["n"], last["loss"]), (4, 0), color=color,
                          textcoords="offset points", fontsize=7, va="center",
                          clip_on=True, zorder=6, bbox=BEHIND)  # fmt: skip
    for row in levels.to_dict("records") if not levels.empty else []:
        if not row["refused"]:
            place = int(np.abs(np.log(every / row["flops"])).argmin())
            _draw_parabola(axes, row, shade(place / max(every.size - 1, 1)))
    heading(axes, "Loss at equal compute", detail="nats per token; FLOPs beside the largest size")


def _draw_parabola(axes: Axes, row: Mapping[Hashable, Any], color: str) -> None:
    at = np.geomspace(row["n_low"], row["n_high"], 60)
    value = row["loss"] * np.exp(row["curvature"] * np.log(at / row["n"]) ** 2)
    axes.plot(at, value, color=color, linewidth=0.8, zorder=2)
    axes.plot([row["n"]], [row["loss"]], marker="D", markersize=3.6, color=color,
              markeredgecolor="white", markeredgewidth=0.5, zorder=5)  # fmt: skip


def _draw_paths(axes: Axes, curves: pd.DataFrame, points: pd.DataFrame) -> None:
    flops, n = floats(curves, "flops"), floats(curves, "n")
    seen = np.concatenate([n, floats(points, "n"), floats(curves, "n_lo90"),
                           floats(curves, "n_hi90")])  # fmt: skip
    seen = seen[np.isfinite(seen)]
    low, high = np.quantile(seen, [0.005, 0.995])
    compute_axis(axes, flops.min() / 1.3, flops.max() * 1.3, most=6)
    _size_axis(axes, float(min(low, n.min())) / 1.5, float(max(high, n.max())) * 1.5, vertical=True)
    ends = []
    for index, name in enumerate(NAMES):
        rows = curves[curves["approach"] == name].sort_values("flops")
        own = points[points["approach"] == name]
        color = color_of(index)
        if len(own):
            axes.plot(floats(own, "flops"), floats(own, "n"), linestyle="none", color=color,
                      marker=MARKS.get(name, "o"), markersize=3.2, alpha=0.6, zorder=4)  # fmt: skip
        if rows.empty:
            continue
        at = floats(rows, "flops")
        axes.fill_between(at, floats(rows, "n_lo90"), floats(rows, "n_hi90"), color=color,
                          alpha=0.13, linewidth=0)  # fmt: skip
        axes.plot(at, floats(rows, "n"), color=color, linestyle=DASHES[index % len(DASHES)])
        ends.append((float(np.log(floats(rows, "n")[-1])), NAMES[name], color))
    bottom, top = (float(np.log(v)) for v in axes.get_ylim())
    placed = spread([end[0] for end in ends], (top - bottom) / 18, bottom, top)
    for where, (_, text, color) in zip(placed, ends, strict=True):
        axes.annotate(text, (1, (where - bottom) / (top - bottom)), (4, 0), va="center",
                      xycoords="axes fraction", textcoords="offset points", color=color,
                      annotation_clip=False)  # fmt: skip
    heading(axes, "Compute-optimal parameters", detail=_what_is_drawn(curves, points))


def _what_is_drawn(curves: pd.DataFrame, points: pd.DataFrame) -> str:
    """Like "shading: 90 %; squares: lowest loss", of what the tables hold."""
    spread = floats(curves, "n_hi90") > floats(curves, "n_lo90")
    words = ["shading: 90 %"] if spread.any() else []
    kinds = {"envelope": "squares: lowest loss", "isoflop": "circles: parabola's minimum"}
    words += [text for name, text in kinds.items() if (points["approach"] == name).any()]
    return "; ".join(words)


def _size_axis(axes: Axes, low: float, high: float, *, vertical: bool) -> None:
    """A log axis of parameters, up or across."""
    if vertical:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    else:
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_major_locator(FixedLocator(compute_ticks(low, high, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_label(value)))
    if vertical:
        rules(axes)
    else:
        axes.set_xlabel("parameters", labelpad=2, color=INK)
        axes.grid(axis="x", color=FAINT, linewidth=0.4)
