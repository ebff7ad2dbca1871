"""The table behind each figure: pure functions from runs and predictions to DataFrames.

Every figure draws one of these and nothing else, and report.json holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.observations import run_names
from fits.predictions.prediction import Estimate
from reports.inputs import finished, floats, number, texts

LEVELS = ("lo50", "hi50", "lo90", "hi90")
Z90 = 1.6448536269514722  # the normal quantile of a two-sided 90 % interval
IN_COMPUTE = {"power", "power_floor"}  # laws that know no sizes
NEAR = 1.5  # runs within this factor of a recipe are compared with the law drawn for it
CURVE_POINTS = 160  # per run: more cannot be seen at the width of a page
PROGRAM = "program"
BLIND = "strip_blind"
STRIPS = ("strip", BLIND)


def forecast_table(
    runs: pd.DataFrame,
    estimates: Mapping[str, Estimate],
    column: str,
    *,
    actual: Mapping[str, Any] | None,
    target_flops: object,
    targets: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Marks of one loss figure: mark, prediction, used_by, near, flops, value, lo50 … hi90.

    mark: used, unused, left_out, twin (runs), law (rows of the drawn band), interval (the
    prediction at its target), actual. Runs that did not finish are left out. near: predictions
    whose drawn law is of the run's recipe. `targets` by prediction: flops where they differ, sizes.
    """
    own = targets or {}
    done = pd.DataFrame(runs[finished(runs)])
    rows = _run_marks(done, estimates, column, own)
    for name, estimate in estimates.items():
        if estimate.refused:
            continue
        rows += law_rows(name, estimate)
        flops = number(own.get(name, {}).get("flops")) or number(target_flops)
        where = {"mark": "interval", "prediction": name, "flops": flops}
        bounds = {level: number(getattr(estimate, level)) for level in LEVELS}
        rows.append(where | {"value": number(estimate.median)} | bounds)
    if actual is not None and number(actual.get(column)) is not None:
        flops = number(actual.get("flops")) or number(target_flops)
        rows.append({"mark": "actual", "flops": flops, "value": number(actual[column])})
    return _tidy(rows)


def law_rows(name: str, estimate: Estimate) -> list[dict[str, Any]]:
    """The band of one estimate as rows with mark law."""
    return [
        {"mark": "law", "prediction": name, "flops": number(row.get("flops"))}
        | {"value": number(row.get("median"))}
        | {level: number(row.get(level)) for level in LEVELS}
        for row in estimate.band
    ]


def _tidy(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns = ["mark", "prediction", "used_by", "near", "flops", "value", *LEVELS]
    table = pd.DataFrame(list(rows), columns=columns)
    table["prediction"] = texts(table, "prediction")
    for name in columns[4:]:
        table[name] = floats(table, name)
    keep = (table["flops"] > 0) & np.isfinite(table["value"])
    return pd.DataFrame(table[keep]).reset_index(drop=True)


def _run_marks(
    runs: pd.DataFrame,
    estimates: Mapping[str, Estimate],
    column: str,
    targets: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    given = [item for item in estimates.values() if not item.refused]
    used = {run for item in given for run in item.runs_used}
    left = {str(row.get("run_id")) for item in estimates.values() for row in item.left_out}
    ids, roles = list(run_names(runs)), texts(runs, "role")
    known = bool(used) or "run_id" in runs.columns  # a bare table names nothing: all its runs count
    drawn_for = {name: _near(runs, item, targets.get(name, {})) for name, item in estimates.items()}
    rows = []
    for place, (run, role, flops, value) in enumerate(
        zip(ids, roles, floats(runs, "flops"), floats(runs, column), strict=True)
    ):
        if role == "target":
            continue
        if role == "twin":
            mark = "twin"
        elif run in used or (given and not known and run not in left):
            mark = "used"
        else:
            mark = "left_out" if run in left else "unused"
        by = tuple(
            name
            for name, item in estimates.items()
            if mark == "used" and not item.refused and (not known or run in item.runs_used)
        )
        near = tuple(name for name, alike in drawn_for.items() if alike[place])
        rows.append({"mark": mark, "used_by": by, "near": near, "flops": flops, "value": value})
    return rows


def in_sizes(estimate: Estimate) -> bool:
    """Whether the drawn law, the one of most weight, is in sizes and not in compute."""
    return sum(share for law, share in estimate.weights.items() if law not in IN_COMPUTE) > 0.5


def _near(runs: pd.DataFrame, estimate: Estimate, target: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Runs that the drawn law speaks of: all, or of one in sizes those of the target's recipe."""
    near = np.ones(len(runs), dtype=bool)
    if not in_sizes(estimate):
        return near
    for over, under in (("tokens", "n_active"), ("n_total", "n_active")):
        known = (number(target.get(over)), number(target.get(under)))
        if known[0] and known[1]:
            with np.errstate(divide="ignore", invalid="ignore"):
                apart = np.log(floats(runs, over) / floats(runs, under) / (known[0] / known[1]))
            near &= np.abs(apart) <= np.log(NEAR) + 1e-9
    return near


def residual_table(forecast: pd.DataFrame) -> pd.DataFrame:
    """Run over law in percent: prediction, mark, flops, percent, where the law was drawn.

    A law in sizes is drawn for one recipe, so only runs near that are compared with it.
    """
    rows: list[pd.DataFrame] = []
    for name in _predictions(forecast):
        law = forecast[(forecast["mark"] == "law") & (forecast["prediction"] == name)]
        law = law.sort_values("flops")
        near = [mark == "actual" or name in by for mark, by in _runs_near(forecast)]
        seen = forecast[np.array(near, dtype=bool)]
        if len(law) < 2 or seen.empty:
            continue
        x, y = np.log(floats(law, "flops")), floats(law, "value")
        at = np.log(floats(seen, "flops"))
        expected = np.interp(at, x, y)
        inside = (at >= x[0] - 0.01) & (at <= x[-1] + 0.01)
        part = pd.DataFrame(
            {
                "prediction": name,
                "mark": [
                    "unused" if mark == "used" and name not in by else mark
                    for mark, by in zip(seen["mark"], seen["used_by"], strict=True)
                ],
                "flops": floats(seen, "flops"),
                "percent": 100 * (floats(seen, "value") / expected - 1),
            }
        )
        rows.append(pd.DataFrame(part[inside]))
    if not rows:
        return pd.DataFrame(columns=["prediction", "mark", "flops", "percent"])
    return pd.concat(rows, ignore_index=True)


def _runs_near(forecast: pd.DataFrame) -> list[tuple[str, tuple[str, ...]]]:
    """Mark of each row, and the predictions whose drawn law is of its recipe."""
    return [
        (mark, near if mark in ("used", "unused") else ())
        for mark, near in zip(forecast["mark"], forecast["near"], strict=True)
    ]


def _predictions(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(name for name in table["prediction"] if name))


def wilson(
    passed: NDArray[np.float64], trials: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """90 % interval of a binomial rate.

    Source: Wilson 1927, Journal of the American Statistical Association 22:209.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, spread = passed / trials, Z90**2 / trials
        middle = (rate + spread / 2) / (1 + spread)
        half = Z90 / (1 + spread) * np.sqrt(rate * (1 - rate) / trials + spread / (4 * trials))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def pass_table(samples: pd.DataFrame | None, *, strips: bool = False) -> pd.DataFrame:
    """Observed rates: kind, bucket, role, flops, problems, n_samples, n_passed, rate, lo, hi.

    Runs of one rung, or without rungs of equal compute, are pooled. The interval is binomial
    with a problem as the unit, as samples of one problem are alike. Bucket "" is the headline:
    all programs, or all problems where none is a program. The blind baseline is left out; with
    `strips`, instead, strips and the blind baseline are pooled over their buckets.
    """
    keys = ["kind", "bucket", "role", "flops"]
    columns = [*keys, "problems", "n_samples", "n_passed", "rate", "lo", "hi"]
    needed = {"flops", "n_samples", "n_passed"}
    if samples is None or samples.empty or not needed <= set(samples.columns):
        return pd.DataFrame(columns=columns)
    chosen = _graded(samples)
    if strips:
        both = chosen[chosen["kind"].isin(list(STRIPS))].assign(bucket="")
    else:
        chosen = chosen[chosen["kind"] != BLIND]
        programs = chosen["kind"] == PROGRAM
        every = chosen[programs] if programs.any() else chosen
        both = pd.concat([chosen, every.assign(kind="", bucket="")], ignore_index=True)
    both = both.assign(problems=1)
    sums = both.groupby(keys, as_index=False)[["problems", "n_samples", "n_passed"]].sum()
    sums["rate"] = sums["n_passed"] / sums["n_samples"]
    trials = floats(sums, "problems")
    sums["lo"], sums["hi"] = wilson(floats(sums, "rate") * trials, trials)
    return pd.DataFrame(sums.sort_values(keys))[columns].reset_index(drop=True)


def _graded(samples: pd.DataFrame) -> pd.DataFrame:
    """Counted rows of ladder and target, with one compute for all runs of a rung."""
    table = pd.DataFrame(
        {
            "kind": [kind or PROGRAM for kind in texts(samples, "kind")],
            "bucket": texts(samples, "bucket"),
            "role": texts(samples, "role"),
            "rung": floats(samples, "rung"),
            "flops": floats(samples, "flops"),
            "n_samples": floats(samples, "n_samples"),
            "n_passed": floats(samples, "n_passed"),
        }
    )
    keep = (table["n_samples"] > 0) & (table["flops"] > 0) & (table["role"] != "twin")
    table = pd.DataFrame(table[keep])
    if np.isfinite(table["rung"]).all():  # runs of one rung differ by a percent or so
        table["flops"] = table.groupby(["role", "rung"])["flops"].transform("median")
    return table


def rate_law_table(estimates: Mapping[str, Estimate]) -> pd.DataFrame:
    """The drawn bands of pass-rate estimates, keyed by bucket ("" for all): law rows."""
    rows: list[dict[str, Any]] = []
    for bucket, estimate in estimates.items():
        if not estimate.refused:
            rows += law_rows(bucket, estimate)
    return _tidy(rows).rename(columns={"prediction": "bucket"}).drop(columns="used_by")


def curve_table(curves: pd.DataFrame | None) -> pd.DataFrame:
    """Loss curves thinned for drawing: run_id, role, rung, flops, loss, in order of compute.

    A run's held-out losses where it has at least three, else its training losses, smoothed.
    """
    columns = ["run_id", "role", "rung", "flops", "loss"]
    if curves is None or curves.empty or not {"run_id", "flops", "loss"} <= set(curves.columns):
        return pd.DataFrame(columns=columns)
    table = pd.DataFrame(
        {
            "run_id": texts(curves, "run_id"),
            "role": texts(curves, "role"),
            "kind": texts(curves, "kind"),
            "rung": floats(curves, "rung"),
            "flops": floats(curves, "flops"),
            "loss": floats(curves, "loss"),
        }
    )
    table = table[(table["flops"] > 0) & np.isfinite(table["loss"])]
    pieces = [_one_curve(group) for _, group in table.groupby("run_id", sort=True)]
    if not pieces:
        return pd.DataFrame(columns=columns)
    return pd.concat(pieces, ignore_index=True)[columns]


def _one_curve(group: pd.DataFrame) -> pd.DataFrame:
    held = group[group["kind"] == "heldout"].sort_values("flops")
    if len(held) >= 3:
        return held
    train = group[group["kind"] != "heldout"].sort_values("flops")
    window = max(1, len(train) // 40)
    train = train.assign(loss=train["loss"].rolling(window, min_periods=1).median())
    if len(train) > CURVE_POINTS:
        logs = np.log(floats(train, "flops"))
        even = np.searchsorted(logs, np.linspace(logs[0], logs[-1], CURVE_POINTS))
        train = train.iloc[np.unique(np.clip(even, 0, len(train) - 1))]
    return train
