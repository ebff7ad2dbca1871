"""How good forecasts were: cases put to any predictor, scored, and summed up by band and source.

`evaluate(cases, predict)` is all that tuning needs:

    cases = [case for table in load(folder, ["gadre", "tiny"]) for case in split(table)]
    scores = evaluate(cases, predict)          # a row per case
    summary(scores)                            # a row per band

`predict(train, targets)` returns (targets, 7) quantiles at forecast_methods.LEVELS and refuses with
FitError. A case counts once, whatever its number of targets; a source counts once, whatever its
number of cases, in every mean below.

| column | is |
|---|---|
| error | median forecast / actual loss - 1 |
| abs_error | its size |
| wis | weighted interval score over the actual loss: 50, 90 and 95 % intervals and median |
| cover50, cover90, cover95 | share of the targets inside |
| width95 | width of the 95 % interval over the actual loss |
| answered | targets that got an answer; the scores are means over these |
| refused | name of the refusal, or of what went wrong; then there are no scores |
| seconds | for fitting and predicting |

The score is Bracher et al. 2021 (arXiv:2005.12881), eq. 1: proper, and |error| for a point.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import numpy as np
import pandas as pd

from benchmarks.forecast_methods import LEVELS, Predict
from benchmarks.forecast_tables import BANDS, Case
from fits.observations import FitError, Matrix, Vector

SECONDS = 60.0  # that a case may take
ABOUT = ("method", "source", "table", "band", "cutoff", "ratio", "runs", "targets")
SCORES = ("answered", "error", "abs_error", "wis", "cover50", "cover90", "cover95", "width95")
INTERVALS = {"50": (2, 4, 0.5), "90": (1, 5, 0.1), "95": (0, 6, 0.05)}  # low, high, alpha
ENOUGH = 0.5  # a rival must answer this share of what the forecaster answers

Job = tuple[str, Predict, Case, float]


class TimeLimit(Exception):
    """A case took longer than it may."""


def weighted_interval_scores(quantiles: Matrix, actual: Vector) -> Vector:
    """The score of each row of quantiles (targets, 7), in the unit of the loss."""
    total = 0.5 * np.abs(actual - quantiles[:, 3])
    for low_at, high_at, alpha in INTERVALS.values():
        low, high = quantiles[:, low_at], quantiles[:, high_at]
        outside = np.maximum(low - actual, 0) + np.maximum(actual - high, 0)
        total = total + alpha / 2 * (high - low) + outside
    return np.asarray(total / (len(INTERVALS) + 0.5))


def score(quantiles: Matrix, actual: Vector) -> dict[str, float]:
    """SCORES of one case, means over its answered targets; ValueError unless quantiles ascend."""
    if quantiles.shape != (actual.size, len(LEVELS)):
        raise ValueError(
            f"quantiles have shape {quantiles.shape}; expected ({actual.size}, {len(LEVELS)})"
        )
    answered = ~np.isnan(quantiles).all(axis=1)
    quantiles, actual = quantiles[answered], actual[answered]
    if not answered.any() or not np.isfinite(quantiles).all():
        raise ValueError("no target has quantiles, or some of one are not finite")
    if (np.diff(quantiles, axis=1) < 0).any():
        raise ValueError("the quantiles do not ascend")
    error = quantiles[:, 3] / actual - 1
    found = {"error": error, "abs_error": np.abs(error)}
    found["wis"] = weighted_interval_scores(quantiles, actual) / actual
    for name, (low, high, _) in INTERVALS.items():
        found[f"cover{name}"] = (quantiles[:, low] <= actual) & (actual <= quantiles[:, high])
    found["width95"] = (quantiles[:, 6] - quantiles[:, 0]) / actual
    means = {name: float(np.mean(found[name])) for name in SCORES if name != "answered"}
    return {"answered": float(answered.sum())} | means


def evaluate(
    cases: Sequence[Case],
    predict: Predict,
    *,
    name: str = "method",
    workers: int = 1,
    seconds: float = SECONDS,
    done: Callable[[], None] | None = None,
) -> pd.DataFrame:
    """A row per case: what it was and SCORES, or why it was refused.

    With more workers `predict` must be importable by name. FitError, ValueError, numerical errors
    and the time limit are refusals; anything else is a bug and is raised.
    """
    return evaluate_all(cases, {name: predict}, workers=workers, seconds=seconds, done=done)


def evaluate_all(
    cases: Sequence[Case],
    methods: Mapping[str, Predict],
    *,
    workers: int = 1,
    seconds: float = SECONDS,
    done: Callable[[], None] | None = None,
) -> pd.DataFrame:
    """The same for several methods, one below the other."""
    jobs = [(name, f, case, seconds) for name, f in methods.items() for case in cases]
    rows: list[dict[str, object]] = []
    for row in _answers(jobs, workers):
        rows.append(row)
        if done is not None:
            done()
    return pd.DataFrame(rows, columns=[*ABOUT, *SCORES, "refused", "seconds"])


def _answers(jobs: list[Job], workers: int) -> Iterator[dict[str, object]]:
    if workers <= 1:
        yield from map(_answer, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_answer, jobs)


def _about(name: str, case: Case) -> dict[str, object]:
    """ABOUT: what was asked of whom."""
    return {
        "method": name, "source": case.source, "table": case.table, "band": case.band,
        "cutoff": case.cutoff, "ratio": case.ratio, "runs": len(case.train),
        "targets": len(case.targets),
    }  # fmt: skip


def _answer(job: Job) -> dict[str, object]:
    name, predict, case, seconds = job
    refused: str | None = None
    scores: dict[str, float] = {}
    start = time.perf_counter()
    try:
        with time_limit(seconds), np.errstate(over="ignore", invalid="ignore"):
            quantiles = predict(case.train, case.targets)
        scores = score(quantiles, case.actual)
    except FitError as refusal:
        refused = refusal.name
    except TimeLimit:
        refused = f"over {seconds:g} s"
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        refused = f"{type(error).__name__}: {error}"
    spent = time.perf_counter() - start
    return _about(name, case) | scores | {"refused": refused, "seconds": spent}


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in what takes longer; only in a process's main thread."""

    def ring(signum: int, frame: FrameType | None) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def by_source(scores: pd.DataFrame, column: str) -> float:
    """Mean over sources of the mean over each source's answered cases; NaN where there is none."""
    answered = scores[scores["refused"].isna()]
    return float(answered.groupby("source")[column].mean().mean())


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """A row per band and method: cases, refusals, scores, and the table with the worst score."""
    rows = []
    for band in BANDS:
        for method in scores["method"].unique():
            here = scores[(scores["band"] == band) & (scores["method"] == method)]
            if not len(here):
                continue
            good = here[here["refused"].isna()]
            worst = good.groupby(["source", "table"])["wis"].mean()
            rows.append({
                "band": band, "method": method, "cases": len(here),
                "sources": good["source"].nunique(),
                "refused": len(here) - float((good["answered"] / good["targets"]).sum()),
                "wis": by_source(here, "wis"), "median_error": float(good["abs_error"].median()),
                "bias": by_source(here, "error"),
                **{c: by_source(here, c) for c in ("cover50", "cover90", "cover95", "width95")},
                "seconds": float(here["seconds"].mean()),
                "worst": " ".join(map(str, worst.idxmax())) if len(worst) else "",
                "worst_wis": float(worst.max()) if len(worst) else float("nan"),
            })  # fmt: skip
    return pd.DataFrame(rows)


def pairs(scores: pd.DataFrame, method: str = "forecaster") -> pd.DataFrame:
    """The method against each other one, by band, on the cases that both answered.

    `ratio` is its score over the other's: below 1 it is the better. A case of which only some
    targets were answered is left out.
    """
    answered = scores[scores["answered"] == scores["targets"]]
    keys = ["source", "table", "cutoff"]
    rows = []
    for band in BANDS:
        here = answered[answered["band"] == band]
        own = here[here["method"] == method].set_index(keys)["wis"]
        for other in [m for m in scores["method"].unique() if m != method]:
            theirs = here[here["method"] == other].set_index(keys)["wis"]
            both = pd.DataFrame({"own": own, "theirs": theirs}).dropna()
            if not len(both):
                continue
            mean = both.groupby(level="source").mean().mean()
            rows.append({
                "band": band, "other": other, "cases": len(both), "of": len(own),
                "own": float(mean["own"]), "theirs": float(mean["theirs"]),
                "ratio": float(mean["own"] / mean["theirs"]),
            })  # fmt: skip
    columns = ["band", "other", "cases", "of", "own", "theirs", "ratio"]
    return pd.DataFrame(rows, columns=columns)


def best_rivals(against: pd.DataFrame) -> pd.DataFrame:
    """From `pairs`, in each band the other method that does best beside the forecaster.

    Only one that answers at least half of the forecaster's cases: the rest chose theirs.
    """
    able = against[against["cases"] >= ENOUGH * against["of"]]
    return able.sort_values("ratio").groupby("band", sort=False).tail(1).reset_index(drop=True)
