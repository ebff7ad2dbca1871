"""Backtests: how far each law's prediction of held-out runs was off, by compute ratio."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.figures.style import (
    ACTUAL,
    GREY,
    INK,
    WIDTH,
    Form,
    color_of,
    drawing,
    heading,
    panel,
    picture,
    plain_label,
    rules,
    sheet,
    spread,
)
from reports.inputs import floats, texts
from reports.numbers import clean, plain

ENDS = ("lo50", "hi50", "lo90", "hi90")
COLUMNS = ("law", "target_flops", "compute_ratio", "percent", *ENDS, "refused")
MARKS = ("s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p", "d", "8")  # a law each
SHADES = (
    INK, "#12806a", "#77529a", "#8a6d00", GREY, "#b8336a", "#2f3e8f", "#6b4a2b", "#6f8f1f",
    "#0f9ba8", "#d0857c", "#a98bd0", "#b59b2e",
)  # fmt: skip
LEFT, KEY = 11.0, 50.0  # mm beside the panels
BANDS = (5.0, 15.0, 50.0, 150.0, 500.0)  # edges between bands of compute ratio
LEAST = 0.05  # percent; a smaller error is drawn as this
PERCENTS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
STEPS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 3000, 10_000, 100_000)


@dataclass(frozen=True, slots=True)
class Look:
    """How one law is drawn."""

    law: str
    color: str
    mark: str
    bars: bool  # whether it gave intervals


def backtest_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Predicted over actual in percent, by law and compute ratio: COLUMNS.

    `rows` has law, target_flops, compute_ratio, predicted, actual, and lo50 … hi90 where a law has
    them. `percent` is empty where `refused` says why; intervals are in percent of the actual too.
    """
    actual = floats(rows, "actual")
    table = pd.DataFrame(
        {
            "law": texts(rows, "law"),
            "target_flops": floats(rows, "target_flops"),
            "compute_ratio": floats(rows, "compute_ratio"),
            "percent": 100 * (floats(rows, "predicted") / actual - 1),
            **{end: 100 * (floats(rows, end) / actual - 1) for end in ENDS},
            "refused": texts(rows, "refused"),
        }
    )
    keep = (table["compute_ratio"] > 0) & (np.isfinite(table["percent"]) | (table["refused"] != ""))
    return pd.DataFrame(table[keep])[list(COLUMNS)].reset_index(drop=True)


def backtest_picture(rows: pd.DataFrame, form: Form) -> bytes:
    """The figure as a file's content, the same bytes for the same rows.

    Raises ValueError where every prediction was refused.
    """
    table = backtest_table(rows)
    if not np.isfinite(floats(table, "percent")).any():
        raise ValueError("nothing to draw: every prediction was refused")
    with drawing():
        return picture(backtest_figure(table), form)


def backtest_figure(table: pd.DataFrame) -> Figure:
    """Above, what gave intervals against the actual; below, how far off every law was."""
    looks, (low, high, slot) = _looks(table), _span(table)
    whole = [look for look in looks if look.bars]
    lower = 52.0
    figure = sheet(lower + (64.0 if whole else 0.0))
    below = panel(figure, LEFT, 11, WIDTH - LEFT - KEY, lower - 20)
    _ratio_axis(below, low, high)
    _draw_errors(below, table, looks)
    below.set_xlabel("compute of the held-out runs over the largest fitted", labelpad=2)
    _draw_key(below, table, looks)
    if whole:
        above = panel(figure, LEFT, lower + 6, WIDTH - LEFT - KEY, 64 - 15)
        _ratio_axis(above, low, high)
        _draw_whole(above, table, whole, slot)
    return figure


def _of(table: pd.DataFrame, law: str) -> pd.DataFrame:
    return pd.DataFrame(table[table["law"] == law])


def _looks(table: pd.DataFrame) -> list[Look]:
    """A look for every law that predicted anything, those with intervals first."""
    given = pd.DataFrame(table[np.isfinite(floats(table, "percent"))])
    laws = list(dict.fromkeys(given["law"]))
    whole = [law for law in laws if np.isfinite(floats(_of(given, law), "lo90")).any()]
    looks = [Look(law, color_of(at), "o", bars=True) for at, law in enumerate(whole)]
    for at, law in enumerate(law for law in laws if law not in whole):
        looks.append(Look(law, SHADES[at % len(SHADES)], MARKS[at % len(MARKS)], bars=False))
    return looks


def _span(table: pd.DataFrame) -> tuple[float, float, float]:
    """The ends of the ratio axis, and the factor by which bars at one ratio stand apart."""
    ratios = floats(table, "compute_ratio")
    slot = max(float(ratios.max() / ratios.min()), 2.0) ** 0.02
    return float(ratios.min()) / slot**4, float(ratios.max()) * slot**2, slot


def _ratio_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    inside = [step for step in STEPS if low <= step <= high]
    axes.xaxis.set_major_locator(FixedLocator(inside[:: -(-len(inside) // 9)] or [low]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}×"))
    rules(axes)


def _draw_whole(axes: Axes, table: pd.DataFrame, looks: list[Look], slot: float) -> None:
    """Bars of 50 and 90 % over the actual, beside one another where they are of one ratio."""
    shown = table[table["law"].isin([look.law for look in looks])]
    ends = np.concatenate([floats(shown, name) for name in ("percent", "lo90", "hi90")])
    low, high = min(float(np.nanmin(ends)), 0.0), max(float(np.nanmax(ends)), 0.0)
    air = 0.06 * max(high - low, 0.5)
    axes.set_ylim(low - air, high + air)
    axes.locator_params(axis="y", nbins=8)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda v, _: f"+{plain_label(v)}" if v > 0 else plain_label(v))
    )
    axes.axhline(0, color=ACTUAL, linewidth=1.2, zorder=2)
    ends = np.log(axes.get_xlim())
    for look in looks:
        own = _of(shown, look.law).sort_values("target_flops")
        places = spread(np.log(floats(own, "compute_ratio")).tolist(), np.log(slot), *ends)
        for row, place in zip(own.to_dict("records"), places, strict=True):
            at = float(np.exp(place))
            if np.isfinite(row["percent"]):
                _draw_bar(axes, at, row, look)
            else:
                axes.plot([at], [low - air], marker="x", markersize=4, color=GREY, clip_on=False)
    words = "predicted over actual, %; bars: 50 and 90 % intervals"
    if bool((shown["refused"] != "").any()):
        words += "; crosses: refused"
    heading(axes, "What the forecaster would have said", detail=words)


def _draw_bar(axes: Axes, at: float, row: dict[Any, Any], look: Look) -> None:
    axes.plot([at, at], [row["lo90"], row["hi90"]], color=look.color, linewidth=1.1, zorder=5)
    axes.plot([at, at], [row["lo50"], row["hi50"]], color=look.color, linewidth=2.8, zorder=5)
    axes.plot([at], [row["percent"]], marker=look.mark, markersize=4.6, zorder=6,
              markerfacecolor="white", markeredgecolor=look.color,
              markeredgewidth=1.2)  # fmt: skip


def error_table(table: pd.DataFrame) -> pd.DataFrame:
    """Median of absolute errors by law and band of ratio: law, compute_ratio, percent."""
    rows = []
    band = np.digitize(floats(table, "compute_ratio"), BANDS)
    sizes = np.abs(floats(table, "percent"))
    for law in dict.fromkeys(table["law"]):
        for at in np.unique(band):
            chosen = (table["law"] == law).to_numpy() & (band == at) & np.isfinite(sizes)
            if chosen.any():
                ratio = np.exp(np.log(floats(table, "compute_ratio")[chosen]).mean())
                rows.append((law, float(ratio), float(np.median(sizes[chosen]))))
    return pd.DataFrame(rows, columns=["law", "compute_ratio", "percent"])


def _draw_errors(axes: Axes, table: pd.DataFrame, looks: list[Look]) -> None:
    """A line a law: its median error in each band of compute ratio."""
    medians = error_table(table)
    medians["percent"] = floats(medians, "percent").clip(LEAST)
    sizes = floats(medians, "percent")
    axes.set_yscale("log")
    axes.set_ylim(float(sizes.min()) / 1.4, float(sizes.max()) * 1.4)
    axes.yaxis.set_major_locator(FixedLocator([t for t in PERCENTS if _within(t, axes)]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_label(value)))
    for look in reversed(looks):
        rows = _of(medians, look.law)
        axes.plot(floats(rows, "compute_ratio"), floats(rows, "percent"), color=look.color,
                  marker=look.mark, markersize=4.2, markeredgewidth=1.0,
                  linewidth=1.8 if look.bars else 0.8, markerfacecolor="white",
                  zorder=5 if look.bars else 3)  # fmt: skip
    heading(axes, "How far off each law was", detail="median of absolute errors, %")


def _within(value: float, axes: Axes) -> bool:
    low, high = axes.get_ylim()
    return bool(low <= value <= high)


def _draw_key(axes: Axes, table: pd.DataFrame, looks: list[Look]) -> None:
    """Each law at the right, in order of its error: mark, name, and how it did over all."""
    ordered = sorted(looks, key=lambda look: np.nanmedian(np.abs(_errors(table, look))))
    for place, look in enumerate(ordered):
        height = 1.24 - 0.094 * place
        axes.plot([1.045], [height], linestyle="none", color=look.color, markersize=4.2,
                  marker=look.mark, markerfacecolor="white", markeredgewidth=1.0,
                  clip_on=False, transform=axes.transAxes)  # fmt: skip
        text = f"{clean(look.law, 20)}  {_words(_of(table, look.law))}"
        axes.text(1.075, height, text, transform=axes.transAxes, va="center", fontsize=7.4,
                  color=look.color)  # fmt: skip
    axes.text(1.03, 1.36, "median error over all", transform=axes.transAxes, va="center",
              fontsize=7.4, color=GREY)  # fmt: skip
    known = {look.law for look in looks}
    silent = [clean(law, 20) for law in dict.fromkeys(table["law"]) if law not in known]
    if silent:
        text = "\n".join(textwrap.wrap(f"always refused: {', '.join(silent)}", 38))
        axes.text(1.03, 1.24 - 0.094 * len(looks), text, transform=axes.transAxes, va="top",
                  fontsize=7, color=GREY)  # fmt: skip


def _errors(table: pd.DataFrame, look: Look) -> np.ndarray[Any, np.dtype[np.float64]]:
    return floats(_of(table, look.law), "percent")


def _words(rows: pd.DataFrame) -> str:
    """Like "1.2 %, 5 of 6 inside": the median error, and the actuals within 90 % intervals."""
    text = f"{plain(float(np.nanmedian(np.abs(floats(rows, 'percent')))), 1)} %"
    low, high = floats(rows, "lo90"), floats(rows, "hi90")
    judged = np.isfinite(low)
    if judged.any():
        text += f", {int(((low <= 0) & (high >= 0))[judged].sum())} of {int(judged.sum())} inside"
    return text
