"""The headline loss from its parts, and under other ways of counting compute.

Rule. Each part is forecast on its own (a sum of power laws is no power law). The headline is their
weighted mean, quantile by quantile (`uncertainty.quantiles`). A part that refuses, and carries
at most a quarter of the weighted loss at the largest rung, enters as what is certain of it: it lies
somewhere between 0 and its loss at the last rung. If refused parts carry more, the headline refuses
by the same name: a total cannot be surer than the part that moves it. Only where the parts do not
add up to the headline (one was never measured, or the weights are others) is its own column fitted,
from the runs that every heavy part keeps.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from fits.forecast import Forecast, forecast_column
from fits.observations import FitError, Matrix, Vector, budgets, run_names
from fits.predictions.estimate import Estimate, band_rows, named_rows, plain, refusal
from fits.screens import Epochs
from fits.uncertainty.quantiles import comonotone, quantile_table

REFUSED_SHARE = 0.25
CONVENTION_DRAWS = 400


def to_estimate(found: Forecast) -> Estimate:
    """A forecast's first target as an estimate."""
    row = plain(found.table.iloc[0].drop("flops"))
    return Estimate(
        median=row["median"], lo50=row["lo50"], hi50=row["hi50"], lo90=row["lo90"],
        hi90=row["hi90"], weights=found.weights, constants=found.constants,
        cautions=found.cautions, naive=found.naive, band=band_rows(found.curve),
        runs_used=found.runs_used, left_out=named_rows(found.left_out),
    )  # fmt: skip


def part_shares(runs: pd.DataFrame, loss_weights: dict[str, float]) -> dict[str, float]:
    """Share of each part in the weighted loss of the largest run that measured all parts."""
    columns = [f"loss_{part}" for part in loss_weights]
    measured = runs.dropna(subset=columns)
    if measured.empty:
        total = sum(loss_weights.values())
        return {part: weight / total for part, weight in loss_weights.items()}
    largest = measured.iloc[int(measured["flops"].astype(float).to_numpy().argmax())]
    value = {p: w * float(largest[f"loss_{p}"]) for p, w in loss_weights.items()}
    return {part: v / sum(value.values()) for part, v in value.items()}


def usable_weights(runs: pd.DataFrame, loss_weights: dict[str, float]) -> dict[str, float]:
    """Parts of positive weight that the table measured at least once."""
    return {
        part: weight
        for part, weight in loss_weights.items()
        if weight > 0 and f"loss_{part}" in runs.columns and runs[f"loss_{part}"].notna().any()
    }


def predict_loss(
    runs: pd.DataFrame,
    targets: pd.DataFrame,
    loss_weights: dict[str, float],
    *,
    grid: Vector,
    seed: int,
    max_epochs: Epochs,
    draws: int,
) -> tuple[Estimate, dict[str, Estimate]]:
    """Headline and parts; refusals are recorded, never raised."""
    found: dict[str, Forecast] = {}
    parts: dict[str, Estimate] = {}
    weights = usable_weights(runs, loss_weights)
    for part in weights:
        try:
            found[part] = forecast_column(
                runs, targets, loss=f"loss_{part}", seed=seed, grid=grid,
                max_epochs=max_epochs, draws=draws,
            )  # fmt: skip
            parts[part] = to_estimate(found[part])
        except FitError as error:
            parts[part] = refusal(error)
    missing = [p for p in loss_weights if p not in weights and loss_weights[p] > 0]
    for part in missing:
        name = "not_measured" if len(runs) else "too_few_runs"
        parts[part] = refusal(FitError(name, f"no run small enough measured loss_{part}"))
    shares = part_shares(runs, weights) if weights else {}
    refused = {p: shares[p] for p in weights if p not in found}
    if sum(refused.values()) > REFUSED_SHARE:
        worst = max(refused, key=lambda p: refused[p])
        reason = f"{worst} carries {shares[worst]:.0%} of the loss and is refused: "
        whole = FitError(parts[worst].refused or "refused", reason + (parts[worst].reason or ""))
        return refusal(whole), parts
    heavy = {part: found[part].left_out for part in found if shares[part] > REFUSED_SHARE}
    kept, gone = _without_left_out(runs, heavy)
    try:
        direct = forecast_column(
            kept, targets, loss="loss", seed=seed, grid=grid, max_epochs=max_epochs, draws=draws
        )
    except FitError as error:
        return refusal(error), parts
    direct = replace(direct, left_out=pd.concat([gone, direct.left_out], ignore_index=True))
    if not weights or missing or not _is_mean_of_parts(runs, weights):
        return _direct(direct, missing, bool(weights)), parts
    at = float(targets["flops"].iloc[0])
    bounds = {part: bounded_draws(runs, part, at, grid, draws) for part in refused}
    return _combined(found, bounds, weights, direct, grid), parts


def bounded_draws(
    runs: pd.DataFrame, part: str, flops: float, grid: Vector, draws: int
) -> tuple[Matrix, Matrix]:
    """A part without a law, at the target (draws, 1) and along the curve (draws, points).

    Uniform from 0 to the mean loss of the largest budget, which a larger run should not exceed;
    along the curve the lower end falls evenly in log compute. At measured budgets, their means.
    """
    measured = runs[["flops", f"loss_{part}"]].dropna().astype(float)
    means = measured.groupby(budgets(measured["flops"].to_numpy())).mean().sort_values("flops")
    known, losses = np.log(means["flops"].to_numpy()), means[f"loss_{part}"].to_numpy()
    share = (np.arange(draws)[:, None] + 0.5) / draws
    beyond = np.clip((np.log(grid) - known[-1]) / max(np.log(flops) - known[-1], 1e-9), 0, 1)
    on_curve = np.interp(np.log(grid), known, losses) * (1 - beyond * (1 - share))
    return losses[-1] * share, on_curve


def _without_left_out(
    runs: pd.DataFrame, heavy: dict[str, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs that every heavy part keeps, and (run_id, reason) of the others."""
    rows = [gone.assign(reason=part + ": " + gone["reason"]) for part, gone in heavy.items()]
    if "run_id" not in runs.columns or not rows:
        return runs, pd.DataFrame(columns=["run_id", "reason"])
    gone = pd.concat(rows, ignore_index=True).drop_duplicates("run_id")
    named, out = run_names(runs), set(gone["run_id"])
    return runs[[name not in out for name in named]], gone[gone["run_id"].isin(named)]


def _direct(direct: Forecast, missing: list[str], had_parts: bool) -> Estimate:
    notes = list(direct.cautions)
    if missing:
        notes.append(f"parts never measured: {', '.join(missing)}; the headline is fitted directly")
    if had_parts and not missing:
        notes.append("the loss is not the weighted mean of its parts; it is fitted directly")
    return replace(to_estimate(direct), cautions=tuple(notes))


def _is_mean_of_parts(runs: pd.DataFrame, weights: dict[str, float]) -> bool:
    rows = runs.dropna(subset=["loss", *[f"loss_{p}" for p in weights]])
    total = sum(weights.values())
    mean = sum(w / total * rows[f"loss_{p}"].astype(float) for p, w in weights.items())
    return len(rows) > 0 and bool(np.allclose(rows["loss"].astype(float), mean, rtol=0.01))


def _combined(
    found: dict[str, Forecast],
    bounds: dict[str, tuple[Matrix, Matrix]],
    weights: dict[str, float],
    direct: Forecast,
    grid: Vector,
) -> Estimate:
    order, w = list(found), [weights[p] for p in (*found, *bounds)]
    draws = comonotone(
        [*(f.draws[:, :1] for f in found.values()), *(b[0] for b in bounds.values())], w
    )
    on_curve = comonotone(
        [*(f.curve_draws for f in found.values()), *(b[1] for b in bounds.values())], w
    )
    row = plain(quantile_table(draws, np.zeros(draws.shape[1])).iloc[0].drop("flops"))
    total = sum(weights[p] for p in order)
    laws = sorted({law for p in order for law in found[p].weights})
    mixed = {
        law: sum(weights[p] / total * found[p].weights.get(law, 0.0) for p in order) for law in laws
    }
    cautions = [f"{p}: {note}" for p in order for note in found[p].cautions]
    cautions += [
        f"{p} refused; it enters as anything from 0 to its loss at the last rung" for p in bounds
    ]
    alone = float(direct.table["median"].iloc[0])
    if not row["lo50"] <= alone <= row["hi50"]:
        cautions.append(
            f"fitted directly the loss would be {alone:.4g}, outside the 50 % interval of its parts"
        )
    used = sorted({r for p in order for r in found[p].runs_used})
    gone = pd.concat([found[p].left_out for p in order]).drop_duplicates()
    return Estimate(
        median=row["median"], lo50=row["lo50"], hi50=row["hi50"], lo90=row["lo90"],
        hi90=row["hi90"], weights=mixed,
        constants={f"{p}.{law}": c for p in order for law, c in found[p].constants.items()},
        cautions=tuple(cautions), naive=direct.naive,
        band=band_rows(quantile_table(on_curve, grid)), runs_used=tuple(used),
        left_out=named_rows(gone[~gone["run_id"].astype(str).isin(used)]),
    )  # fmt: skip


def recounted(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Compute of every row under each convention whose columns the table has."""
    have = set(table.columns)
    ways: dict[str, pd.Series] = {"flops": table["flops"]}
    if "flops_6nd" in have:
        ways["flops_6nd"] = table["flops_6nd"]
    if {"n_active", "n_unembedding", "tokens"} <= have:
        body = table["n_active"] - table["n_unembedding"]
        ways["without_unembedding"] = 6 * body * table["tokens"]
    if {"n_total", "tokens"} <= have:
        ways["n_total"] = 6 * table["n_total"] * table["tokens"]
    return ways


def conventions(
    runs: pd.DataFrame,
    target: pd.DataFrame,
    loss_weights: dict[str, float],
    *,
    seed: int,
    max_epochs: Epochs,
) -> dict[str, float]:
    """Median headline under each other counting of compute that runs and target both allow."""
    of_runs, of_target = recounted(runs), recounted(target)
    medians: dict[str, float] = {}
    for way in [w for w in of_runs if w in of_target and w != "flops"]:
        counted, wanted = of_runs[way].astype(float), of_target[way].astype(float)
        if not (counted > 0).all() or not (wanted > 0).all():
            continue
        grid: Vector = np.array([float(wanted.iloc[0])])
        loss, _ = predict_loss(
            runs.assign(flops=counted), target.assign(flops=wanted), loss_weights,
            grid=grid, seed=seed, max_epochs=max_epochs, draws=CONVENTION_DRAWS,
        )  # fmt: skip
        if loss.median is not None:
            medians[way] = loss.median
    return medians
