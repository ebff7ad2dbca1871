"""`make bench-forecast`: the forecaster against single laws on run tables whose largest runs it
has not seen.

Each case fits the runs with 10, 30, 100 or 300 times less compute than a table's largest and asks
for those. Prints, by how far ahead the target lies, the score of each method, its coverage and its
refusals, and how the forecaster compares with each where both answered. A run of all sources and
methods is written to benchmarks/results/forecast.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "WORKBENCH_TABLES"
RESULT = ROOT / "benchmarks" / "results" / "forecast.json"

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.forecast_methods import Predict
    from benchmarks.forecast_tables import Case


def main(arguments: list[str] | None = None) -> int:
    """Ask, score, print, write; 2 where a table or a name is missing."""
    wanted = _parser().parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy; the workers inherit it
    if str(ROOT) not in sys.path:  # where the project is not installed
        sys.path.insert(0, str(ROOT))
    from benchmarks.forecast_methods import METHODS
    from benchmarks.forecast_tables import MissingTable, load, split

    folder = os.environ.get(VARIABLE)
    try:
        tables = load(Path(folder) if folder else None, wanted.source)
        methods = chosen(wanted.methods)
    except MissingTable as error:
        print(f"{error}.\n{_remedy(folder)}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{error}.", file=sys.stderr)
        return 2
    cases = [case for table in tables for case in split(table)]
    if not cases:
        print("no table has enough runs below its largest to ask anything.", file=sys.stderr)
        return 2
    start = time.perf_counter()
    scores = ask(cases, methods, wanted)
    record = record_of(cases, scores, wanted, time.perf_counter() - start)
    show(record, scores, as_json=wanted.json)
    complete = wanted.source is None and wanted.methods is None
    path = wanted.results or (RESULT if complete else None)
    if path is not None:
        save(path, record)
        print(f"written to {path}", file=sys.stderr)
    if len(methods) < len(METHODS) and wanted.methods is None:
        print("simple-scaling-laws is not installed and was left out", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", action="append", help="only this source; may be repeated")
    parser.add_argument("--methods", help="only these, with commas between")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a case may take")
    parser.add_argument("--results", type=Path, help="file to write, of a restricted run too")
    parser.add_argument("--json", action="store_true", help="print the record as JSON instead")
    return parser


def _remedy(folder: str | None) -> str:
    if folder:
        return f"{VARIABLE} is {folder}: it must hold the folder runs with the public run tables."
    return (
        f"{VARIABLE} is not set: set it to the folder that holds runs/*.csv, "
        "or ask for --source tiny or isoflops, which need none."
    )


def chosen(names: str | None) -> dict[str, Predict]:
    """The methods of the given names, or all that can be imported; ValueError for a strange one."""
    from benchmarks.forecast_methods import METHODS, installed

    if names is None:
        absent = set() if installed("simple_scaling_laws") else {"simple_scaling_laws"}
        return {name: f for name, f in METHODS.items() if name not in absent}
    listed = [name.strip() for name in names.split(",")]
    unknown = sorted(set(listed) - set(METHODS))
    if unknown:
        raise ValueError(f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}")
    return {name: METHODS[name] for name in listed}


def ask(cases: list[Case], methods: dict[str, Predict], wanted: argparse.Namespace) -> pd.DataFrame:
    """Every case to every method, with a bar."""
    from benchmarks.forecast_scores import evaluate_all
    from workbench.output import progress

    with progress(as_json=wanted.json) as bars:
        task = bars.add_task("forecasts", total=len(cases) * len(methods))
        return evaluate_all(
            cases, methods, workers=wanted.workers, seconds=wanted.seconds,
            done=lambda: bars.advance(task),
        )  # fmt: skip


def record_of(
    cases: list[Case], scores: pd.DataFrame, wanted: argparse.Namespace, wall: float
) -> dict[str, Any]:
    """The result file: how it was measured, the summaries, and every case."""
    import platform
    from datetime import UTC, datetime

    import numpy
    import pandas
    import scipy

    from benchmarks.forecast_scores import best_rivals, pairs, summary
    from benchmarks.measured import machine

    versions = {"numpy": numpy.__version__, "scipy": scipy.__version__}
    against = pairs(scores)
    return {
        "schema": 1,
        "kind": "forecast",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(platform.machine(), versions=versions | {"pandas": pandas.__version__}),
        "seconds": wall,
        "workers": wanted.workers,
        "seconds_a_case": wanted.seconds,
        "cases": len(cases),
        "bands": summary(scores),
        "pairs": against,
        "best_rivals": best_rivals(against),
        "public": public(scores),
        "scores": scores,
    }


def public(scores: pd.DataFrame) -> pd.DataFrame:
    """A row a band: the forecaster on public tables of at least MINIMUM fitted runs, what share of
    its targets lay inside the 95 % intervals, and its best single rival."""
    import pandas as pd

    from benchmarks.forecast_scores import best_rivals, pairs, summary
    from benchmarks.forecast_tables import MINIMUM

    others = scores[(scores["source"] != "tiny") & (scores["runs"] >= MINIMUM)]
    shown = ["band", "cases", "refused", "wis", "median_error", "width95"]
    found = summary(others)
    if found.empty:
        return pd.DataFrame(columns=[*shown, "other", "ratio"])
    rivals = best_rivals(pairs(others))[["band", "other", "ratio"]]
    own = found.loc[found["method"] == "forecaster", shown]
    mine = others[others["method"] == "forecaster"].assign(inside=lambda x: x.cover95 * x.answered)
    inside = mine.groupby("band")[["inside", "answered"]].sum()
    own["targets"] = own["band"].map(inside["answered"])
    own["inside95"] = own["band"].map(inside["inside"]) / own["targets"]
    return own.merge(rivals, on="band", how="left")


def text_of(record: dict[str, Any]) -> str:
    """The record as JSON, the scores as a table with a line a case, of six digits."""
    from workbench.output import json_text

    scores = record["scores"]
    rest = json_text({name: value for name, value in record.items() if name != "scores"}, indent=1)
    rows = [
        json_text([float(f"{v:.6g}") if isinstance(v, float) else v for v in row], indent=None)
        for row in scores.itertuples(index=False)
    ]
    columns = json_text(list(scores.columns), indent=None)
    lines = ",\n".join(rows)
    tail = f',\n "scores": {{\n"columns": {columns},\n"rows": [\n{lines}\n]}}\n}}\n'
    return rest.removesuffix("\n}") + tail


def save(path: Path, record: dict[str, Any]) -> None:
    """Write the record, whole or not at all."""
    from model.records import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text_of(record))


def show(record: dict[str, Any], scores: pd.DataFrame, *, as_json: bool) -> None:
    """Print the record as tables: a band each, then sources, then refusals."""
    from benchmarks.forecast_tables import BANDS
    from workbench.output import console, table

    if as_json:
        print(text_of(record), end="")
        return
    out = console()
    for band in [b for b in BANDS if b in set(record["bands"]["band"])]:
        title = f"{band}: means over sources, in % of the loss; ratio: forecaster's WIS over its"
        out.print(table(title, BAND_COLUMNS, list(band_rows(record, band))))
        for _, best in record["best_rivals"].query("band == @band").iterrows():
            out.print(
                f"best single method: {best['other']}; the forecaster's WIS is {best['ratio']:.2f} "
                f"of its on the {best['cases']} cases that both answered\n"
            )
    rows = [
        (r.band, r.cases, round(r.refused, 1), percent(r.wis), percent(r.median_error),
         int(r.targets), percent(r.inside95), percent(r.width95, 0), r.other, f"{r.ratio:.2f}")
        for r in record["public"].itertuples()
    ]  # fmt: skip
    title = "public tables, six fitted runs or more: the forecaster and its best rival"
    out.print(table(title, PUBLIC_COLUMNS, rows))
    methods = list(scores["method"].unique())
    columns = ("source", "band", "cases", *methods)
    out.print(table("mean WIS in % by source (answered)", columns, list(source_rows(scores))))
    refused = scores.dropna(subset=["refused"]).groupby(["method", "refused"], sort=False)
    rows = [(method, name, len(those)) for (method, name), those in refused]
    out.print(table("refusals", ("method", "refusal", "cases"), rows))
    out.print(f"{record['cases']} cases in {record['seconds']:.0f} s")


PUBLIC_COLUMNS = (
    "band", "cases", "refused", "WIS", "median |error|", "targets", "in 95", "width 95", "rival",
    "ratio",
)  # fmt: skip
BAND_COLUMNS = (
    "method", "cases", "refused", "WIS", "median |error|", "bias", "in 50", "in 90", "in 95",
    "width 95", "ratio", "on", "s", "worst table", "its WIS",
)  # fmt: skip


def band_rows(record: dict[str, Any], band: str) -> Iterable[tuple[object, ...]]:
    """A row per method of one band, with BAND_COLUMNS."""
    against = record["pairs"].query("band == @band").set_index("other")
    for _, row in record["bands"].query("band == @band").iterrows():
        paired = row["method"] in against.index
        pair = against.loc[row["method"]] if paired else None
        yield (
            row["method"], int(row["cases"]), round(row["refused"], 1),
            *(percent(row[c]) for c in ("wis", "median_error", "bias")),
            *(percent(row[c], 0) for c in ("cover50", "cover90", "cover95", "width95")),
            "" if pair is None else f"{pair['ratio']:.2f}",
            "" if pair is None else int(pair["cases"]),
            f"{row['seconds']:.2f}", row["worst"], percent(row["worst_wis"]),
        )  # fmt: skip


def source_rows(scores: pd.DataFrame) -> Iterable[tuple[object, ...]]:
    """A row per source and band: each method's mean WIS, and how many cases it answered."""
    for (source, band), here in scores.groupby(["source", "band"], sort=False):
        cells = []
        for _, rows in here.groupby("method", sort=False):
            cells.append(f"{percent(rows['wis'].mean())} ({int(rows['wis'].count())})")
        yield (source, band, here.groupby(["table", "cutoff"]).ngroups, *cells)


def percent(share: float, digits: int = 2) -> str:
    """A share as a percentage without its sign; a dash where it is not known."""
    return "–" if share != share else f"{100 * share:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
