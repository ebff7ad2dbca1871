"""Loss against compute with its law: the key figure, the small multiples and the residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from reports.figures.style import (
    ACTUAL,
    DASHES,
    GREY,
    INK,
    WIDTH,
    color_of,
    compute_axis,
    heading,
    loss_axis,
    panel,
    rules,
    sheet,
    spread,
)
from reports.inputs import floats
from reports.numbers import joined, plain

SHORT = 12  # letters of a label up to which there is room for a word before it
RUN_STYLES = {
    "used": {"marker": "o", "markerfacecolor": INK, "markeredgecolor": INK},
    "unused": {"marker": "o", "markerfacecolor": "white", "markeredgecolor": INK},
    "left_out": {"marker": "x", "markerfacecolor": GREY, "markeredgecolor": GREY},
    "twin": {"marker": "D", "markerfacecolor": "white", "markeredgecolor": GREY},
}


def limits(table: pd.DataFrame) -> tuple[float, float, float, float]:
    """Lowest and highest compute and loss that the figure must show, with some air.

    The band may open far beyond the runs at a long extrapolation; the interval at the target
    is always shown, the band beyond the runs' losses only as far as that.
    """
    ends = table[table["mark"].isin(["interval"])]
    shown = table[table["mark"] != "law"]
    values = [floats(shown, "value"), floats(ends, "lo90"), floats(ends, "hi90")]
    law = table[table["mark"] == "law"]
    values.append(floats(law, "value"))
    loss = np.concatenate(values)
    loss = loss[np.isfinite(loss) & (loss > 0)]
    flops = floats(table, "flops")
    low, high = float(flops.min()), float(flops.max())
    air = max((high / low) ** 0.04, 1.15)
    room = max((loss.max() / loss.min()) ** 0.07, 1.004)
    return low / air, high * air, float(loss.min() / room), float(loss.max() * room)


def draw_forecast(table: pd.DataFrame, axes: Axes, *, most: int = 6, ticks: int = 7) -> None:
    """Runs, laws with bands, intervals and the actual of one forecast table."""
    low, high, bottom, top = limits(table)
    compute_axis(axes, low, high, most=ticks)
    loss_axis(axes, bottom, top, most=most)
    names = predictions(table)
    for index, name in reversed(list(enumerate(names))):
        _draw_law(axes, table[table["prediction"] == name], index)
    for mark, style in RUN_STYLES.items():
        rows = table[table["mark"] == mark]
        axes.plot(
            floats(rows, "flops"),
            floats(rows, "value"),
            linestyle="none",
            markeredgewidth=0.9,
            zorder=4,
            **style,  # type: ignore[arg-type]
        )
    rows = table[table["mark"] == "actual"]
    at_target = floats(table[table["mark"].isin(["interval", "actual"])], "flops")
    for index, name in reversed(list(enumerate(names))):
        mine = table[table["prediction"] == name]
        _draw_interval(axes, mine, index, high / low, at_target)
    axes.plot(
        floats(rows, "flops"),
        floats(rows, "value"),
        linestyle="none",
        marker="D",
        markersize=5.2,
        color=ACTUAL,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=7,
    )


def predictions(table: pd.DataFrame) -> list[str]:
    """The names of the predictions that the table draws, the headline first."""
    return list(dict.fromkeys(name for name in table["prediction"] if name))


def _draw_law(axes: Axes, table: pd.DataFrame, index: int) -> None:
    law = table[table["mark"] == "law"].sort_values("flops")
    flops, color = floats(law, "flops"), color_of(index)
    if index == 0:  # two bands over one another cannot be read: later laws have a line alone
        for low, high, alpha in (("lo90", "hi90", 0.13), ("lo50", "hi50", 0.20)):
            axes.fill_between(
                flops, floats(law, low), floats(law, high), color=color, alpha=alpha, linewidth=0
            )
    axes.plot(flops, floats(law, "value"), color=color, linestyle=DASHES[min(index, 2)], zorder=3)


def _draw_interval(
    axes: Axes,
    table: pd.DataFrame,
    index: int,
    span: float,
    others: NDArray[np.float64],
) -> None:
    rows = table[table["mark"] == "interval"]
    color = color_of(index)
    # beside one another and beside the actual, not upon: left, right, further left, …
    aside = span ** (0.014 * (index // 2 + 1) * (-1) ** (index + 1))
    for row in rows.to_dict("records"):
        near = np.abs(np.log(others / row["flops"])) < 0.02 * np.log(span)
        at = row["flops"] * (aside if near.sum() > 1 else 1.0)
        axes.plot([at, at], [row["lo90"], row["hi90"]], color=color, linewidth=1.1, zorder=5)
        axes.plot([at, at], [row["lo50"], row["hi50"]], color=color, linewidth=2.8, zorder=5)
        axes.plot(
            [at],
            [row["value"]],
            marker="o",
            markersize=5.4,
            markerfacecolor="white",
            markeredgecolor=color,
            markeredgewidth=1.3,
            zorder=6,
        )


def headline_figure(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """The key figure over the width of the page, labelled at its right."""
    figure = sheet(104)
    axes = panel(figure, 9, 10, WIDTH - 9 - 42, 87)
    draw_forecast(table, axes)
    heading(axes, "Loss, nats per token")
    _label_target(axes, table, labels)
    _label_runs(axes, table)
    _label_ranges(axes, table, labels)
    return figure


def _label_target(axes: Axes, table: pd.DataFrame, labels: Mapping[str, str]) -> None:
    """What stands at the target, said at its height beside the axes."""
    said: list[tuple[float, str, str]] = []
    for index, name in enumerate(predictions(table)):
        rows = table[(table["mark"] == "interval") & (table["prediction"] == name)]
        for row in rows.to_dict("records"):
            words, label = plain(row["value"]), labels[name]
            words = f"predicted {words} ({label})" if len(label) <= SHORT else f"{words}: {label}"
            said.append((float(row["value"]), words, color_of(index)))
    for row in table[table["mark"] == "actual"].to_dict("records"):
        said.append((float(row["value"]), f"actual {plain(row['value'])}", ACTUAL))
    if not said:
        return
    bottom, top = np.log(axes.get_ylim())
    heights = [(np.log(value) - bottom) / (top - bottom) for value, _, _ in said]
    places = spread(heights, 0.047, 0.02, 0.98)
    target = float(floats(table[table["mark"].isin(["interval", "actual"])], "flops").max())
    transform = blended_transform_factory(axes.transData, axes.transAxes)
    edge = axes.get_xlim()[1]
    for (_, words, color), height, place in zip(said, heights, places, strict=True):
        axes.plot(
            [(target * edge) ** 0.5, edge],
            [height, place],
            color=color,
            linewidth=0.5,
            transform=transform,
            clip_on=False,
        )
        axes.annotate(
            words,
            (1, place),
            (3, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=color,
        )


def _label_runs(axes: Axes, table: pd.DataFrame) -> None:
    """A key of run marks at the upper right, only where more than one kind is drawn."""
    words = {
        "used": "run used by a law",
        "unused": "run not used",
        "left_out": "run left out",
        "twin": "dense twin",
    }
    shown = [mark for mark in words if bool((table["mark"] == mark).any())]
    for place, mark in enumerate(shown):
        height = 0.97 - 0.052 * place
        axes.plot(
            [0.80],
            [height],
            linestyle="none",
            markeredgewidth=0.9,
            transform=axes.transAxes,
            **RUN_STYLES[mark],  # type: ignore[arg-type]
        )
        axes.text(0.815, height - 0.003, words[mark], transform=axes.transAxes, va="center")


def _label_ranges(axes: Axes, table: pd.DataFrame, labels: Mapping[str, str]) -> None:
    """Which compute each law was fitted on, as bars at the foot with their words above them."""
    names = predictions(table)
    bars: dict[tuple[float, float], list[int]] = {}
    for index, name in enumerate(names):
        used = table[table["mark"] == "used"]
        flops = floats(used[[name in by for by in used["used_by"]]], "flops")
        if flops.size:
            bars.setdefault((float(flops.min()), float(flops.max())), []).append(index)
    transform = blended_transform_factory(axes.transData, axes.transAxes)
    for place, ((low, high), indices) in enumerate(reversed(bars.items())):
        height, color = 0.03 + 0.062 * place, color_of(indices[0])
        axes.plot(
            [low, high],
            [height] * 2,
            color=color,
            linewidth=2.2,
            transform=transform,
            solid_capstyle="butt",
        )
        whose = joined([labels[names[index]] for index in indices])
        words = f"runs of the {whose} prediction{'s' if len(indices) > 1 else ''}"
        axes.text(
            low,
            height + 0.012,
            "runs of every prediction" if 1 < len(indices) == len(names) else words,
            color=color,
            transform=transform,
            va="bottom",
            fontsize=8,
        )


def parts_figure(tables: Mapping[str, pd.DataFrame], details: Mapping[str, str]) -> Figure:
    """Small multiples, one for each loss part that has something to show."""
    shown = {name: table for name, table in tables.items() if not table.empty}
    columns = 2 if len(shown) <= 4 else 3
    lines = -(-len(shown) // columns)
    step, height = WIDTH / columns, 38.0
    line = height + 22.0
    figure = sheet(lines * line)
    for place, (name, table) in enumerate(shown.items()):
        down, across = divmod(place, columns)
        left = across * step + 9
        axes = panel(figure, left, (lines - 1 - down) * line + 9, step - 14, height)
        draw_forecast(table, axes, most=5, ticks=5)
        if down < lines - 1 and place + columns < len(shown):
            axes.set_xlabel("")
        heading(axes, name, detail=details.get(name, ""), longest=48 if columns == 2 else 24)
    return figure


def residual_figure(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Each run and the actual over the law, in percent, a panel for each prediction."""
    names: Sequence[str] = predictions(table)
    lines, step, line = -(-len(names) // 2), WIDTH / 2, 46.0
    figure = sheet(lines * line)
    reach = float(np.nanmax(np.abs(floats(table, "percent")))) * 1.15 + 0.05
    flops = floats(table, "flops")
    for place, name in enumerate(names):
        down, across = divmod(place, 2)
        axes = panel(figure, across * step + 11, (lines - 1 - down) * line + 10, step - 16, 29)
        below = place + 2 < len(names)  # a panel that says the axis's name for this one too
        compute_axis(axes, flops.min() / 1.5, flops.max() * 1.5, label=not below, most=5)
        axes.set_ylim(-reach, reach)
        axes.locator_params(axis="y", nbins=5)
        axes.yaxis.set_major_formatter(
            lambda value, _: f"{value:+.3g}".replace("-", "−") if value else "0"
        )
        rules(axes)
        axes.axhline(0, color=color_of(place), linewidth=1.2)
        rows = table[table["prediction"] == name]
        for mark in ("used", "unused", "actual"):
            kind = rows[rows["mark"] == mark]
            style = RUN_STYLES.get(mark, {"marker": "D", "color": ACTUAL})
            axes.plot(
                floats(kind, "flops"),
                floats(kind, "percent"),
                linestyle="none",
                zorder=4,
                **style,  # type: ignore[arg-type]
            )
        heading(axes, f"{labels[name]}: above the law, %")
    return figure
