"""Which runs of a table a forecast may use, for one kind of target."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fits.observations import FitError, Observations, Points, numbers, observe, without_duplicates
from fits.screens import Epochs, screen
from fits.shape import frontier

SAME_RATIO = np.log(1.5)
IDENTITY = ["flops", "n_active", "tokens", "n_total", "n_experts", "seed", "run_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """What a forecast may use; the ladder is empty where no run is like the target."""

    ladder: Observations  # runs that differ from the target in compute alone
    every: Observations  # all sizes, for laws that see them
    left_out: pd.DataFrame  # run_id, reason
    cautions: tuple[str, ...] = field(default=())


def kinds(at: Points) -> list[list[int]]:
    """Targets by recipe: equal expert counts, tokens per parameter within 1.5x of the first."""
    ratio = np.zeros(at.flops.size) if at.n is None else np.log(at.sizes()[1] / at.n)
    experts = np.zeros(at.flops.size) if at.n_experts is None else at.n_experts
    groups: list[list[int]] = []
    for i in range(at.flops.size):
        for group in groups:
            first = group[0]
            if experts[first] == experts[i] and abs(ratio[first] - ratio[i]) <= SAME_RATIO:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


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
    screened = screen(unique, loss=loss, tokens_per_param=ratio, max_epochs=max_epochs)
    cautions = list(screened.cautions)
    if repeats:
        cautions.append(f"{repeats} exact duplicate row(s) were counted once")
    every = observe(screened.grid, loss=loss)
    kept, notes = _like(screened.kept, at)
    cautions += notes
    if kept.empty and (at.n is None or every.flops.size == 0):
        raise nothing_left(
            screened.left_out, "regime_change" if screened.regime else "all_screened"
        )
    ladder = observe(kept, loss=loss)
    ladder = frontier(ladder) if ladder.flops.size else ladder
    if screened.regime and np.unique(ladder.budget).size < 3:
        raise FitError(
            "regime_change", f"{screened.regime}; fewer than 3 budgets remain", screened.left_out
        )
    return Usable(
        ladder=ladder, every=every, left_out=screened.left_out, cautions=tuple(cautions)
    )  # fmt: skip


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


def _like(table: pd.DataFrame, at: Points) -> tuple[pd.DataFrame, list[str]]:
    """The runs with the targets' number of experts, where runs differ in it."""
    if "n_experts" not in table.columns or table["n_experts"].isna().any():
        return table, []
    counts = numbers(table, "n_experts")
    if np.unique(counts).size < 2:
        return table, []
    if at.n_experts is None:
        return table, ["runs differ in n_experts and the target does not say its own"]
    same = counts == at.n_experts[0]
    return table[same], []
