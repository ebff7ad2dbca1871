"""Pass counts of one bucket as arrays, and the binomial fit of many resampled copies at once.

The pass-rate law is -log p = alpha * C**-k (GPT-4 report, arXiv:2303.08774, section 3.2). With
eta = log(-log p) it is the straight line eta = log alpha - k log C, and the failures follow a
binomial model with complementary log-log link, fitted here by Fisher scoring on counts, so that
a rung with no pass still informs. Seeds scatter more than sampling does: counts are shrunk to
the size at which binomial noise equals both (the beta-binomial matched in its first two moments).

Columns of the samples table read here: `run_id, flops, problem, bucket, kind, n_samples,
n_passed, gold_nll` (`seed` where present).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.observations import FitError, Indices, Matrix, Vector, budgets

ETA_LOW, ETA_HIGH = -9.0, 3.2  # p from 1 - 1e-4 down to 2e-11
SAMPLE_COLUMNS = ("run_id", "flops", "problem", "bucket", "n_samples", "n_passed")
SEED_SD_PRIOR = 0.1  # of eta; a judgement, worth 3 degrees of freedom
SEED_SD_PRIOR_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Runs in order of compute; (runs, problems) counts."""

    flops: Vector
    run_id: tuple[str, ...]
    passed: Matrix
    samples: Matrix
    gold: Matrix  # gold-solution negative log-likelihood, nats; NaN where unknown

    @property
    def budget(self) -> Indices:
        """Index of each run's budget."""
        return budgets(self.flops)

    def take(self, rows: Indices) -> "Counts":
        """The chosen runs."""
        return Counts(
            flops=self.flops[rows],
            run_id=tuple(self.run_id[i] for i in rows),
            passed=self.passed[rows],
            samples=self.samples[rows],
            gold=self.gold[rows],
        )


def pass_rates(samples: pd.DataFrame) -> tuple[float | None, dict[str, float]]:
    """Mean pass@1 over the problems (programs alone where there are any) and by bucket."""
    graded = registered(samples)
    if graded.empty:
        return None, {}
    each = graded["n_passed"] / graded["n_samples"]
    rows = graded.assign(rate=each)
    by_bucket = rows.groupby("bucket")["rate"].mean()
    return (
        float(headline(rows)["rate"].mean()),
        {str(name): float(rate) for name, rate in by_bucket.items()},
    )


def registered(samples: pd.DataFrame) -> pd.DataFrame:
    """All rows but the blind baseline, which is a control and no ability."""
    if "kind" not in samples.columns:
        return samples
    return samples[samples["kind"] != "strip_blind"]


def headline(samples: pd.DataFrame) -> pd.DataFrame:
    """The rows whose mean is THE pass rate: programs if there are any, else all."""
    if "kind" in samples.columns and (samples["kind"] == "program").any():
        return samples[samples["kind"] == "program"]
    return samples


def check_samples(samples: pd.DataFrame) -> None:
    """ValueError naming the row whose counts cannot be."""
    for column in SAMPLE_COLUMNS:
        if column not in samples.columns:
            raise ValueError(f"samples column {column!r} is missing")
    drawn = pd.to_numeric(samples["n_samples"], errors="coerce").to_numpy(dtype=np.float64)
    passed = pd.to_numeric(samples["n_passed"], errors="coerce").to_numpy(dtype=np.float64)
    flops = pd.to_numeric(samples["flops"], errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~((drawn >= 1) & (passed >= 0) & (passed <= drawn) & (flops > 0) & np.isfinite(flops))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"samples row {row} (run {samples['run_id'].iloc[row]}): n_passed {passed[row]:g} of "
            f"n_samples {drawn[row]:g} at flops {flops[row]:g}; need 0 <= passed <= samples >= 1"
        )


def gather(samples: pd.DataFrame) -> Counts:
    """Counts of the given rows, a row per run and a column per problem."""
    if samples.empty:
        raise FitError("no_samples", "no graded sample; evaluate the rungs on the problems")
    keyed = samples.assign(run_id=samples["run_id"].astype(str))
    flops = keyed.groupby("run_id")["flops"].first()
    order = sorted(flops.index, key=lambda name: (flops[name], name))

    def table(column: str) -> pd.DataFrame:
        wide = keyed.pivot_table(index="run_id", columns="problem", values=column, aggfunc="mean")
        return wide.reindex(index=order)

    passed, drawn = table("n_passed"), table("n_samples")
    known = "gold_nll" in keyed.columns and keyed["gold_nll"].notna().any()
    gold = table("gold_nll").reindex(columns=drawn.columns) if known else drawn * np.nan
    return Counts(
        flops=flops[order].to_numpy(dtype=np.float64),
        run_id=tuple(order),
        passed=passed.fillna(0).to_numpy(dtype=np.float64),
        samples=drawn.fillna(0).to_numpy(dtype=np.float64),
        gold=gold.to_numpy(dtype=np.float64),
    )


def rates(passed: Matrix, samples: Matrix) -> Matrix:
    """Pass rates with half a pass and half a failure added, so that none is 0 or 1."""
    return np.asarray((passed + 0.5) / (samples + 1.0))


def eta_of(rate: Matrix) -> Matrix:
    """log(-log p)."""
    return np.asarray(np.log(-np.log(rate)))


def eta_noise(rate: Matrix, samples: Matrix) -> Matrix:
    """Sampling sd of eta (delta method)."""
    return np.asarray(np.sqrt((1 - rate) / (samples * rate)) / -np.log(rate))


def seed_sd(counts: Counts) -> float:
    """Sd of eta between seeds of one budget beyond sampling, shrunk to the prior."""
    passed, drawn = counts.passed.sum(axis=1), counts.samples.sum(axis=1)
    rate = rates(passed, drawn)
    eta, noise = eta_of(rate), eta_noise(rate, drawn) ** 2
    total, pairs = 0.0, 0
    for b in np.unique(counts.budget):
        here = (counts.budget == b) & (passed >= 3) & (passed <= drawn - 3)
        if here.sum() >= 2:
            excess = ((eta[here] - eta[here].mean()) ** 2).sum() - noise[here].mean() * (
                here.sum() - 1
            )
            total, pairs = total + max(float(excess), 0.0), pairs + int(here.sum()) - 1
    prior = SEED_SD_PRIOR_RUNS * SEED_SD_PRIOR**2
    return float(np.sqrt((prior + total) / (SEED_SD_PRIOR_RUNS + pairs)))


def effective(rate: Vector, samples: Vector, sd: float) -> Vector:
    """Number of samples at which binomial noise alone equals sampling plus seed noise."""
    between = (rate * -np.log(rate) * sd) ** 2
    return np.asarray(samples / (1 + samples * between / (rate * (1 - rate))))


def fit_lines(z: Matrix, passed: Matrix, samples: Matrix) -> tuple[Vector, Vector]:
    """Intercept and slope of eta on z for each draw (draws, runs), by Fisher scoring.

    A weak ridge (sd 3 on the slope) keeps separated draws finite.
    """
    start = eta_of(rates(passed.sum(axis=1), samples.sum(axis=1)))
    theta = np.stack([start, np.zeros_like(start)], axis=1)
    for _ in range(30):
        eta = np.clip(theta[:, :1] + theta[:, 1:] * z, ETA_LOW, ETA_HIGH)
        minus_log = np.exp(eta)
        p = np.exp(-minus_log)
        q = np.maximum(-np.expm1(-minus_log), 1e-300)
        score = -(passed - samples * p) * minus_log / q
        weight = samples * p * minus_log**2 / q + 1e-9
        g = np.stack([score.sum(axis=1), (score * z).sum(axis=1) - theta[:, 1] / 9], axis=1)
        a, b = weight.sum(axis=1), (weight * z).sum(axis=1)
        c = (weight * z**2).sum(axis=1) + 1 / 9
        determinant = a * c - b * b
        step = np.stack([c * g[:, 0] - b * g[:, 1], a * g[:, 1] - b * g[:, 0]], axis=1)
        step = np.clip(step / np.maximum(determinant, 1e-12)[:, None], -1, 1)
        theta = theta + step
        if np.abs(step).max() < 1e-7:
            break
    return theta[:, 0], theta[:, 1]
