"""The tables on the page, before they are words: one pure function each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fits.predictions.prediction import Estimate
from reports.inputs import ReportInputs, floats, number, part_column, texts

SETUP = (
    "name", "role", "seed", "flops", "n_active", "n_total", "tokens", "tokens_per_param",
    "layers", "width", "steps", "batch", "learning_rate", "seconds_train",
)  # fmt: skip
RESULT = ("name", "status", "flops", "loss", "loss_se")
HEALTH = ("bits_per_byte", "router_entropy", "dead_experts", "unembedding_share", "mfu")


def ordered_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs by compute, the target last, each with a name."""
    table = runs.copy()
    names, ids = texts(runs, "name"), texts(runs, "run_id")
    table["name"] = [
        name or run or f"row {place + 1}"
        for place, (name, run) in enumerate(zip(names, ids, strict=True))
    ]
    table["_last"] = [role == "target" for role in texts(runs, "role")]
    table["_flops"] = floats(runs, "flops")
    table = table.sort_values(["_last", "_flops", "name"], kind="stable")
    return table.drop(columns=["_last", "_flops"]).reset_index(drop=True)


def _filled(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Those columns that are there and hold anything."""
    return [
        name
        for name in dict.fromkeys(columns)
        if name in table.columns and any(text not in ("", "nan") for text in texts(table, name))
    ]


def setup_table(runs: pd.DataFrame) -> pd.DataFrame:
    """What was trained: shape, data and schedule of each run."""
    table = ordered_runs(runs)
    return table[_filled(table, SETUP)]


def result_table(runs: pd.DataFrame, parts: Sequence[str]) -> pd.DataFrame:
    """What came out: losses by part and the state of the run."""
    table = ordered_runs(runs)
    columns = [*RESULT, *(part_column(part) for part in parts), *HEALTH]
    return table[_filled(table, columns)]


def reference_table(runs: pd.DataFrame, parts: Sequence[str]) -> pd.DataFrame:
    """The largest run's parts beside other measures: loss, bits per byte, counting models."""
    if runs.empty:
        return pd.DataFrame(columns=["part"])
    largest = ordered_runs(runs).iloc[[-1]]
    rows = []
    for part in parts:
        row: dict[str, Any] = {"part": part, "loss": floats(largest, part_column(part))[0]}
        for name in ("bits_per_byte", "bigram", "trigram"):
            row[name] = float(floats(largest, f"{name}_{part}")[0])
        rows.append(row)
    table = pd.DataFrame(rows, columns=["part", "loss", "bits_per_byte", "bigram", "trigram"])
    found = _filled(table, ["loss", "bits_per_byte", "bigram", "trigram"])
    return table[["part", *found]] if len(found) > 1 else pd.DataFrame(columns=["part"])


def left_out_table(inputs: ReportInputs) -> pd.DataFrame:
    """Runs that a prediction left out, with the reason: name, predictions, reason."""
    ids, names = texts(inputs.runs, "run_id"), texts(inputs.runs, "name")
    known = {run: name for run, name in zip(ids, names, strict=True) if name}
    found: dict[tuple[str, str], list[str]] = {}
    for prediction in inputs.predictions:
        estimates = [prediction.loss, *prediction.parts.values(), prediction.pass_rate]
        for estimate in estimates:
            for row in estimate.left_out:
                run = str(row.get("run_id", ""))
                key = (known.get(run, run), str(row.get("reason", "")))
                names_here = found.setdefault(key, [])
                if prediction.name not in names_here:
                    names_here.append(prediction.name)
    rows = [(run, ", ".join(where), reason) for (run, reason), where in found.items()]
    return pd.DataFrame(rows, columns=["name", "prediction", "reason"])


def convention_table(inputs: ReportInputs) -> pd.DataFrame:
    """The loss predicted under each way of counting: prediction, convention, median, change."""
    rows = []
    for prediction in inputs.predictions:
        base = number(prediction.loss.median)
        for name, value in prediction.loss.conventions.items():
            median = number(value)
            change = None
            if median is not None and base:
                change = 100 * (median / base - 1)
            rows.append((prediction.name, name, median, change))
    return pd.DataFrame(rows, columns=["prediction", "convention", "predicted", "change_percent"])


def law_table(inputs: ReportInputs) -> pd.DataFrame:
    """Laws behind each quantity: prediction, quantity, law, weight, constants."""
    rows = []
    for prediction in inputs.predictions:
        quantities: dict[str, Estimate] = {"loss": prediction.loss, **prediction.parts}
        quantities["pass rate"] = prediction.pass_rate
        for quantity, estimate in quantities.items():
            # a headline made of parts has constants by part: those stand in the parts' rows
            for law in estimate.weights or estimate.constants:
                constants = estimate.constants.get(law, {})
                rows.append((prediction.name, quantity, law, estimate.weights.get(law), constants))
    return pd.DataFrame(rows, columns=["prediction", "quantity", "law", "weight", "constants"])


def source_table(inputs: ReportInputs) -> pd.DataFrame:
    """Sources of the data: documents, tokens, overlap, and epochs at the largest run."""
    sources = (inputs.manifest or {}).get("sources") or {}
    columns = ["kind", "origin", "version", "licence", "documents_train", "documents_heldout"]
    columns += ["tokens_train", "windows_heldout", "overlap", "bytes_per_token"]
    rows = []
    for name, source in sources.items():
        epochs = floats(inputs.runs, f"epochs_{name}")
        seen = epochs[np.isfinite(epochs)]
        facts: dict[str, Any] = {column: source.get(column) for column in columns}
        rows.append({"source": name, **facts, "epochs": float(seen.max()) if seen.size else None})
    table = pd.DataFrame(rows, columns=["source", *columns, "epochs"])
    return table[["source", *_filled(table, [*columns, "epochs"])]]


def wall_table(wall: Mapping[str, float]) -> pd.DataFrame:
    """Seconds and share by stage; the total is its own row."""
    stages = {name: number(value) for name, value in wall.items() if name != "total"}
    total = wall_seconds(wall)
    rows: list[tuple[str, float | None, float | None]] = []
    for name, value in stages.items():
        rows.append((name, value, value / total if value is not None and total else None))
    if rows:
        rows.append(("total", total, None))
    return pd.DataFrame(rows, columns=["stage", "seconds", "share"])


def wall_seconds(wall: Mapping[str, float]) -> float | None:
    """The total, as given or else the sum of the stages; None where nothing was timed."""
    if number(wall.get("total")) is not None:
        return number(wall["total"])
    known = [found for value in wall.values() if (found := number(value)) is not None]
    return sum(known) if known else None


def spread_facts(runs: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """What the runs say of devices, versions and the like: the distinct values of each column."""
    facts = {}
    for name in _filled(runs, columns):
        values = [text for text in dict.fromkeys(texts(runs, name)) if text]
        facts[name] = ", ".join(values[:4]) + (" and others" if len(values) > 4 else "")
    return facts


def cost_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Compute and time by role: role, runs, flops, seconds, tokens."""
    roles = [role or "run" for role in texts(runs, "role")]
    seconds = np.zeros(len(runs))
    timed = np.zeros(len(runs), dtype=bool)
    for name in ("seconds_start", "seconds_train", "seconds_evaluate", "seconds_save"):
        values = floats(runs, name)
        timed |= np.isfinite(values)
        seconds += np.nan_to_num(values)
    table = pd.DataFrame(
        {
            "role": roles,
            "runs": 1,
            "flops": floats(runs, "flops"),
            "tokens": floats(runs, "tokens"),
            "seconds": np.where(timed, seconds, np.nan),
        }
    )
    summed = table.groupby("role", sort=False, as_index=False).sum(min_count=1)
    return summed[_filled(summed, list(summed.columns))]
