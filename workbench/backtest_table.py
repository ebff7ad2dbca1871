"""How the laws and the forecaster would have done on a table's own past: leave-future-out.

For `workbench backtest`. The runs of the largest compute are held out and predicted from smaller
ones, at one compute ratio after another; then those of at most half that compute, and so on. A
refusal is a row as well as a number is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fits.estimators.catalogue import CATALOGUE, lookup
from fits.forecast import forecast_column
from fits.naive import last_two_rungs
from fits.observations import FitError, observe, points, run_names
from fits.screens import Screened, screen
from fits.shape import frontier
from workbench.estimate import ladder_rows, loss_column
from workbench.importers import import_table

CUTS = (3, 10, 30, 100, 300, 1000)  # held-out compute over the largest that is fitted
NEAREST = 2  # where no runs lie as far below as the first of these
SAME_BUDGET = 1.2  # runs within 20 % of the largest compute are held out together
TARGETS, APART = 3, 2.0  # targets that are held out in turn, each at most half the one before
SLACK = 1.02  # counted compute meets a budget within a percent, the target's and the runs'
FEWEST = 3  # runs that any law is asked to predict from
FORECASTER, NAIVE = "forecaster", "last two rungs"
SIZES = ("flops", "n_active", "tokens", "n_total", "n_experts", "unique_tokens")
QUANTILES = ("lo50", "hi50", "lo90", "hi90")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """Every prediction of held-out runs, and how each law did over all of them."""

    loss: str  # the column
    rows: pd.DataFrame  # a row per target, cut and law
    summary: pd.DataFrame  # a row per law
    cautions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Held-out runs as one target, and the smaller runs that it is predicted from."""

    target: dict[str, float]  # actual; flops, n_active and tokens where known
    cut: int
    small: pd.DataFrame


def backtest(
    path: Path,
    *,
    part: str | None,
    seed: int = 0,
    step: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Leave-future-out on a table; `step` is told questions done and questions in all.

    Columns of `rows`: law, target_flops, cut, compute_ratio, runs, predicted, lo50, hi50, lo90,
    hi90, actual, error_percent, inside_90, refused. Raises FitError where nothing can be held out.
    """
    imported = import_table(path)
    runs, cautions = ladder_rows(imported)
    found = backtest_runs(runs, loss_column(imported.table, part), seed=seed, step=step)
    return replace(found, cautions=(*cautions, *found.cautions))


def backtest_runs(
    runs: pd.DataFrame,
    column: str,
    *,
    seed: int = 0,
    step: Callable[[int, int], None] | None = None,
) -> Backtest:
    """The same for the ladder's rows of a table that was read and checked."""
    screened = screen(runs, loss=column)
    asked, laws = questions(screened, column), laws_of(screened.grid)
    rows: list[dict[str, Any]] = []
    for done, question in enumerate(asked, start=1):
        facts = {
            "target_flops": question.target["flops"],
            "cut": question.cut,
            "compute_ratio": question.target["flops"] / float(question.small["flops"].max()),
            "runs": len(question.small),
        }
        answers = _answers(question, column, laws, seed)
        rows += [{"law": row["law"], **facts, **row} for row in answers]
        if step:
            step(done, len(asked))
    table = pd.DataFrame(rows)
    cautions = tuple(_kept_out(runs, screened))
    return Backtest(loss=column, rows=table, summary=summary(table), cautions=cautions)


def _kept_out(runs: pd.DataFrame, screened: Screened) -> list[str]:
    """How many runs no law sees, with the reason that is given most often."""
    names = set(run_names(runs)) - set(run_names(screened.grid))
    if not names:
        return []
    reasons = screened.left_out[screened.left_out["run_id"].isin(names)]["reason"].value_counts()
    return [f"{len(names)} run(s) kept out, most often: {reasons.index[0]}"]


def questions(screened: Screened, column: str) -> list[Question]:
    """What is predicted from what: the largest targets, each from runs ever further below it."""
    runs = screened.grid
    if runs.empty:
        raise FitError("all_screened", "no run passes the screens, so none can be held out")
    asked = _asked(runs, screened, column, CUTS) or _asked(runs, screened, column, (NEAREST,))
    if not asked:
        raise FitError(
            "one_budget",
            f"no {FEWEST} runs lie {NEAREST}x below the largest, so nothing can be held out",
        )
    return asked


def _asked(
    runs: pd.DataFrame, screened: Screened, column: str, cuts: Sequence[int]
) -> list[Question]:
    asked: list[Question] = []
    below = float(runs["flops"].max())
    for _ in range(TARGETS):
        left = runs[runs["flops"] <= below]
        if left.empty:
            break
        target = _target(left[left["flops"] > left["flops"].max() / SAME_BUDGET], screened, column)
        sizes = {len(runs)}
        for cut in cuts:
            small = runs[runs["flops"] <= SLACK * target["flops"] / cut]
            if len(small) >= FEWEST and len(small) not in sizes:
                sizes.add(len(small))
                asked.append(Question(target=target, cut=cut, small=small))
        below = target["flops"] / APART
    return asked


def _target(held: pd.DataFrame, screened: Screened, column: str) -> dict[str, float]:
    """The held-out runs as one target: means, geometric where the axis is.

    Those at the nominal tokens per parameter where there are any, and of several sizes at one
    compute the best: a law describes the lower envelope.
    """
    nominal = held[held.index.isin(screened.kept.index)]
    held = held if nominal.empty else nominal
    best = set(frontier(observe(held, loss=column)).run_id)
    held = held[[name in best for name in run_names(held)]]
    target = {"actual": float(np.exp(np.log(held[column]).mean()))}
    for name in SIZES:
        if name in held.columns and bool(held[name].notna().all()):
            target[name] = float(np.exp(np.log(held[name]).mean()))
    return target


def laws_of(runs: pd.DataFrame) -> list[str]:
    """The laws of the catalogue whose columns the runs have."""
    known = {str(name) for name in runs.columns if bool(runs[name].notna().any())}
    return [name for name, entry in CATALOGUE.items() if set(entry.columns) <= known]


def _answers(
    question: Question, column: str, laws: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Every law's prediction of the target from the small runs; a refusal is an answer as well."""
    target, small = question.target, question.small
    at = pd.DataFrame([{k: v for k, v in target.items() if k != "actual"}])
    rows = [_scored(FORECASTER, target, partial(_forecast, small, at, column, seed))]
    screened = screen(small, loss=column)
    for law in laws:
        rows.append(_scored(law, target, partial(_point, screened, at, column, law)))
    rows.append(_scored(NAIVE, target, partial(_naive, screened, target, column)))
    return rows


def _forecast(small: pd.DataFrame, at: pd.DataFrame, column: str, seed: int) -> dict[str, float]:
    row = forecast_column(small, at, loss=column, seed=seed).table.iloc[0]
    return {"predicted": row["median"], **{end: row[end] for end in QUANTILES}}


def _point(screened: Screened, at: pd.DataFrame, column: str, law: str) -> dict[str, float]:
    entry = lookup(law)
    if missing := [name for name in entry.columns if name not in at]:
        raise FitError("no_sizes", f"the held-out runs lack {', '.join(missing)}")
    rows = screened.kept if entry.in_compute else screened.grid
    if rows.empty:
        raise FitError("all_screened", "no run passes the screens")
    obs = observe(rows, loss=column)
    fitted = entry.make(None).fit(frontier(obs) if entry.in_compute else obs).law
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
    row: dict[str, Any] = {"law": law, "predicted": None, **dict.fromkeys(QUANTILES)}
    row |= {"actual": actual, "error_percent": None, "inside_90": None, "refused": None}
    try:
        row |= predict()
    except FitError as refusal:
        return row | {"refused": refusal.name}
    row["error_percent"] = 100 * (row["predicted"] / actual - 1)
    if row["lo90"] is not None:
        row["inside_90"] = bool(row["lo90"] <= actual <= row["hi90"])
    return row


BANDS = {"near": (0.0, 10.0), "middle": (10.0, 100.0), "far": (100.0, np.inf)}  # compute ratio


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """By law: predictions, refused, judged and inside_90 of them, absolute errors in percent.

    Errors are the median over all predictions, over those of each of BANDS, and the worst; None
    where there is no prediction.
    """
    found = []
    for law, group in rows.groupby("law", sort=False):
        errors = group["error_percent"].dropna().astype(float).abs()
        judged = group["inside_90"].dropna()
        facts: dict[str, Any] = {
            "law": law,
            "predictions": len(errors),
            "refused": int(group["refused"].notna().sum()),
            "median": float(errors.median()) if len(errors) else None,
        }
        for band, (low, high) in BANDS.items():
            ratio = group["compute_ratio"][errors.index]
            chosen = errors[(ratio >= low) & (ratio < high)]
            facts[band] = float(chosen.median()) if len(chosen) else None
        facts["worst"] = float(errors.max()) if len(errors) else None
        facts["judged"] = len(judged)
        facts["inside_90"] = int(judged.sum()) if len(judged) else None
        found.append(facts)
    return pd.DataFrame(found).astype(object)
