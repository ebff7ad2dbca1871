"""Pass rates against compute: problems by bucket, and strips beside the blind baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import (
    ACTUAL,
    GREY,
    INK,
    WIDTH,
    color_of,
    compute_axis,
    heading,
    panel,
    rules,
    sheet,
    spread,
)
from reports.inputs import floats

LINE = 38.0  # mm from one row of panels to the next


def bucket_order(observed: pd.DataFrame, law: pd.DataFrame, named: Sequence[str]) -> list[str]:
    """All problems first, then the buckets as predicted, then any that were only observed."""
    seen = [*named, *sorted(set(observed["bucket"]) | set(law["bucket"]))]
    return list(dict.fromkeys(["", *seen]))


def rates_figure(
    observed: pd.DataFrame, law: pd.DataFrame, order: Sequence[str], details: Mapping[str, str]
) -> Figure:
    """Small multiples of pass rate, one for each bucket with observations or a law."""
    shown = [name for name in order if _has(observed, name) or _has(law, name)]
    columns = 4 if len(shown) > 9 else 3
    lines = -(-len(shown) // columns)
    step = WIDTH / columns
    figure = sheet(lines * LINE + 6)
    flops = np.concatenate([floats(observed, "flops"), floats(law, "flops")])
    for place, name in enumerate(shown):
        down, across = divmod(place, columns)
        last = place + columns >= len(shown)
        bottom = (lines - 1 - down) * LINE + 11
        axes = panel(figure, across * step + 9, bottom, step - 12, LINE - 16)
        first = place == (lines - 1) * columns
        compute_axis(axes, flops.min() / 1.6, flops.max() * 1.6, label=first, most=4)
        if not last:
            axes.tick_params(axis="x", labelbottom=False)
        _draw_rates(axes, observed[observed["bucket"] == name], law[law["bucket"] == name])
        heading(axes, name or "all problems", detail=details.get(name, ""), longest=24)
    return figure


def _has(table: pd.DataFrame, bucket: str) -> bool:
    return bool((table["bucket"] == bucket).any())


def _draw_rates(axes: Axes, observed: pd.DataFrame, law: pd.DataFrame) -> None:
    line = law[law["mark"] == "law"].sort_values("flops")
    color = color_of(0)
    at = floats(line, "flops")
    for low, high, alpha in (("lo90", "hi90", 0.13), ("lo50", "hi50", 0.20)):
        axes.fill_between(
            at, floats(line, low), floats(line, high), color=color, alpha=alpha, linewidth=0
        )
    axes.plot(at, floats(line, "value"), color=color)
    target = observed["role"] == "target"
    for rows, ink, marker, size in (
        (observed[~target], INK, "o", 3.4),
        (observed[target], ACTUAL, "D", 4.8),
    ):
        _draw_counts(axes, rows, ink, marker, size)
    tops = [floats(observed, "hi"), floats(line, "value"), floats(line, "hi50")]
    seen = np.concatenate(tops)
    seen = seen[np.isfinite(seen)]
    top = min(1.02, float(seen.max()) * 1.12) if seen.size else 1.0
    axes.set_ylim(-0.02 * top, top)
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    rules(axes)


def _draw_counts(axes: Axes, rows: pd.DataFrame, ink: str, marker: str, size: float) -> None:
    at, rate = floats(rows, "flops"), floats(rows, "rate")
    axes.vlines(at, floats(rows, "lo"), floats(rows, "hi"), color=ink, linewidth=0.8, zorder=4)
    axes.plot(
        at, rate, linestyle="none", marker=marker, markersize=size, color=ink,
        markeredgecolor="white", markeredgewidth=0.5, zorder=5,
    )  # fmt: skip


def strips_figure(table: pd.DataFrame) -> Figure:
    """Accuracy on image strips beside the same model blind, labelled at the right."""
    figure = sheet(58)
    axes = panel(figure, 11, 10, WIDTH - 11 - 42, 41)
    flops = floats(table, "flops")
    compute_axis(axes, flops.min() / 1.6, flops.max() * 1.6)
    words = {"strip": "reading the image", "strip_blind": "blind: image zeroed"}
    ends: list[tuple[float, str, str]] = []
    for kind, ink in (("strip_blind", GREY), ("strip", INK)):
        rows = table[table["kind"] == kind].sort_values("flops")
        if rows.empty:
            continue
        axes.plot(floats(rows, "flops"), floats(rows, "rate"), color=ink, linewidth=0.8, alpha=0.6)
        target = rows["role"] == "target"
        marker = "o" if kind == "strip" else "s"
        _draw_counts(axes, rows[~target], ink, marker, 4.2)
        _draw_counts(axes, rows[target], ACTUAL if kind == "strip" else ink, "D", 5.0)
        ends.append((float(floats(rows, "rate")[-1]), words[kind], ink))
    top = min(1.02, float(np.nanmax(floats(table, "hi"))) * 1.12)
    axes.set_ylim(-0.02 * top, top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    rules(axes)
    heights = [(rate + 0.02 * top) / (1.02 * top) for rate, _, _ in ends]
    for (_, text, ink), place in zip(ends, spread(heights, 0.1, 0.03, 0.97), strict=True):
        axes.text(1.01, place, text, color=ink, transform=axes.transAxes, va="center")
    heading(axes, "Strips read exactly")
    return figure
