"""One law on a table, and how laws and the forecaster would have done on that table's own past.

For `workbench fit` and `workbench backtest`: the joints between a checked table and `fits`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fits.estimators.compute import PowerHuber
from fits.estimators.sizes import ChinchillaHuber
from fits.forecast import forecast_column
from fits.naive import last_two_rungs
from fits.observations import FitError, Observations, observe, points
from fits.screens import Screened, screen
from fits.shape import frontier, shows_floor
from fits.uncertainty.bootstrap import FEW_CLUSTERS, intervals
from workbench.errors import InputError
from workbench.importers import Imported, import_table

SCHEMA = 1
Law = Literal["power", "chinchilla"]
CUTS = (2, 3, 10, 30, 100, 300, 1000)  # largest held-out compute over the largest that is fitted
SAME_BUDGET = 1.2  # runs within 20 % of the largest compute are the ones held out


@dataclass(frozen=True, slots=True, kw_only=True)
class LawFit:
    """What `workbench fit` prints; reproducible to the bit from the table and the seed."""

    schema: int
    law: str
    estimator: str  # its repr: the provenance of the constants
    loss: str  # the column
    constants: dict[str, float]
    objective: float
    starts: int
    starts_agreeing: int
    intervals: dict[str, dict[str, float]]  # by constant: sd, lo90, hi90, lo95, hi95
    bootstrap: int
    seed: int
    runs_used: tuple[str, ...]
    left_out: tuple[dict[str, str], ...]  # run_id, reason
    cautions: tuple[str, ...]
    table_hash: str


def loss_column(table: pd.DataFrame, part: str | None) -> str:
    """The column of a loss part, `loss` for none; InputError naming the parts there are."""
    column = "loss" if part in (None, "loss") else f"loss_{str(part).removeprefix('loss_')}"
    if column not in table.columns:
        parts = ", ".join(loss_parts(table)) or "none"
        raise InputError(f"the table has no column {column}", f"parts in this table: {parts}")
    return column


def loss_parts(table: pd.DataFrame) -> list[str]:
    """The parts whose losses the table holds."""
    names = [str(name) for name in table.columns if str(name).startswith("loss_")]
    return [name.removeprefix("loss_") for name in names if not name.endswith("_se")]


def table_hash(path: Path) -> str:
    """SHA-256 of the table's bytes, 16 digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def ladder_rows(imported: Imported) -> tuple[pd.DataFrame, list[str]]:
    """The rows that a fit may see, targets and twins aside, and the table's cautions.

    The grid off the nominal tokens per parameter stays: the screens leave it to Chinchilla.
    """
    table = imported.table
    doubts = [finding.sentence() for finding in imported.findings if finding.doubt]
    apart = ~table["role"].isin(["ladder", "grid", ""])
    if apart.any():
        roles = ", ".join(sorted(set(table["role"][apart])))
        doubts.append(f"{int(apart.sum())} run(s) of role {roles} are not fitted")
    return table[~apart], doubts


def fit_law(path: Path, *, law: Law, part: str | None, draws: int, seed: int = 0) -> LawFit:
    """One law with intervals from `draws` bootstrap refits (0 for none).

    Raises InputError for a table that cannot be read, FitError where no estimate is due.
    """
    imported = import_table(path)
    runs, cautions = ladder_rows(imported)
    column = loss_column(imported.table, part)
    screened = screen(runs, loss=column)
    obs, estimator, notes = _problem(screened, column, law)
    fit = estimator.fit(obs)
    spread = pd.DataFrame()
    if draws:
        rng = np.random.default_rng(seed)
        spread = intervals(estimator, obs, draws=draws, rng=rng)
        if np.unique(obs.cluster).size < FEW_CLUSTERS:
            notes.append(
                f"fewer than {FEW_CLUSTERS} runs: intervals come from weighted runs and seed noise"
            )
    used = set(obs.run_id)
    left_out = [(str(r), str(why)) for r, why in screened.left_out.itertuples(index=False)]
    if law == "chinchilla":
        left_out = [(run, why) for run, why in left_out if run not in used]
    rest = set(map(str, runs["run_id"])) - used - {run for run, _ in left_out}
    left_out += [(run, "above the lower envelope at its compute") for run in sorted(rest)]
    return LawFit(
        schema=SCHEMA,
        law=law,
        estimator=repr(estimator),
        loss=column,
        constants=fit.law.constants(),
        objective=fit.objective,
        starts=fit.starts,
        starts_agreeing=fit.starts_agreeing,
        intervals={str(k): dict(row) for k, row in spread.T.to_dict().items()},
        bootstrap=draws,
        seed=seed,
        runs_used=obs.run_id,
        left_out=tuple({"run_id": run, "reason": why} for run, why in left_out),
        cautions=(*cautions, *screened.cautions, *notes, *fit.cautions),
        table_hash=table_hash(path),
    )


def _problem(
    screened: Screened, column: str, law: Law
) -> tuple[Observations, PowerHuber | ChinchillaHuber, list[str]]:
    """What a law is fitted to, by which estimator, and what must be said of that choice."""
    rows = screened.grid if law == "chinchilla" else screened.kept
    if rows.empty:
        reasons = screened.left_out["reason"].value_counts()
        most = f"; most often: {reasons.index[0]}" if len(reasons) else ""
        raise FitError("all_screened", f"no run passes the screens{most}")
    obs = observe(rows, loss=column)
    if law == "chinchilla":
        return obs, ChinchillaHuber(), []
    obs = frontier(obs)
    if shows_floor(obs):
        return obs, PowerHuber(), []
    note = "the floor is pinned at 0: a free one needs five budgets over 1.5 decades"
    return obs, PowerHuber(floor=0.0), [note]


def backtest(
    path: Path, *, part: str | None, seed: int = 0, step: Callable[[], None] | None = None
) -> pd.DataFrame:
    """Leave-future-out on a table: a row per law and cut-off, the forecaster among the laws.

    The largest-compute runs are held out and predicted from runs of at most their compute over
    each cut. Columns: law, cut, compute_ratio, runs, predicted, lo90, hi90, actual,
    error_percent, inside_90, refused. `step` is called after each of the len(CUTS) cuts.
    """
    imported = import_table(path)
    runs, _ = ladder_rows(imported)
    column = loss_column(imported.table, part)
    runs = screen(runs, loss=column).grid
    if runs.empty:
        raise FitError("all_screened", "no run passes the screens, so none can be held out")
    held = runs[runs["flops"] > runs["flops"].max() / SAME_BUDGET]
    target = _middle(held, column)
    rows: list[dict[str, Any]] = []
    for cut in CUTS:
        small = runs[runs["flops"] <= target["flops"] / cut]
        fresh = not rows or len(small) != rows[-1]["runs"]
        if len(small) and fresh and len(small) < len(runs):
            facts: dict[str, Any] = {"cut": cut, "runs": len(small)}
            facts["compute_ratio"] = float(target["flops"] / small["flops"].max())
            rows += [{**facts, **row} for row in _one_cut(small, target, column, seed)]
        if step:
            step()
    if not rows:
        raise FitError(
            "one_budget", f"no run is {CUTS[0]}x below the largest, so nothing can be held out"
        )
    return pd.DataFrame(rows)


def _middle(held: pd.DataFrame, column: str) -> dict[str, float]:
    """The held-out runs as one target: means, geometric where the axis is."""
    target = {"actual": float(np.exp(np.log(held[column]).mean()))}
    for name in ("flops", "n_active", "tokens"):
        if name in held.columns and bool(held[name].notna().all()):
            target[name] = float(np.exp(np.log(held[name]).mean()))
    return target


def _one_cut(
    small: pd.DataFrame, target: dict[str, float], column: str, seed: int
) -> list[dict[str, Any]]:
    """Every law's prediction of the target from the small runs; a refusal is a row as well."""
    at = pd.DataFrame([{k: v for k, v in target.items() if k != "actual"}])
    rows = [_scored("forecaster", target, lambda: _forecast(small, at, column, seed))]
    screened = screen(small, loss=column)
    laws: tuple[Law, ...] = ("power", "chinchilla")
    for law in laws:
        rows.append(_scored(law, target, partial(_point, screened, at, column, law)))
    rows.append(_scored("last two rungs", target, lambda: _naive(screened, target, column)))
    return rows


def _forecast(small: pd.DataFrame, at: pd.DataFrame, column: str, seed: int) -> dict[str, float]:
    row = forecast_column(small, at, loss=column, seed=seed).table.iloc[0]
    return {"predicted": row["median"], "lo90": row["lo90"], "hi90": row["hi90"]}


def _point(screened: Screened, at: pd.DataFrame, column: str, law: Law) -> dict[str, float]:
    if law == "chinchilla" and not {"n_active", "tokens"} <= set(at.columns):
        raise FitError("no_sizes", "a Chinchilla fit needs n_active and tokens")
    obs, estimator, _ = _problem(screened, column, law)
    fitted = estimator.fit(obs).law
    return {"predicted": float(fitted.predict(points(at))[0])}


def _naive(screened: Screened, target: dict[str, float], column: str) -> dict[str, float]:
    if screened.kept.empty:
        raise FitError("all_screened", "no run passes the screens")
    found = last_two_rungs(frontier(observe(screened.kept, loss=column)), target["flops"])
    if found is None:
        raise FitError("too_few_budgets", "one budget has no slope")
    return {"predicted": found}


def _scored(
    law: str, target: dict[str, float], predict: Callable[[], dict[str, float]]
) -> dict[str, Any]:
    actual = target["actual"]
    row: dict[str, Any] = {"law": law, "predicted": None, "lo90": None, "hi90": None}
    row |= {"actual": actual, "error_percent": None, "inside_90": None, "refused": None}
    try:
        row |= predict()
    except FitError as refusal:
        return row | {"refused": refusal.name}
    row["error_percent"] = 100 * (row["predicted"] / actual - 1)
    if row["lo90"] is not None:
        row["inside_90"] = bool(row["lo90"] <= actual <= row["hi90"])
    return row
