"""What may enter a fit, and the reason for each run that may not.

Tiny ladders bend where training was too short, a layer is missing, data repeats, or the model has
not yet left the bigram regime. Each screen reads the columns it needs and passes a run whose
columns are absent or empty: an outside table with only `flops` and `loss` loses nothing here.

| screen | columns | leaves out |
|---|---|---|
| finished | `status` | any status but `finished` |
| measured | the loss column | an empty loss |
| steps | `steps` | below 1,000 steps |
| annealed | `annealed` | a schedule cut short |
| depth | `layers` | fewer than 2 layers |
| epochs | `epochs_<source>` | above `max_epochs`, of any source or of that one |
| bigram | `bigram_<part>` | loss not below the bigram model of the same tokens |
| tokens per parameter | `n_active`, `tokens`, `role` | role grid, or off by more than 2x |
| (the same) | | no run, if else too few were left and one line in compute leads to the ratio |
| regime | `bigram_<part>`, `trigram_<part>` | near the bigram while larger runs pass the trigram |
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fits.observations import Vector, budgets, run_names
from fits.shape import MIN_BUDGETS

MIN_STEPS = 1000
MIN_LAYERS = 2
TOKEN_RATIO_FACTOR = 2.0
PATH_REACH = 10.0  # a target further off the runs' tokens per parameter is not theirs to tell
PATH_SCATTER = 0.2  # of log tokens per parameter about one line in log compute
UNEMBEDDING_SHARE = 0.5
NEAR_BIGRAM = 0.25  # of the way from the bigram to the trigram loss

EPOCH_SLACK = 1.001  # whole batches overshoot a limit by a little

Mask = npt.NDArray[np.bool_]
Epochs = float | Mapping[str, float]  # one limit, or one by source (1 for a source not named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What is left to fit; `regime` is set if a change of regime took runs out."""

    kept: pd.DataFrame
    grid: pd.DataFrame  # kept, and the runs whose only fault is tokens per parameter
    left_out: pd.DataFrame  # columns run_id, reason
    cautions: tuple[str, ...]
    regime: str | None


def _column(table: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """The column as floats, NaN where absent, empty or not a number."""
    if name not in table.columns:
        return np.full(len(table), np.nan)
    values = pd.to_numeric(table[name].map(lambda v: float(v) if isinstance(v, bool) else v),
                           errors="coerce")  # fmt: skip
    return np.asarray(values, dtype=np.float64)


def _basic(table: pd.DataFrame, loss: str, max_epochs: Epochs) -> list[tuple[Mask, str]]:
    value = _column(table, loss)
    faults: list[tuple[Mask, str]] = []
    if "status" in table.columns:
        status = table["status"].astype(str).to_numpy()
        faults += [
            (np.array([s == name for s in status]), f"status is {name}")
            for name in sorted(set(status) - {"finished"})
        ]
    if loss in table.columns:
        faults.append((np.asarray(table[loss].isna()), f"{loss} was not measured"))
    faults.append((_column(table, "steps") < MIN_STEPS, f"fewer than {MIN_STEPS} steps"))
    faults.append((_column(table, "annealed") == 0, "not fully annealed"))
    faults.append((_column(table, "layers") < MIN_LAYERS, f"fewer than {MIN_LAYERS} layers"))
    for name in [c for c in table.columns if str(c).startswith("epochs_")]:
        source = str(name).removeprefix("epochs_")
        most = max_epochs.get(source, 1.0) if isinstance(max_epochs, Mapping) else max_epochs
        over = _column(table, name) > most * EPOCH_SLACK
        faults.append((over, f"more than {most:g} epoch(s) of {source}"))
    part = loss.removeprefix("loss_")
    bigram = _column(table, f"bigram_{part}")
    faults.append((value >= bigram, f"{loss} not below the bigram model on the same tokens"))
    return faults


def _off_ladder(table: pd.DataFrame) -> Mask:
    """Runs that were planned off the nominal tokens per parameter."""
    if "role" not in table.columns:
        return np.zeros(len(table), dtype=bool)
    return np.array([role == "grid" for role in table["role"]], dtype=bool)


def _token_ratio(
    table: pd.DataFrame, nominal: float | None, clean: Mask, at_flops: float | None
) -> tuple[Mask, str, str | None]:
    """Runs off the nominal ratio, the reason, and a caution where one line must do instead."""
    ratio = _column(table, "tokens") / _column(table, "n_active")
    known = clean & np.isfinite(ratio)
    if nominal is None:
        nominal = float(np.median(ratio[known])) if known.any() else np.nan
    caution = None
    off = np.abs(np.log(ratio / nominal)) > np.log(TOKEN_RATIO_FACTOR) + 1e-9
    flops = _column(table, "flops")
    left = budgets(flops[known & ~off])
    if np.unique(left).size < MIN_BUDGETS and known.any():
        end = np.log(flops[known].max() if at_flops is None else at_flops)
        met = _path_at(np.log(flops[known]), np.log(ratio[known]), end)
        away = float(np.exp(abs(met - np.log(nominal))))
        if away <= PATH_REACH:
            off = np.zeros(len(table), dtype=bool)
        if TOKEN_RATIO_FACTOR < away <= PATH_REACH:
            caution = (
                f"the target's {nominal:.3g} tokens per parameter lie {away:.2g}x off the line "
                "that all runs follow: the answer is for that line"
            )
    return off, f"tokens per parameter more than 2x off {nominal:.3g}", caution


def _path_at(log_flops: Vector, log_ratio: Vector, end: float) -> float:
    """Log tokens per parameter at log compute `end`, where runs lie on one line; else infinite."""
    if log_flops.size < MIN_BUDGETS or np.ptp(log_flops) < np.log(2):
        return np.inf
    line = np.polynomial.Polynomial.fit(log_flops, log_ratio, 1)
    on_line = np.std(log_ratio - line(log_flops)) < PATH_SCATTER
    return float(line(end)) if on_line else np.inf


def _regime(table: pd.DataFrame, loss: str) -> Mask:
    """Runs still near the bigram model although larger ones are past the trigram model."""
    part = loss.removeprefix("loss_")
    bigram, trigram = _column(table, f"bigram_{part}"), _column(table, f"trigram_{part}")
    gap = np.where(bigram > trigram, bigram - trigram, np.nan)
    position = (bigram - _column(table, loss)) / gap
    flops = _column(table, "flops")
    past = flops[position > 1]
    if past.size == 0:
        return np.zeros(len(table), dtype=bool)
    return np.asarray((position < NEAR_BIGRAM) & (flops < past.max()))


def screen(
    table: pd.DataFrame,
    *,
    loss: str = "loss",
    tokens_per_param: float | None = None,
    at_flops: float | None = None,
    max_epochs: Epochs = 1.0,
) -> Screened:
    """Sort runs into kept and left out; the nominal ratio is the median unless given.

    `at_flops` is the target's compute, to tell whether the runs' path leads to its ratio.
    """
    names = np.array(run_names(table), dtype=object)
    reasons: list[list[str]] = [[] for _ in names]
    for mask, reason in _basic(table, loss, max_epochs):
        for i in np.flatnonzero(mask):
            reasons[i].append(reason)
    clean = np.array([not r for r in reasons], dtype=bool)
    changed = clean & _regime(table, loss)
    for i in np.flatnonzero(changed):
        reasons[i].append("change of regime: near the bigram while larger runs pass the trigram")
    regime = None
    if changed.any():
        regime = f"{int(changed.sum())} run(s) near the bigram model, larger ones past the trigram"
    grid = np.array([not r for r in reasons], dtype=bool)
    planned_off = _off_ladder(table)
    off, reason, doubt = _token_ratio(table, tokens_per_param, grid & ~planned_off, at_flops)
    for i in np.flatnonzero(off | planned_off):
        planned = "role is grid: off the nominal tokens per parameter"
        reasons[i].append(planned if planned_off[i] else reason)
    kept = np.array([not r for r in reasons], dtype=bool)
    rows = [{"run_id": n, "reason": "; ".join(r)} for n, r in zip(names, reasons, strict=True) if r]
    cautions = [] if doubt is None else [doubt]
    if regime is not None:
        cautions.append(f"change of regime in {loss}: {regime}; they were left out")
    heavy = int((_column(table, "unembedding_share")[kept] > UNEMBEDDING_SHARE).sum())
    if heavy:
        cautions.append(f"the unembedding is above half of the FLOPs in {heavy} of the runs used")
    return Screened(
        kept=table.loc[kept],
        grid=table.loc[grid],
        left_out=pd.DataFrame(rows, columns=["run_id", "reason"]),
        cautions=tuple(cautions),
        regime=regime,
    )
