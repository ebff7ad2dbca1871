"""One law on a table: its constants, their intervals, and what was left out.

For `workbench fit`: the joint between a checked table and `fits`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fits.estimators.catalogue import Fitter, lookup
from fits.observations import FitError, Observations, budget_means, observe, run_names
from fits.screens import Screened, screen
from fits.shape import frontier
from fits.uncertainty.bootstrap import FEW_CLUSTERS, intervals
from fits.uncertainty.profile import profiles
from workbench.errors import InputError
from workbench.importers import Imported, import_table

SCHEMA = 1
Law = Literal[
    "power", "power_floor", "broken", "chinchilla", "tied", "kaplan", "coupled",
    "chinchilla_total", "experts", "sparse", "sparse_fixed_tokens", "repeated",
]  # fmt: skip
AUTO: Literal["auto"] = "auto"  # power_floor where the runs can show a floor, else power
FLOOR_BUDGETS, FLOOR_DECADES = 5, 1.5
FLOOR_NEEDS = "a free floor needs five budgets over 1.5 decades"


@dataclass(frozen=True, slots=True, kw_only=True)
class LawFit:
    """What `workbench fit` prints; reproducible to the bit from the table and the seed."""

    schema: int
    law: str  # as asked for, or as chosen
    estimator: str  # its repr: the provenance of the constants
    loss: str  # the column
    floor: float | None  # nats per token where it was pinned by name
    constants: dict[str, float]
    objective: float
    starts: int
    starts_agreeing: int
    intervals: dict[str, dict[str, Any]]  # by constant: sd, lo90, hi90, lo95, hi95 of refits
    profiles: dict[str, dict[str, Any]]  # by constant: lo90, hi90, lo95, hi95, the open sides
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


def fit_law(
    path: Path,
    *,
    law: Law | Literal["auto"],
    part: str | None,
    draws: int,
    seed: int = 0,
    floor: float | None = None,
    profiled: bool = False,
) -> LawFit:
    """One law with intervals from `draws` bootstrap refits (0 for none) and, if asked, profiles.

    `floor` pins the irreducible loss, in nats. Raises InputError for a table that cannot be read
    or a floor that cannot be, FitError where no estimate is due.
    """
    _check_floor(law, floor)
    imported = import_table(path)
    runs, cautions = ladder_rows(imported)
    column = loss_column(imported.table, part)
    screened = screen(runs, loss=column, max_epochs=np.inf if law == "repeated" else 1.0)
    obs = _seen(screened, column, in_compute=law == AUTO or lookup(law).in_compute)
    chosen, notes = _chosen(law, obs, floor)
    estimator = lookup(chosen).make(floor)
    fit = estimator.fit(obs)
    if draws and np.unique(obs.cluster).size < FEW_CLUSTERS:
        notes.append(
            f"fewer than {FEW_CLUSTERS} runs: intervals come from weighted runs and seed noise"
        )
    return LawFit(
        schema=SCHEMA,
        law=chosen,
        estimator=repr(estimator),
        loss=column,
        floor=floor,
        constants=fit.law.constants(),
        objective=fit.objective,
        starts=fit.starts,
        starts_agreeing=fit.starts_agreeing,
        intervals=_spread(estimator, obs, draws, seed),
        profiles=_rows(profiles(estimator, obs)) if profiled else {},
        bootstrap=draws,
        seed=seed,
        runs_used=obs.run_id,
        left_out=_left_out(runs, screened, obs, chosen),
        cautions=(*cautions, *screened.cautions, *notes, *fit.cautions),
        table_hash=table_hash(path),
    )


def _check_floor(law: str, floor: float | None) -> None:
    if floor is None:
        return
    if not (np.isfinite(floor) and floor >= 0):
        raise InputError(f"--floor {floor}: no loss", "give nats per token, at least 0")
    if law != AUTO and not lookup(law).has_floor:
        instead = ", or ask for --law power_floor" if law == "power" else ""
        what = f"the law {law} has no irreducible loss to pin"
        raise InputError(what, f"leave out --floor{instead}")


def _spread(
    estimator: Fitter, obs: Observations, draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    if not draws:
        return {}
    rng = np.random.default_rng(seed)
    return _rows(intervals(estimator, obs, draws=draws, rng=rng))


def _rows(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By constant; what is infinite has no number in JSON and becomes null."""
    rows = table.T.to_dict()
    return {
        str(name): {
            str(k): None if isinstance(v, float) and not np.isfinite(v) else v
            for k, v in row.items()
        }
        for name, row in rows.items()
    }


def _left_out(
    runs: pd.DataFrame, screened: Screened, obs: Observations, law: str
) -> tuple[dict[str, str], ...]:
    """Each run that the law was not fitted to, with the reason."""
    used = set(obs.run_id)
    left_out = [(str(r), str(why)) for r, why in screened.left_out.itertuples(index=False)]
    if not lookup(law).in_compute:
        left_out = [(run, why) for run, why in left_out if run not in used]
    rest = set(run_names(runs)) - used - {run for run, _ in left_out}
    left_out += [(run, "above the lower envelope at its compute") for run in sorted(rest)]
    return tuple({"run_id": run, "reason": why} for run, why in left_out)


def _seen(screened: Screened, column: str, *, in_compute: bool) -> Observations:
    """The runs that a law is fitted to: the best of each budget where it sees compute alone."""
    rows = screened.kept if in_compute else screened.grid
    if rows.empty:
        reasons = screened.left_out["reason"].value_counts()
        most = f"; most often: {reasons.index[0]}" if len(reasons) else ""
        raise FitError("all_screened", f"no run passes the screens{most}")
    obs = observe(rows, loss=column)
    return frontier(obs) if in_compute else obs


def _chosen(law: str, obs: Observations, floor: float | None) -> tuple[str, list[str]]:
    """The law that is fitted, and what must be said of that choice."""
    if law != AUTO:
        doubtful = law == "power_floor" and floor is None and not _shows_floor(obs)
        return law, [f"the floor is not to be trusted: {FLOOR_NEEDS}"] if doubtful else []
    chosen, why = "power", f"without a floor: {FLOOR_NEEDS}"
    if floor is not None:
        chosen, why = "power_floor", "with the floor that was given"
    elif _shows_floor(obs):
        chosen, why = "power_floor", "as the runs can show a floor"
    return chosen, [f"the law {chosen} was chosen, {why}; --law names another"]


def _shows_floor(obs: Observations) -> bool:
    """Whether budgets and span allow a free floor."""
    x = budget_means(obs)[0]
    return bool(x.size >= FLOOR_BUDGETS and x[-1] - x[0] >= FLOOR_DECADES)
