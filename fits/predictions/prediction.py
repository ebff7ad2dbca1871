"""Prediction: all that is claimed of one target from runs far below it, ready to be sealed.

`predict_target` never raises for a question the table cannot answer: the refusal is part of the
prediction. It raises ValueError for a table or target that is not what the columns promise.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from fits.forecast import CURVE_POINTS, DRAWS
from fits.observations import FitError, Vector, run_names
from fits.passes.counts import SAMPLE_COLUMNS, headline, registered
from fits.passes.passrate import PassForecast, forecast_passes
from fits.predictions.estimate import (
    Estimate,
    band_rows,
    estimate_from_json,
    inside,
    plain,
    refusal,
)
from fits.predictions.headline import conventions, predict_loss
from fits.screens import Epochs, screen
from fits.uncertainty.quantiles import comonotone, quantile_table

__all__ = ["Estimate", "Prediction", "predict_target"]
SCHEMA = 1
LADDER_ROLES = ("ladder", "grid", "")  # a table that names no role is all ladder
COUNT_SLACK = 0.02  # run and target each meet their budgets within 1 %
JUST_ABOVE = 0.05  # runs above the limit by no more are listed as left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One target predicted from runs far below it."""

    schema: int = SCHEMA
    name: str  # such as x30
    ratio_asked: float  # runs of at most target / ratio_asked were allowed
    compute_ratio: float | None  # target over the largest run used; None if nothing was fitted
    target: dict[str, Any]  # flops, n_active, tokens, run_id, …
    loss: Estimate  # the headline
    parts: dict[str, Estimate]
    pass_rate: Estimate
    buckets: dict[str, Estimate]
    inputs_hash: str
    seed: int
    cautions: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Sorted JSON text, the same to the byte for the same prediction."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, where: str = "prediction") -> "Prediction":
        """The prediction that `to_json` wrote; ValueError for unknown keys or another schema."""
        data = json.loads(text)
        if "ratio" in data:  # as ledgers of version 0.1 have it
            data["ratio_asked"] = data.pop("ratio")
        allowed = {f.name for f in fields(cls)}
        if unknown := set(data) - allowed:
            raise ValueError(f"{where}: unknown key {min(unknown)!r}; allowed: {sorted(allowed)}")
        if missing := allowed - set(data):
            raise ValueError(f"{where}: key {min(missing)!r} is missing")
        if data.get("schema") != SCHEMA:
            raise ValueError(f"{where}: schema is {data.get('schema')}; it must be {SCHEMA}")
        for key in ("loss", "pass_rate"):
            data[key] = estimate_from_json(data[key], f"{where}: {key}")
        for key in ("parts", "buckets"):
            data[key] = {
                k: estimate_from_json(v, f"{where}: {key}.{k}") for k, v in data[key].items()
            }
        return cls(**{**data, "cautions": tuple(data["cautions"])})


def predict_target(
    runs: pd.DataFrame,
    samples: pd.DataFrame | None,
    target: Mapping[str, Any],
    *,
    ratio: float,
    loss_weights: dict[str, float],
    seed: int = 0,
    max_epochs: Epochs = 1.0,
) -> Prediction:
    """Predict losses and pass rates of `target` from finished ladder runs up to flops / ratio.

    `target` needs `flops`; `n_active` and `tokens` let the Chinchilla law take part; `budget` is
    held against the runs' where both have one. Columns are those of `fits.observations`,
    `fits.screens` and `fits.passes.counts`; `samples` may be None. `max_epochs` is one limit or
    one by source.
    """
    goal = target.get("flops")
    if not isinstance(goal, int | float | np.number) or not 0 < float(goal) < np.inf:
        raise ValueError(f"target flops is {goal!r}; it must be a finite number above 0")
    if not ratio >= 1:
        raise ValueError(f"ratio is {ratio}; it must be at least 1")
    if "flops" not in runs.columns:
        raise ValueError("column 'flops' is missing from the run table")
    flops = float(goal)
    ladder, beyond = allowed_runs(runs, target, ratio)
    graded = _graded(ladder, samples, target, max_epochs)
    at = pd.DataFrame([dict(target)]).dropna(axis=1, how="all").assign(flops=flops)
    grid = _grid(ladder, flops)
    loss, parts = predict_loss(
        ladder, at, loss_weights, grid=grid, seed=seed, max_epochs=max_epochs, draws=DRAWS
    )
    if ladder.empty:
        nothing = refusal(_none_small_enough(runs, flops / ratio))
        loss, parts = nothing, dict.fromkeys(parts, nothing)
    loss = replace(loss, left_out=(*loss.left_out, *beyond))
    if loss.median is not None:
        ways = conventions(ladder, at, loss_weights, seed=seed, max_epochs=max_epochs)
        loss = replace(loss, conventions={**ways, "flops": loss.median})
    pass_rate, buckets = predict_passes(graded, flops, grid, seed)
    largest = _largest(ladder, (loss, *parts.values(), pass_rate, *buckets.values()))
    return Prediction(
        name=f"x{ratio:g}", ratio_asked=float(ratio),
        compute_ratio=None if largest is None else flops / largest,
        target=inside(dict(target)), loss=loss, parts=parts, pass_rate=pass_rate, buckets=buckets,
        inputs_hash=inputs_hash(ladder, graded, target, loss_weights), seed=seed,
        cautions=_cautions(ladder, loss),
    )  # fmt: skip


def allowed_runs(
    runs: pd.DataFrame, target: Mapping[str, Any], ratio: float
) -> tuple[pd.DataFrame, tuple[dict[str, str], ...]]:
    """Runs of the ladder and its grid up to target / ratio, and the ones just above that.

    Counted compute meets its budget only within a percent, so budgets are compared where run and
    target have one, and counted compute within `COUNT_SLACK` otherwise. Diverged runs stay, to be
    listed as left out.
    """
    rows = runs[runs["flops"].notna()]
    if "role" in rows.columns:
        rows = rows[rows["role"].isin(LADDER_ROLES) | rows["role"].isna()]
    if "status" in rows.columns:
        rows = rows[rows["status"].isin(["finished", "diverged"])]
    limit = float(target["flops"]) / ratio
    share, slack = pd.to_numeric(rows["flops"]) / limit, pd.Series(1 + COUNT_SLACK, rows.index)
    budget = target.get("budget")
    if budget is not None and float(budget) > 0 and "budget" in rows.columns:
        planned = pd.to_numeric(rows["budget"], errors="coerce") * ratio / float(budget)
        share = planned.where(planned.notna(), share)
        slack = slack.where(planned.isna(), 1 + 1e-6)
    just = (share > slack) & (share <= 1 + JUST_ABOVE)
    beyond = tuple(
        {
            "run_id": name,
            "reason": f"{100 * (excess - 1):.1f} % above the limit of {limit:.3g} FLOPs",
        }
        for name, excess, out in zip(run_names(rows), share, just, strict=True)
        if out
    )
    return rows[share <= slack], beyond


def _none_small_enough(runs: pd.DataFrame, limit: float) -> FitError:
    """The refusal of a table that has no run to start from."""
    least = pd.to_numeric(runs["flops"], errors="coerce").min()
    below = f": they begin at {least:.3g}; is one of the target's numbers in another unit?"
    return FitError(
        "too_few_runs",
        f"of {len(runs)} runs none at or below {limit:.3g} FLOPs belongs to the ladder"
        f"{below if least > limit else ''}",
    )


def _grid(ladder: pd.DataFrame, flops: float) -> Vector:
    least = float(ladder["flops"].min()) if len(ladder) else flops
    return np.geomspace(least, flops, CURVE_POINTS)


def _graded(
    ladder: pd.DataFrame,
    samples: pd.DataFrame | None,
    target: Mapping[str, Any],
    max_epochs: Epochs,
) -> pd.DataFrame:
    """Samples of the nominal rungs that pass the losses' screens, the blind baseline left out."""
    if samples is None or samples.empty or ladder.empty:
        return pd.DataFrame(columns=list(SAMPLE_COLUMNS))
    rows = registered(samples)
    if "role" in rows.columns:
        rows = rows[rows["role"].isin(["ladder", ""]) | rows["role"].isna()]
    if "run_id" not in ladder.columns:
        return rows[pd.to_numeric(rows["flops"]) <= float(ladder["flops"].max()) * (1 + 1e-9)]
    n, tokens = target.get("n_active"), target.get("tokens")
    nominal = float(tokens) / float(n) if n and tokens else None
    screened = screen(ladder, tokens_per_param=nominal, max_epochs=max_epochs)
    kept = screened.kept["run_id"].astype(str)
    return rows[rows["run_id"].astype(str).isin(set(kept))]


def predict_passes(
    samples: pd.DataFrame, flops: float, grid: Vector, seed: int
) -> tuple[Estimate, dict[str, Estimate]]:
    """Overall pass rate and every bucket.

    Overall is the mean over problems of the buckets' quantiles if every bucket has a forecast;
    otherwise all counts are pooled, since a bucket without passes still counts as one.
    """
    found: dict[str, PassForecast] = {}
    buckets: dict[str, Estimate] = {}
    for bucket, rows in samples.groupby("bucket"):
        try:
            found[str(bucket)] = forecast_passes(rows, flops, seed=seed, grid=grid)
            buckets[str(bucket)] = _pass_estimate(found[str(bucket)])
        except FitError as error:
            buckets[str(bucket)] = refusal(error)
    whole = headline(samples)
    try:
        pooled = forecast_passes(whole, flops, seed=seed, grid=grid)
    except FitError as error:
        return refusal(error), buckets
    size = {str(b): float(r["problem"].nunique()) for b, r in whole.groupby("bucket")}
    refused = [b for b in size if b not in found]
    if refused:
        note = f"buckets refused: {', '.join(sorted(refused))}; all counts are pooled"
        return _pass_estimate(pooled, (note,)), buckets
    weights = list(size.values())
    draws = comonotone([found[b].draws for b in size], weights)
    on_curve = comonotone([found[b].curve_draws for b in size], weights)
    combined = replace(
        pooled, table=quantile_table(draws, np.array([flops])),
        curve=quantile_table(on_curve, grid), draws=draws, curve_draws=on_curve,
    )  # fmt: skip
    return _pass_estimate(combined, ("the mean of the buckets' forecasts, by problems",)), buckets


def _pass_estimate(found: PassForecast, notes: tuple[str, ...] = ()) -> Estimate:
    row = plain(found.table.iloc[0].drop("flops"))
    curve = found.curve.drop(columns=["lo95", "hi95"])
    return Estimate(
        median=row["median"], lo50=row["lo50"], hi50=row["hi50"], lo90=row["lo90"],
        hi90=row["hi90"], weights=found.weights, constants=found.constants,
        cautions=(*found.cautions, *notes), naive=found.naive, band=band_rows(curve),
        runs_used=found.runs_used,
    )  # fmt: skip


def _largest(ladder: pd.DataFrame, estimates: tuple[Estimate, ...]) -> float | None:
    used = {r for e in estimates if e.median is not None for r in e.runs_used}
    if not used:
        return None
    chosen = ladder[[name in used for name in run_names(ladder)]]
    return float((ladder if chosen.empty else chosen)["flops"].max())


def _cautions(ladder: pd.DataFrame, loss: Estimate) -> tuple[str, ...]:
    notes = []
    if "status" in ladder.columns and (ladder["status"] == "diverged").any():
        notes.append(f"{int((ladder['status'] == 'diverged').sum())} ladder run(s) diverged")
    if loss.refused is not None:
        notes.append(f"no headline forecast: {loss.refused}")
    return tuple(notes)


def inputs_hash(
    runs: pd.DataFrame,
    samples: pd.DataFrame,
    target: Mapping[str, Any],
    loss_weights: dict[str, float],
) -> str:
    """sha256 of the tables used (rows in any order), the target and the weights."""
    digest = hashlib.sha256()
    for table in (runs, samples):
        ordered = table.reindex(sorted(set(table.columns) - {"row_name"}), axis=1)
        lines = ordered.to_csv(index=False, float_format="%.17g").splitlines()
        digest.update("\n".join([*lines[:1], *sorted(lines[1:]), ""]).encode())
    rest = {"target": inside(dict(target)), "loss_weights": loss_weights}
    digest.update(json.dumps(rest, sort_keys=True, default=str).encode())
    return digest.hexdigest()
