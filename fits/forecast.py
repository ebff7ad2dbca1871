"""The automatic forecaster: from a table of runs to a calibrated statement about larger ones.

`forecast(runs, targets, *, seed=0)` is the stable entry and needs no options. It screens the
runs, fits every law the table can identify, weighs the laws, and draws from each: what the fit
leaves open, seed noise included, form error growing with the distance beyond the ladder, and the
target's own seed noise. A question the table cannot answer raises FitError with a name; a
doubtful answer carries cautions.

Laws (`fits.uncertainty.members`): one in compute whose slope may drift, with and without a floor,
on the runs that differ from the target in compute alone; Chinchilla's with a misfit that may drift,
or one in sizes and sparsity, on all runs, where those vary apart. A law's weight is the inverse of
its variance at the farthest target. Targets of unlike recipe (tokens per parameter, experts) are
forecast apart.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fits.naive import last_rung, last_two_rungs
from fits.observations import FitError, Matrix, Points, Vector, numbers
from fits.screens import Epochs
from fits.shape import frontier
from fits.uncertainty.members import fit_members
from fits.uncertainty.mixture import (
    by_law,
    heaviest,
    law_constants,
    law_weights,
    predictive,
)
from fits.uncertainty.quantiles import LEVELS, quantile_table
from fits.uncertainty.sizes import DriftingSizes
from fits.uncertainty.surface import Surface
from fits.usable import kinds, nothing_left, usable_runs

DRAWS = 2000  # draws of the predictive distribution
CURVE_POINTS = 41
TOO_FAR = "extrapolation_too_far"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Quantiles for each target, and all that a reader needs to doubt them."""

    table: pd.DataFrame  # a row per target: flops, median, lo50 … hi95; NaN for one refused
    weights: dict[str, float]  # by law
    constants: dict[str, dict[str, float]]  # by law, median over refits
    cautions: tuple[str, ...]
    curve: pd.DataFrame  # flops, median, lo50, hi50, lo90, hi90 from the smallest run on
    naive: dict[str, float | None]  # last_rung, last_two_rungs at the first target
    runs_used: tuple[str, ...]
    left_out: pd.DataFrame  # run_id, reason
    backtest: pd.DataFrame  # of the first target answered and those of its kind
    largest_flops: float
    draws: Matrix  # (draws, targets), nats per token
    curve_draws: Matrix  # (draws, points)


def forecast(runs: pd.DataFrame, targets: pd.DataFrame, *, seed: int = 0) -> Forecast:
    """Forecast of `loss` for every row of `targets`.

    `runs` needs `flops` and `loss`; `n_active`, `tokens`, `run_id`, `weight` and the columns of
    `fits.screens` are used where present. `targets` needs `flops`. Raises ValueError naming the
    row for a value that is no positive number, FitError with a name where no forecast is due for
    any target; where some are refused, their rows are NaN and a caution names the refusal.
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
    found: list[tuple[list[int], Forecast]] = []
    refused: list[tuple[list[int], FitError]] = []
    asked = kinds(targets)
    while asked:
        rows, at = asked.pop(0)
        try:
            one = _one_kind(runs, at, loss, seed, grid, max_epochs, draws, backtest=not found)
            found.append((rows, one))
        except FitError as error:
            if error.name == TOO_FAR and len(rows) > 1:  # the nearer ones may be within reach
                order = np.argsort(at.flops)
                parts = (order[:-1], order[-1:])
                asked += [([rows[i] for i in part], at.take(part)) for part in parts]
            else:
                refused.append((rows, error))
    if not found:
        raise refused[0][1]
    if len(found) + len(refused) == 1:
        return found[0][1]
    return _joined(found, refused, numbers(targets, "flops"))


def _one_kind(
    runs: pd.DataFrame, at: Points, loss: str, seed: int, grid: Vector | None,
    max_epochs: Epochs, draws: int, *, backtest: bool,
) -> Forecast:  # fmt: skip
    """The forecast of targets that differ in compute alone."""
    usable = usable_runs(runs, loss, at, max_epochs)
    ladder, left_out = usable.ladder, usable.left_out
    try:
        members = fit_members(ladder, usable.every, at, seed, backtest=backtest)
    except FitError as error:
        if error.name == "too_few_runs" and not ladder.flops.size:
            raise nothing_left(left_out) from error
        raise FitError(error.name, str(error), left_out) from error
    weights = law_weights(members.laws, at, seed)
    seen = ladder if heaviest(weights) == "power" else frontier(usable.every)
    if grid is None:
        top = max(float(at.flops.max()), float(seen.flops.max()))
        grid = np.geomspace(seen.flops.min(), top, CURVE_POINTS)
    rng = np.random.default_rng([seed, 7])
    drawn, on_curve = predictive(members.laws, weights, at, grid, members.noise, rng, draws)
    used = set(ladder.run_id if "power" in members.laws else ())
    for law in members.laws.values():
        used |= set(law.run_id if isinstance(law, DriftingSizes | Surface) else ())
    return Forecast(
        table=quantile_table(drawn, at.flops), weights=by_law(members.laws, weights),
        constants=law_constants(members.laws),
        cautions=(*usable.cautions, *members.cautions),
        curve=quantile_table(on_curve, grid).drop(columns=["lo95", "hi95"]),
        naive={
            "last_rung": last_rung(seen),
            "last_two_rungs": last_two_rungs(seen, float(at.flops[0])),
        },
        runs_used=tuple(sorted(used)), left_out=left_out[~left_out["run_id"].isin(used)],
        backtest=members.backtest, largest_flops=float(seen.flops.max()), draws=drawn,
        curve_draws=on_curve,
    )  # fmt: skip


def _joined(
    found: list[tuple[list[int], Forecast]],
    refused: list[tuple[list[int], FitError]],
    flops: Vector,
) -> Forecast:
    """Forecasts of unlike targets in the targets' order; curve and laws are the first one's."""
    first = found[0][1]
    draws = np.full((len(first.draws), flops.size), np.nan)
    table = pd.DataFrame({"flops": flops} | {name: np.nan for name in LEVELS})
    for rows, one in found:
        draws[:, rows] = one.draws
        table.iloc[rows] = one.table[table.columns].to_numpy()
    used = {run for _, one in found for run in one.runs_used}
    left_out = pd.concat([one.left_out for _, one in found]).drop_duplicates()
    cautions = dict.fromkeys(note for _, one in found for note in one.cautions)
    for rows, error in refused:
        named = ", ".join(str(i) for i in rows)
        cautions[f"target {named} (from 0) refused ({error.name}): {error}"] = None
    return replace(
        first, table=table, draws=draws, cautions=tuple(cautions),
        runs_used=tuple(sorted(used)), left_out=left_out[~left_out["run_id"].isin(used)],
    )  # fmt: skip
