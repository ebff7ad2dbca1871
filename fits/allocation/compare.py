"""Compute-optimal n and tokens by all three approaches of Hoffmann et al. 2022, side by side.

`allocate(runs, flops, rng=rng)` is the entry. The approaches rest on different evidence (the
lowest run at each compute, a parabola at each compute, a law in n and tokens), so how far they
disagree is a better measure of doubt than any one interval, which holds the noise of runs alone.

What an exponent from such a table is known to depend on: whether the unembedding's FLOPs and
parameters are counted, warm-up that is long for the small runs, a learning-rate decay that does
not end with the run, and batch and learning rate not tuned by size (Porian et al. 2024,
arXiv:2406.19146, from .73 to .50 by mending these). None of that shows in the table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.allocation.cost import Cost, cost_of
from fits.allocation.envelope import envelope
from fits.allocation.isoflop import isoflop
from fits.allocation.parametric import parametric
from fits.allocation.path import Found, Path, trace
from fits.allocation.slices import Slices, cut, last_rows
from fits.observations import FitError, Observations, Vector, observe
from fits.shape import times

APPROACHES = ("envelope", "isoflop", "parametric")
CURVE_POINTS = 33
FAR = 10.0  # beyond the largest run by more than this the form of the path is a caution
APART = 1.5  # ratio of largest to smallest n that is worth a word
UNEVEN_COST = 0.05  # sd of log FLOPs per token about the cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why an approach gives no path."""

    approach: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The paths, and how far they disagree."""

    paths: tuple[Path, ...]
    refused: tuple[Refusal, ...]
    cost: Cost
    at: pd.DataFrame  # flops, ratio (largest n over smallest), overlap (of all 90 % intervals)
    slices: pd.DataFrame  # flops, n, loss of runs at common compute; empty where there are none
    runs: int
    largest_flops: float
    cautions: tuple[str, ...]

    def path(self, approach: str) -> Path:
        """The path of one approach; FitError with the name of its refusal."""
        for path in self.paths:
            if path.approach == approach:
                return path
        for refusal in self.refused:
            if refusal.approach == approach:
                raise FitError(refusal.name, refusal.reason)
        raise ValueError(f"approach is {approach!r}; it must be one of {', '.join(APPROACHES)}")


def allocate(
    runs: pd.DataFrame,
    flops: Sequence[float],
    *,
    loss: str = "loss",
    draws: int = 400,
    rng: np.random.Generator,
) -> Comparison:
    """Optimal n and tokens at each of `flops`, with 90 % intervals from `draws` bootstraps.

    Raises ValueError for bad data or a compute that is no positive number, FitError if every
    approach refuses: `one_compute_level`, `too_few_sizes`, `no_minimum_inside`, `one_line`,
    `too_few_runs` or `no_sizes`.
    """
    wrong = [value for value in flops if not (np.isfinite(value) and value > 0)]
    if wrong or not len(flops):
        raise ValueError(f"flops is {wrong or list(flops)}; at least one finite number above 0")
    obs = observe(runs, loss=loss)
    if not obs.flops.size:
        raise FitError("too_few_runs", "the table holds no run")
    cost = cost_of(obs)
    log_c = np.log(np.asarray(flops, dtype=np.float64))
    low, high = float(np.log(obs.flops.min())), float(np.log(obs.flops.max()))
    grid = np.linspace(min(low, log_c.min()), max(high, log_c.max()), CURVE_POINTS)
    at = np.concatenate([log_c, np.unique(np.concatenate([grid, [low, high]]))])
    ends = (
        int(log_c.size + np.searchsorted(at[log_c.size :], low)),
        int(log_c.size + np.searchsorted(at[log_c.size :], high)),
    )
    slices, found, refused = _approaches(obs, cost, at, draws, rng)
    paths = tuple(trace(name, item, cost, at, log_c.size, ends) for name, item in found.items())
    if not paths:
        every = "; ".join(f"{item.approach}: {item.name}, {item.reason}" for item in refused)
        raise FitError(refused[0].name if refused else "no_path", every)
    table = disagreement(paths, np.asarray(flops, dtype=np.float64))
    return Comparison(
        paths=paths,
        refused=refused,
        cost=cost,
        at=table,
        slices=slices.table() if slices else pd.DataFrame(columns=["flops", "n", "loss"]),
        runs=int(np.unique(obs.cluster).size),
        largest_flops=float(obs.flops.max()),
        cautions=_cautions(obs, cost, slices, table),
    )


def _approaches(
    obs: Observations, cost: Cost, at: Vector, draws: int, rng: np.random.Generator
) -> tuple[Slices | None, dict[str, Found], tuple[Refusal, ...]]:
    """What each approach finds, or why it refuses; each has its own stream of random numbers."""
    streams = dict(zip(APPROACHES, rng.spawn(len(APPROACHES)), strict=True))
    found: dict[str, Found] = {}
    refused: list[Refusal] = []

    def attempt(name: str, work: Callable[[np.random.Generator], Found]) -> None:
        try:
            found[name] = work(streams[name])
        except FitError as error:
            refused.append(Refusal(approach=name, name=error.name, reason=str(error)))

    slices: Slices | None = None
    try:
        slices = cut(obs)
    except FitError as error:
        refused += [
            Refusal(approach=name, name=error.name, reason=str(error)) for name in APPROACHES[:2]
        ]
    if slices is not None:
        sliced = slices
        attempt("envelope", lambda own: envelope(sliced, at, draws=draws, rng=own))
        attempt("isoflop", lambda own: isoflop(sliced, at, draws=draws, rng=own))
    attempt("parametric", lambda own: parametric(last_rows(obs), cost, at, draws=draws, rng=own))
    return slices, found, tuple(refused)


def disagreement(paths: Sequence[Path], flops: Vector) -> pd.DataFrame:
    """A row per compute: ratio of the largest to the smallest n, and whether intervals overlap.

    Intervals overlap when one n lies in all of them; empty with one path or without draws.
    """
    n, low, high = (
        np.stack([path.at[column].to_numpy() for path in paths])
        for column in ("n", "n_lo90", "n_hi90")
    )
    overlap: list[bool | None] = [None] * flops.size
    if len(paths) > 1 and np.isfinite(low).all():
        overlap = [bool(value) for value in low.max(axis=0) <= high.min(axis=0)]
    ratio = n.max(axis=0) / n.min(axis=0) if len(paths) > 1 else np.full(flops.size, np.nan)
    return pd.DataFrame(
        {"flops": flops, "ratio": ratio, "overlap": pd.Series(overlap, dtype=object)}
    )


def _cautions(
    obs: Observations, cost: Cost, slices: Slices | None, table: pd.DataFrame
) -> tuple[str, ...]:
    notes = []
    for flops, ratio, overlap in table.itertuples(index=False):
        if ratio > APART:
            also = "" if overlap in (True, None) else ", and their 90 % intervals do not meet"
            notes.append(f"at {flops:.3g} FLOPs the approaches differ {ratio:.3g}x in n{also}")
    far = float(table["flops"].max() / obs.flops.max())
    if far > FAR:
        notes.append(
            f"{table['flops'].max():.3g} FLOPs are {times(np.log10(far))} beyond the largest "
            "run: intervals hold the noise of runs, not a bend of the path"
        )
    if slices is not None and slices.curves:
        notes.append(
            "curves are cut before their end: under a decaying learning rate such losses are too "
            "high; the parametric approach takes last checkpoints alone"
        )
    if slices is not None and slices.between:
        notes.append(
            f"{slices.between} run(s) lie at no compute shared by three sizes; only the "
            "parametric approach uses them"
        )
    if cost.spread > UNEVEN_COST:
        notes.append(
            f"FLOPs per token scatter by {cost.spread:.0%} at equal n: runs of one context length "
            "and one way of counting are needed"
        )
    return tuple(notes)
