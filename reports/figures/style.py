"""How every figure looks: palette, axes, direct labels, and vectors out.

Figures are SVG whose text stays text, so that the page sets it in its own type. The palette is
told apart by people who do not see red and green, and each series differs by mark or dash too.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.numbers import SUPERSCRIPTS, clean

INK = "#20242a"
GREY = "#7d848d"
FAINT = "#d9dce0"
ACTUAL = "#c4511b"
PREDICTIONS = ("#1668a7", "#12806a", "#77529a")  # headline, second, third and later
DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)))
Form = Literal["png", "svg", "pdf"]
UNDATED: dict[Form, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
DPI = 216
WIDTH = 170.0  # mm: the text width of the page
TYPE = "Libertinus Serif"  # the page's; measured here with metrics close to it
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": ["STIXGeneral", "DejaVu Serif"],
    "font.size": 8.5,
    "text.parse_math": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.2,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Sets the house style while figures are made; letters that a font lacks are no fault."""
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def sheet(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of so many millimetres."""
    whole = [round(side / 25.4 * 72) / 72 for side in (width, height)]  # whole points print sharp
    figure = Figure(figsize=(whole[0], whole[1]))
    FigureCanvasSVG(figure)
    return figure


def panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes whose frame stands at so many millimetres from the sheet's lower left corner."""
    wide, high = figure.get_size_inches() * 25.4
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def svg(figure: Figure) -> str:
    """The figure as SVG, the same bytes for the same figure."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"'STIXGeneral'(?:, '[^']*')*", f"'{TYPE}'", stream.getvalue())


def picture(figure: Figure, form: Form) -> bytes:
    """The figure as the content of a file, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format=form, dpi=DPI, metadata=UNDATED[form])
    return stream.getvalue()


def color_of(index: int) -> str:
    """The colour of the prediction with this index."""
    return PREDICTIONS[min(index, len(PREDICTIONS) - 1)]


def power_label(value: float) -> str:
    """Like 10¹² or 3×10¹²."""
    mantissa, exponent = (int(part) for part in f"{value:.0e}".split("e"))
    raised = "10" + str(exponent).translate(SUPERSCRIPTS)
    return raised if mantissa == 1 else f"{mantissa}×{raised}"


def plain_label(value: float) -> str:
    """The shortest plain number."""
    return f"{value:.10g}".replace("-", "−")


def compute_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Decades between the limits, thinned; 1, 2, 5 where there are under two decades."""
    first, last = int(np.ceil(np.log10(low) - 1e-9)), int(np.floor(np.log10(high) + 1e-9))
    decades = [10.0**exponent for exponent in range(first, last + 1)]
    if len(decades) >= 2:
        return decades[:: int(np.ceil(len(decades) / most))]
    steps = [m * 10.0**e for e in range(first - 1, last + 1) for m in (1, 2, 5)]
    return [step for step in steps if low <= step <= high] or [float(np.sqrt(low * high))]


def loss_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Plain round numbers, about evenly apart on a log axis."""
    if high / low > 12:
        steps = [m * 10.0**e for e in range(-12, 13) for m in (1, 2, 5)]
        inside = [step for step in steps if low <= step <= high]
        return inside[:: int(np.ceil(len(inside) / (most + 2)))]
    coarse = int(np.floor(np.log10(high - low)))
    for step in (m * 10.0**e for e in range(coarse - 2, coarse + 2) for m in (1, 2, 2.5, 5)):
        ticks = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step
        if len(ticks) <= most:
            return [float(f"{tick:.8g}") for tick in ticks]
    return [low, high]


def compute_axis(axes: Axes, low: float, high: float, *, label: bool = True, most: int = 7) -> None:
    """A log axis of compute in FLOPs."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(compute_ticks(low, high, most)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_label(value)))
    if label:
        axes.set_xlabel("training compute, FLOPs", labelpad=2)


def loss_axis(axes: Axes, low: float, high: float, *, most: int = 6) -> None:
    """A log axis of loss with plain numbers and faint lines across."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(loss_ticks(low, high, most)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_label(value)))
    rules(axes)


def rules(axes: Axes) -> None:
    """Faint horizontal lines in place of a vertical axis."""
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def heading(
    axes: Axes, text: str, *, detail: str = "", color: str = GREY, longest: int = 48
) -> None:
    """A panel's title at its upper left, and a grey line of detail beneath it."""
    lift = 15.5 if detail else 5.0
    place: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "baseline",
    }
    axes.annotate(
        clean(text, longest),
        (0, 1),
        (0, lift),
        fontweight="bold",
        fontsize=9,
        **place,
    )
    if detail:
        axes.annotate(clean(detail, 90), (0, 1), (0, 6), color=color, fontsize=8, **place)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved as little as needed to stand gap apart between low and high, in order."""
    order = np.argsort(positions, kind="stable")
    placed = np.clip(np.array(positions, dtype=float)[order], low, high)
    for _ in range(200):
        close = np.diff(placed) < gap - 1e-9
        if not close.any():
            break
        for index in np.flatnonzero(close):
            push = (gap - (placed[index + 1] - placed[index])) / 2
            placed[index] -= push
            placed[index + 1] += push
        placed = np.clip(placed, low, high)
    found = np.empty_like(placed)
    found[order] = placed
    return [float(value) for value in found]
