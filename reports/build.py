"""Writes the report: figures as vectors, the page through typst, and report.json beside it.

The same inputs give the same bytes. Both files are replaced whole or not at all.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from reports.content import Content, compute_content, jsonable, record
from reports.figures.backtest import backtest_figure, backtest_table
from reports.figures.curves import curves_figure
from reports.figures.forecast import headline_figure, parts_figure, residual_figure
from reports.figures.rates import bucket_order, rates_figure, strips_figure
from reports.figures.style import drawing, svg
from reports.front import front_page
from reports.inputs import ReportFiles, ReportInputs
from reports.numbers import clean, interval, plain, share, soften
from reports.pages import sections
from reports.verdict import Outcome

__all__ = ["ReportFiles", "ReportInputs", "write_figure_png", "write_report"]

Form = Literal["pdf", "png"]
TEMPLATE = "page.typ"
PICTURE = (
    '#set page(width: auto, height: auto, margin: 9pt)\n#image("headline.svg")\n'  # for the README
)


def write_report(inputs: ReportInputs, folder: Path) -> ReportFiles:
    """Write report.pdf and report.json into the folder, which is made if need be.

    Where typst is not installed the PDF is left out, and one of an earlier time is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = compute_content(inputs)
    pdf, numbers = folder / "report.pdf", folder / "report.json"
    text = json.dumps(record(content), indent=1, ensure_ascii=False, allow_nan=False)
    typeset = _typeset(page_sources(content), "pdf") if typst_installed() else None
    _write_whole(numbers, (text + "\n").encode())
    if typeset is None:
        pdf.unlink(missing_ok=True)
        return ReportFiles(None, numbers)
    _write_whole(pdf, typeset[0])
    return ReportFiles(pdf, numbers)


def typst_installed() -> bool:
    """True where the package that sets pages is there; the numbers need it not."""
    return importlib.util.find_spec("typst") is not None


def write_page_images(inputs: ReportInputs, folder: Path, *, ppi: float = 110) -> list[Path]:
    """Write each page as page-1.png, page-2.png, … for looking at."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = _typeset(page_sources(compute_content(inputs)), "png", ppi)
    paths = [folder / f"page-{number}.png" for number in range(1, len(pages) + 1)]
    for path, page in zip(paths, pages, strict=True):
        _write_whole(path, page)
    return paths


def write_figure_png(inputs: ReportInputs, path: Path, *, ppi: float = 216) -> Path:
    """Write the key figure as one picture; ValueError where there is no point to draw."""
    drawn = draw_figures(compute_content(inputs))
    if "headline" not in drawn:
        raise ValueError("nothing to draw: no run has a finite loss and flops above 0")
    sources = {"main.typ": PICTURE, "headline.svg": drawn["headline"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path, _typeset(sources, "png", ppi)[0])
    return path


def draw_figures(content: Content) -> dict[str, str]:
    """SVG by name, only those that have something to show."""
    found: dict[str, Figure] = {}
    tables, parts = content.tables, content.part_forecasts
    with drawing():
        if not content.forecast.empty:
            found["headline"] = headline_figure(content.forecast, content.labels)
        if parts:
            details = {name: _detail(item) for name, item in content.headline.parts.items()}
            found["parts"] = parts_figure(parts, details)
        if not tables["residuals"].empty:
            found["residuals"] = residual_figure(tables["residuals"], content.labels)
        observed, law = tables["pass_rates"], tables["pass_rate_laws"]
        if not observed.empty:
            order = bucket_order(observed, law, list(content.headline.buckets))
            every = {"": content.headline.pass_rate, **content.headline.buckets}
            notes = {name: _detail(item, rate=True) for name, item in every.items()}
            found["rates"] = rates_figure(observed, law, order, notes)
        if not tables["strips"].empty:
            found["strips"] = strips_figure(tables["strips"])
        if not tables["curves"].empty:
            found["curves"] = curves_figure(tables["curves"])
        past = backtest_table(content.past)
        if bool(past["percent"].notna().any()):
            found["backtest"] = backtest_figure(past)
        return {name: svg(figure) for name, figure in found.items()}


def _detail(item: Outcome, *, rate: bool = False) -> str:
    """A panel's second line: what was predicted and what came, or the refusal."""
    if item.refused:
        return f"refused: {clean(item.refused, 24 if rate else 40)}"
    if rate:
        text = f"predicted {_brief(item.predicted)}"
        return text if item.actual is None else f"{text}, actual {_brief(item.actual)}"
    text = f"predicted {plain(item.predicted)} ({interval(item.lo90, item.hi90)})"
    return text if item.actual is None else f"{text}, actual {plain(item.actual)}"


def _brief(rate: float | None) -> str:
    """A rate with no more digits than a small panel has room for."""
    return share(rate, 0 if rate is not None and rate >= 0.0995 else 1)


def page_sources(content: Content) -> dict[str, str]:
    """The files that typst sets: the template, its data, and the figures."""
    drawn = draw_figures(content)
    page: dict[str, Any] = {
        "front": front_page(content) | {"figure": "headline" if "headline" in drawn else ""},
        "sections": sections(content, set(drawn)),
    }
    sources = {f"{name}.svg": text for name, text in drawn.items()}
    sources["page.json"] = json.dumps(soften(jsonable(page)), ensure_ascii=False, allow_nan=False)
    sources["main.typ"] = resources.files("reports").joinpath(TEMPLATE).read_text("utf-8")
    return sources


def _typeset(sources: dict[str, str], form: Form, ppi: float | None = None) -> list[bytes]:
    """The compiled document: one item for a PDF, one a page for PNG."""
    import typst

    with tempfile.TemporaryDirectory(prefix="report-") as name:
        folder = Path(name)
        for file, text in sources.items():
            (folder / file).write_text(text, encoding="utf-8")
        # its signature promises bytes, but a PNG of several pages comes as a list
        found: object = typst.compile(
            folder / "main.typ", root=folder, format=form, ppi=ppi, ignore_system_fonts=True
        )
    if isinstance(found, bytes):
        return [found]
    assert isinstance(found, list)
    return found


def _write_whole(path: Path, data: bytes) -> None:
    """Replace the file in one step, so that nobody reads half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
