"""Which runs of a table a forecast may use, for one kind of target."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fits.observations import (
    FitError,
    Observations,
    Points,
    numbers,
    observe,
    points,
    run_names,
    without_duplicates,
)
from fits.screens import Epochs, screen
from fits.shape import frontier

SAME_RATIO = float(np.log(1.5))
ODD_COMPUTE = np.log(1.5)  # compute per parameter and token this far beyond any run's is odd
IDENTITY = [
    "flops", "n_active", "tokens", "unique_tokens", "n_total", "n_experts", "seed", "run_id",
    "weight",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """What a forecast may use; the ladder is empty where no run is like the target."""

    ladder: Observations  # runs that differ from the target in compute alone
    every: Observations  # all sizes, for laws that see them
    left_out: pd.DataFrame  # run_id, reason
    cautions: tuple[str, ...] = field(default=())


def kinds(targets: pd.DataFrame) -> list[tuple[list[int], Points]]:
    """Targets by recipe, with their places: the same columns known, equal expert counts, and
    tokens per parameter within 1.5x of the kind's fewest. The order of rows does not matter."""
    sizes = ("n_active", "tokens", "n_total", "n_experts", "unique_tokens")
    known = targets[[c for c in sizes if c in targets.columns]].notna().to_numpy()
    numbers(targets, "flops")  # names the row of a bad compute
    each = [points(targets.iloc[[i]]) for i in range(len(targets))]
    groups: list[list[int]] = []
    for i in sorted(range(len(each)), key=lambda i: _log_ratio(each[i])):
        for rows in groups:
            if (known[rows[0]] == known[i]).all() and _same_recipe(each[rows[0]], each[i]):
                rows.append(i)
                break
        else:
            groups.append([i])
    ordered = sorted(sorted(rows) for rows in groups)
    return [(rows, points(targets.iloc[rows])) for rows in ordered]


def _log_ratio(one: Points) -> float:
    """Log of a target's tokens per parameter; 0 where unknown."""
    return 0.0 if one.n is None else float(np.log(one.sizes()[1][0] / one.n[0]))


def _same_recipe(one: Points, other: Points) -> bool:
    experts = [None if at.n_experts is None else float(at.n_experts[0]) for at in (one, other)]
    if experts[0] != experts[1]:
        return False
    if one.n is None or other.n is None:
        return True
    return abs(_log_ratio(one) - _log_ratio(other)) <= SAME_RATIO


def usable_runs(runs: pd.DataFrame, loss: str, at: Points, max_epochs: Epochs) -> Usable:
    """Sort the runs for targets of one kind.

    Raises ValueError for a table or row that is not what it promises, FitError where no run passes
    the screens, or too few are left after a change of regime.
    """
    if not len(runs):
        raise FitError("too_few_runs", "no run was given; at least 3 are needed")
    if loss not in runs.columns:
        raise ValueError(f"column {loss!r} is missing; the table has {sorted(runs.columns)}")
    unique, repeats = without_duplicates(runs, [*IDENTITY, loss])
    _check(unique, loss)
    ratio = None if at.n is None else float(np.median(at.sizes()[1] / at.n))
    screened = screen(
        unique, loss=loss, tokens_per_param=ratio, at_flops=float(np.median(at.flops)),
        max_epochs=max_epochs,
    )  # fmt: skip
    cautions = list(screened.cautions)
    if repeats:
        cautions.append(f"{repeats} exact duplicate row(s) were counted once")
    kept, unlike, notes = _like(screened.kept, at)
    sized, unsized = _sized(screened.grid, at)
    cautions += unsized
    sees_experts = (
        at.n_total is not None
        and "n_total" in sized.columns
        and bool(sized["n_total"].notna().all())
    )
    every = observe(sized if sees_experts else _like(sized, at)[0], loss=loss)
    cautions += notes
    cautions += _odd_compute(every, at)
    left_out = pd.concat([screened.left_out, unlike], ignore_index=True)
    if kept.empty and (at.n is None or every.flops.size == 0):
        raise nothing_left(left_out, "regime_change" if screened.regime else "all_screened")
    ladder = observe(kept, loss=loss)
    ladder = frontier(ladder) if ladder.flops.size else ladder
    if screened.regime and np.unique(ladder.budget).size < 3:
        raise FitError("regime_change", f"{screened.regime}; fewer than 3 budgets remain", left_out)
    return Usable(
        ladder=ladder, every=every, left_out=left_out, cautions=tuple(cautions)
    )  # fmt: skip


def _sized(table: pd.DataFrame, at: Points) -> tuple[pd.DataFrame, list[str]]:
    """The runs whose n_active and tokens are known, if any are, and what to say of the others."""
    if at.n is None or not {"n_active", "tokens"} <= set(table.columns):
        return table, []
    known = table[["n_active", "tokens"]].notna().all(axis=1)
    if known.all() or not known.any():
        return table, []
    names = ", ".join(run_names(table[~known])[:5])
    few = f"n_active or tokens is unknown for {int((~known).sum())} of {len(table)} runs ({names})"
    return table[known], [f"{few}: laws in sizes do without them"]


def _odd_compute(runs: Observations, at: Points) -> list[str]:
    """What to say where the target's compute and sizes are not related as the runs' are."""
    if runs.n is None or at.n is None or not runs.flops.size:
        return []
    own, theirs = (np.log(p.flops / np.prod(p.sizes(), axis=0)) for p in (at, runs))
    far = own[np.argmax(np.abs(own - np.median(theirs)))]
    low, high = theirs.min() - ODD_COMPUTE, theirs.max() + ODD_COMPUTE
    if low <= far <= high:
        return []
    return [
        f"the target's flops are {np.exp(far):.3g} n_active * tokens, the runs' are "
        f"{np.exp(theirs.min()):.3g} to {np.exp(theirs.max()):.3g}: check the target's numbers"
    ]


def nothing_left(left_out: pd.DataFrame, name: str = "all_screened") -> FitError:
    """The refusal of a table of which no run is like the target, with the commonest reason."""
    reasons: list[str] = left_out["reason"].value_counts().index.tolist()
    why = f"; most often: {reasons[0]}" if reasons else ""
    return FitError(name, f"no run passes the screens{why}", left_out)


def _check(table: pd.DataFrame, loss: str) -> None:
    """ValueError for a finished, measured run whose compute or loss is no positive number."""
    gate = "status" in table.columns
    rows = table[table["status"] == "finished"] if gate else table
    rows = rows[rows[loss].notna()] if gate else rows
    numbers(rows, "flops")
    numbers(rows, loss)


def _like(table: pd.DataFrame, at: Points) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The runs with the targets' number of experts, those without it, and what to say."""
    nothing = pd.DataFrame(columns=["run_id", "reason"])
    if "n_experts" not in table.columns or table["n_experts"].isna().all():
        strange = at.n_experts is not None and at.n_experts[0] != 1
        note = "the target has experts and the runs do not say how many they have"
        return table, nothing, [note] if strange else []
    counts = pd.to_numeric(table["n_experts"], errors="coerce")
    if at.n_experts is None:
        varied = counts.nunique(dropna=False) > 1
        note = "runs differ in n_experts and the target does not say its own"
        return table, nothing, [note] if varied else []
    same = np.asarray(counts == at.n_experts[0])
    reason = f"n_experts is not the target's {at.n_experts[0]:g}"
    names = [name for name, kept in zip(run_names(table), same, strict=True) if not kept]
    return table[same], pd.DataFrame({"run_id": names, "reason": reason}), []
