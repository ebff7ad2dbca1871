"""The automatic forecaster: from a table of runs to a calibrated statement about larger ones.

`forecast(runs, targets, *, seed=0)` is the stable entry and needs no options. It screens the
runs, fits every law the table can identify, weighs the laws, and draws from each: what the fit
leaves open, seed noise included, form error growing with the distance beyond the ladder, and the
target's own seed noise. A question the table cannot answer raises FitError with a name; a
doubtful answer carries cautions.

Laws: one in compute whose slope may drift, with and without a floor (`fits.uncertainty.drift`), and
`chinchilla` where n and tokens vary apart (eight runs), its form error from its own backtests
(`fits.uncertainty.backtest`). A law's weight is the inverse of its variance at the farthest target.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.estimators.sizes import ChinchillaCurves, ChinchillaHuber, has_plane
from fits.naive import last_rung, last_two_rungs
from fits.observations import (
    FitError,
    Matrix,
    Observations,
    Points,
    Vector,
    budget_means,
    numbers,
    observe,
    points,
    without_duplicates,
)
from fits.screens import Epochs, screen
from fits.shape import bend, frontier, require_ladder, require_one_regime, shows_floor
from fits.uncertainty.backtest import (
    PRIOR_SCALE,
    Predictor,
    form_error,
    leave_future_out,
    surface_span,
)
from fits.uncertainty.bootstrap import SeedNoise, seed_jitter, seed_noise, smooth_weights
from fits.uncertainty.drift import fit_drifting_power
from fits.uncertainty.mixture import (
    REFITS,
    Member,
    Surface,
    by_law,
    law_constants,
    law_weights,
    predictive,
)
from fits.uncertainty.quantiles import quantile_table

DRAWS = 2000  # draws of the predictive distribution
BACKTEST_DRAWS = 100
CURVE_POINTS = 41
PLANE_RUNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Quantiles for each target, and all that a reader needs to doubt them."""

    table: pd.DataFrame  # a row per target: flops, median, lo50 … hi95
    weights: dict[str, float]  # by law
    constants: dict[str, dict[str, float]]  # by law, median over refits
    cautions: tuple[str, ...]
    curve: pd.DataFrame  # flops, median, lo50, hi50, lo90, hi90 from the smallest run on
    naive: dict[str, float | None]  # last_rung, last_two_rungs at the first target
    runs_used: tuple[str, ...]
    left_out: pd.DataFrame  # run_id, reason
    backtest: pd.DataFrame
    largest_flops: float
    draws: Matrix  # (draws, targets), nats per token
    curve_draws: Matrix  # (draws, points)


def forecast(runs: pd.DataFrame, targets: pd.DataFrame, *, seed: int = 0) -> Forecast:
    """Forecast of `loss` for every row of `targets`.

    `runs` needs `flops` and `loss`; `n_active`, `tokens`, `run_id`, `weight` and the columns of
    `fits.screens` are used where present. `targets` needs `flops`. Raises ValueError naming the
    row for a value that is no positive number, FitError with a name where no forecast is due.
    """
    return forecast_column(runs, targets, loss="loss", seed=seed)


def forecast_column(
    runs: pd.DataFrame,
    targets: pd.DataFrame,
    *,
    loss: str,
    seed: int = 0,
    grid: Vector | None = None,
    max_epochs: Epochs = 1.0,
    draws: int = DRAWS,
) -> Forecast:
    """The same for any loss column, with the compute grid of the curve given or chosen."""
    if not len(targets):
        raise ValueError("targets has no row; at least one target is needed")
    at = points(targets)
    flops, sized = at.flops, at.n is not None
    ratio = None if at.n is None or at.tokens is None else float(np.median(at.tokens / at.n))
    ladder, plane, left_out, cautions = usable_runs(runs, loss, ratio, max_epochs)
    try:
        members, notes, backtest = fit_members(ladder, plane, float(flops.max()), sized, seed)
    except FitError as error:
        raise FitError(error.name, str(error), left_out) from error
    cautions += notes
    seen = ladder if plane is None or ladder.flops.size else frontier(plane)
    if grid is None:
        grid = np.geomspace(seen.flops.min(), max(flops.max(), seen.flops.max()), CURVE_POINTS)
    weights = law_weights(members, at, seed)
    rng = np.random.default_rng([seed, 7])
    at_targets, on_curve = predictive(members, weights, at, grid, seed_noise(seen), rng, draws)
    table = quantile_table(at_targets, flops)
    curve = quantile_table(on_curve, grid).drop(columns=["lo95", "hi95"])
    naive = {
        "last_rung": last_rung(seen),
        "last_two_rungs": last_two_rungs(seen, float(flops[0])),
    }
    every = plane.run_id if plane is not None and "chinchilla" in members else ()
    used = sorted({*ladder.run_id, *every})
    left_out = left_out[~left_out["run_id"].isin(used)]
    return Forecast(
        table=table, weights=by_law(members, weights), constants=law_constants(members),
        cautions=tuple(cautions),
        curve=curve, naive=naive, runs_used=tuple(used), left_out=left_out, backtest=backtest,
        largest_flops=float(seen.flops.max()), draws=at_targets, curve_draws=on_curve,
    )  # fmt: skip


def usable_runs(
    runs: pd.DataFrame, loss: str, ratio: float | None, max_epochs: Epochs
) -> tuple[Observations, Observations | None, pd.DataFrame, list[str]]:
    """Ladder for laws in compute, all sizes for Chinchilla, what is left out, cautions.

    The ladder is empty where only runs off the target's tokens per parameter remain; then laws
    in compute have nothing to see and Chinchilla alone is fitted.
    """
    if not len(runs):
        raise FitError("too_few_runs", "no run was given; at least 3 are needed")
    if loss not in runs.columns:
        raise ValueError(f"column {loss!r} is missing; the table has {sorted(runs.columns)}")
    unique, repeats = without_duplicates(
        runs, ["flops", loss, "n_active", "tokens", "n_total", "n_experts", "seed", "run_id"]
    )
    gate = "status" in runs.columns
    checked = unique[unique["status"] == "finished"] if gate else unique
    measured = checked[checked[loss].notna()] if gate else checked
    numbers(measured, "flops")
    numbers(measured, loss)
    screened = screen(unique, loss=loss, tokens_per_param=ratio, max_epochs=max_epochs)
    cautions = list(screened.cautions)
    if repeats:
        cautions.append(f"{repeats} exact duplicate row(s) were counted once")
    every = observe(screened.grid, loss=loss)
    plane = every if every.flops.size >= PLANE_RUNS and has_plane(every) else None
    if screened.kept.empty and (plane is None or ratio is None):
        reasons = screened.left_out["reason"].value_counts()
        raise FitError(
            "regime_change" if screened.regime else "all_screened",
            f"no run passes the screens; most often: {reasons.index[0]}",
            screened.left_out,
        )
    ladder = observe(screened.kept, loss=loss)
    ladder = frontier(ladder) if ladder.flops.size else ladder
    if screened.regime and np.unique(ladder.budget).size < 3:
        raise FitError(
            "regime_change", f"{screened.regime}; fewer than 3 budgets remain", screened.left_out
        )
    if plane is None and ladder.flops.size >= 3:
        cautions.append("n and tokens do not vary apart: only laws in compute are fitted")
    return ladder, plane, screened.left_out, cautions


def fit_members(
    ladder: Observations, plane: Observations | None, target: float, sized: bool, seed: int
) -> tuple[dict[str, Member], list[str], pd.DataFrame]:
    """Every law the runs can identify, fitted and backtested; raises the named refusals."""
    require_ladder(ladder if plane is None or not sized else plane, target)
    noise = seed_noise(ladder if plane is None or ladder.flops.size else plane)
    members: dict[str, Member] = {}
    tests, cautions = [], []
    curved = bend(ladder, noise)
    if curved is not None:
        cautions.append(curved)
    try:
        require_ladder(ladder, target)
        require_one_regime(ladder, noise)
        members["power"] = fit_drifting_power(ladder, noise)
        tests.append(
            leave_future_out("power", drifting(noise), ladder, noise, minimum=2, seed=seed)
        )
    except FitError as refusal:
        if plane is None or not sized or refusal.name in ("regime_change", "not_decreasing"):
            raise
        cautions.append(f"no law in compute alone: {refusal}")
    if plane is not None and sized and shows_floor(plane):
        members["chinchilla"], test = _surface(plane, noise, target, seed)
        tests.append(test)
    if not members:
        raise FitError("too_few_budgets", "no law can be identified from these runs")
    if noise.pairs == 0:
        cautions.append("no two runs differ by seed alone: seed noise is the prior's 0.3 %")
    filled = [t for t in tests if len(t)]
    return members, cautions, pd.concat(filled, ignore_index=True) if filled else tests[0]


def drifting(noise: SeedNoise) -> Predictor:
    """The law in compute as a backtest asks for it; what may drift is part of its draws."""

    def predict(
        small: Observations, large: Observations, rng: np.random.Generator
    ) -> tuple[Matrix, float]:
        law, at = fit_drifting_power(small, noise), Points(flops=large.flops)
        return law.draws(at, BACKTEST_DRAWS, rng), float(np.ptp(small.x))

    return predict


def refitted(noise: SeedNoise, draws: int) -> Predictor:
    """Chinchilla as a backtest asks for it."""

    def predict(
        small: Observations, large: Observations, rng: np.random.Generator
    ) -> tuple[Matrix, float]:
        curves = chinchilla_refits(small, noise, draws, rng)
        log_loss = curves.log_loss(large)
        return log_loss, surface_span(budget_means(small)[0])

    return predict


def chinchilla_refits(
    obs: Observations, noise: SeedNoise, draws: int, rng: np.random.Generator
) -> ChinchillaCurves:
    """Refits to reweighted, jittered copies of the runs."""
    delta = float(np.clip(1.5 * noise.sd, 1e-3, 0.1))  # seed noise is Gaussian, not an outlier
    cluster = np.unique(obs.cluster, return_inverse=True)[1].astype(np.int64)
    y = seed_jitter(obs, noise, draws, rng)
    weight = smooth_weights(cluster, draws, rng) * obs.weight
    return ChinchillaHuber(delta=delta).fit_draws(obs, y, weight)


def _surface(
    plane: Observations, noise: SeedNoise, target: float, seed: int
) -> tuple[Surface, pd.DataFrame]:
    test = leave_future_out(
        "chinchilla", refitted(noise, REFITS // 8), plane, noise, minimum=4, seed=seed
    )
    x = budget_means(plane)[0]
    form = form_error(test, ahead=float(np.log10(target)) - float(x[-1]), prior_scale=PRIOR_SCALE)
    curves = chinchilla_refits(plane, noise, REFITS, np.random.default_rng([seed, 11]))
    return Surface(curves=curves, form=form, span=surface_span(x), last=float(x[-1])), test
