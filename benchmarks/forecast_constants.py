"""`make bench-constants`: each constant of the forecaster moved, and chosen without one source.

Runs the forecaster as it stands and once for every entry of CHOICES, which moves one constant.
Then each source is left out in turn: of all choices the one with the best mean score on the OTHER
sources is taken (relative to the shipped one, by source and band), and judged on the source left
out. If the constants were fitted to these tables, that judgement would be worse than the shipped
one's. Prints both, and writes benchmarks/results/forecast_constants.json.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "forecast_constants.json"
SHIPPED = "as shipped"
ROOM = "fits.uncertainty"
SIZES, SMOOTH, DRIFT, MIXTURE, MEMBERS = (
    f"{ROOM}.{name}" for name in ("sizes", "smooth", "drift", "mixture", "members")
)
CHOICES: dict[str, tuple[str, str, float]] = {  # module, constant, factor
    "drift of sizes halved": (SIZES, "DRIFTS", 0.5),
    "drift of sizes doubled": (SIZES, "DRIFTS", 2.0),
    "recipes a third as far": (SIZES, "RECIPES", 1 / 3),
    "recipes three times as far": (SIZES, "RECIPES", 3.0),
    "steps alike backwards": (SIZES, "BACKWARDS", 0.5),
    "steps quadruple backwards": (SIZES, "BACKWARDS", 2.0),
    "under-tuned at half": (SIZES, "FAR", 0.5),
    "under-tuned at twice": (SIZES, "FAR", 2.0),
    "half as much is noise": (SMOOTH, "NOISY", 0.5),
    "half as much again is noise": (SMOOTH, "NOISY", 1.5),
    "scatters halved": (SIZES, "SCATTERS", 0.5),
    "scatters doubled": (SIZES, "SCATTERS", 2.0),
    "exponents lower": (SIZES, "USUAL_EXPONENT", 0.85),
    "exponents higher": (SIZES, "USUAL_EXPONENT", 1.15),
    "exponents tighter": (SIZES, "EXPONENT_SPREAD", 0.7),
    "exponents looser": (SIZES, "EXPONENT_SPREAD", 1.67),
    "nothing more ahead": (SIZES, "AHEAD", 0.0),
    "twice as much ahead": (SIZES, "AHEAD", 2.0),
    "no scatter unseen": (MIXTURE, "UNSEEN", 0.0),
    "twice the scatter unseen": (MIXTURE, "UNSEEN", 2.0),
    "drift of compute halved": (DRIFT, "DRIFTS", 0.5),
    "floors less likely": (DRIFT, "NO_FLOOR", 1.5),
    "floors more likely": (DRIFT, "NO_FLOOR", 0.5),
}

if TYPE_CHECKING:
    from fits.observations import Matrix


def moved(choice: str, train: pd.DataFrame, targets: pd.DataFrame) -> Matrix:
    """What the forecaster says with one constant moved."""
    from benchmarks.forecast_methods import forecaster

    place, name, factor = CHOICES.get(choice, (SIZES, "AHEAD", 1.0))
    constant = getattr(importlib.import_module(place), name)
    with (
        mock.patch(f"{place}.{name}", constant * factor),
        mock.patch(f"{MEMBERS}.leave_future_out", lambda *_, **__: pd.DataFrame()),
    ):  # the table of backtests, which these laws do not use, takes most of the time
        return forecaster(train, targets)


def relative(scores: pd.DataFrame) -> pd.DataFrame:
    """WIS of each choice over the shipped one's, by (source, band); a column a choice."""
    means = scores.pivot_table(index=["source", "band"], columns="method", values="wis")
    return means.div(means[SHIPPED], axis=0)


def chosen_without(scores: pd.DataFrame) -> dict[str, str]:
    """By source: the choice that does best on all others, sources counting alike."""
    by_source = relative(scores).groupby(level="source").mean()
    return {
        str(source): str(by_source.drop(index=source).mean().idxmin()) for source in by_source.index
    }


def judged(scores: pd.DataFrame, choice: Mapping[str, str]) -> pd.DataFrame:
    """Scores of each source under the choice made without it."""
    wanted = scores["source"].map(dict(choice))
    return scores[scores["method"] == wanted].assign(method="left out")


def main(arguments: list[str] | None = None) -> int:
    """Ask, choose, judge, print, write; 2 where a table is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    wanted = parser.parse_args(arguments)
    if str(ROOT) not in sys.path:  # where the project is not installed
        sys.path.insert(0, str(ROOT))
    from benchmarks.forecast_scores import evaluate_all, summary
    from benchmarks.forecast_tables import MissingTable, load, split
    from model.records import write_atomic
    from workbench.output import console, json_text, progress, table

    folder = os.environ.get("WORKBENCH_TABLES")
    try:
        cases = [case for t in load(Path(folder) if folder else None) for case in split(t)]
    except MissingTable as error:
        print(f"{error}: set WORKBENCH_TABLES to the folder of the run tables.", file=sys.stderr)
        return 2
    methods = {name: partial(moved, name) for name in (SHIPPED, *CHOICES)}
    start = time.perf_counter()
    with progress(as_json=False) as bars:
        task = bars.add_task("forecasts", total=len(cases) * len(methods))
        scores = evaluate_all(
            cases, methods, workers=wanted.workers, done=lambda: bars.advance(task)
        )
    choice, ratios = chosen_without(scores), relative(scores).groupby(level="band").mean().T
    both = pd.concat([scores[scores["method"] == SHIPPED], judged(scores, choice)])
    public = summary(both[both["source"] != "tiny"])
    bands = pd.concat([summary(both), public.assign(band=public["band"] + " public")])
    out = console()
    rows = [(name, *(f"{v:.3f}" for v in row)) for name, *row in ratios.itertuples()]
    out.print(table("WIS over the shipped constants'", ("choice", *ratios.columns), rows))
    out.print(table("chosen without the source", ("source", "choice"), list(choice.items())))
    shown = ["band", "method", "cases", "wis", "median_error", "cover95", "width95"]
    out.print(table("judged", shown, bands[shown].round(4).to_numpy().tolist()))
    record = {
        "schema": 1, "kind": "forecast_constants", "seconds": time.perf_counter() - start,
        "cases": len(cases), "relative": relative(scores).reset_index(), "choice": choice,
        "bands": bands,
    }  # fmt: skip
    write_atomic(RESULT, json_text(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
