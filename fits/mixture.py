"""The mixture of laws behind a forecast: how they are weighed, drawn from and described."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fits.backtest import FormError, growth
from fits.bootstrap import SeedNoise
from fits.estimators import ChinchillaCurves, PowerCurves
from fits.observations import Matrix, Vector
from fits.search import Curves

REFITS = 200  # bootstrap refits of each law


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One law of the mixture: refits, form error, and how far it reaches."""

    name: str
    curves: Curves
    form: FormError
    span: float
    last: float  # log10 compute of the largest budget
    cap: float  # log loss there: more compute along one recipe does not make it worse


def law_weights(
    members: Sequence[Member], flops: Vector, n: Vector | None, tokens: Vector | None
) -> dict[str, float]:
    """Inverse variance of each law at the farthest target, normalised."""
    far = int(flops.argmax())
    at = slice(far, far + 1)
    precision = {}
    for m in members:
        sizes = (None, None) if n is None or tokens is None else (n[at], tokens[at])
        spread = float(m.curves.log_loss(flops[at], *sizes).std())
        form = m.form.scale * float(growth(float(np.log10(flops[far])) - m.last, m.span))
        precision[m.name] = 1 / (spread**2 + form**2 + 1e-8)
    total = sum(precision.values())
    return {name: value / total for name, value in precision.items()}


def predictive(
    members: Sequence[Member],
    weights: dict[str, float],
    target: tuple[Vector, Vector | None, Vector | None],
    grid: Vector,
    noise: SeedNoise,
    rng: np.random.Generator,
    draws: int,
) -> tuple[Matrix, Matrix]:
    """Draws of loss at the targets (own seed noise included) and of the law on the grid.

    Shocks are stratified (every quantile once, in random order), which keeps the quantiles of
    2,000 draws as steady as those of many more. Beyond the ladder a law in compute never rises
    above the last budget. The band shows the laws in compute; where Chinchilla stands alone, it
    keeps the target's tokens per parameter all the way.
    """
    edges = np.round(np.cumsum([0.0, *[weights[m.name] for m in members]]) * draws).astype(int)
    at, on = [], []
    in_compute = [m for m in members if m.name != "chinchilla"]
    for m, count in zip(members, np.diff(edges), strict=True):
        if count == 0:
            continue
        which = np.arange(count) % REFITS
        quantiles = (rng.permutation(count) + 0.5) / count
        shock = stats.t.ppf(quantiles, m.form.freedom) * m.form.scale
        seeds = stats.norm.ppf((rng.permutation(count) + 0.5) / count) * noise.sd
        flops, n, tokens = target
        far = growth(np.log10(flops) - m.last, m.span)
        line = m.curves.log_loss(flops, n, tokens)[which] + np.outer(shock, far)
        at.append(np.where(far > 0, np.minimum(line, m.cap), line) + seeds[:, None])
        shown = m if m.name != "chinchilla" or not in_compute else in_compute[0]
        far = growth(np.log10(grid) - shown.last, shown.span)
        line = shown.curves.log_loss(grid, *_sizes_on(grid, target, shown))[which]
        line = line + np.outer(shock, far)
        on.append(np.where(far > 0, np.minimum(line, shown.cap), line))
    return np.exp(np.concatenate(at)), np.exp(np.concatenate(on))


def _sizes_on(
    grid: Vector, target: tuple[Vector, Vector | None, Vector | None], member: Member
) -> tuple[Vector | None, Vector | None]:
    flops, n, tokens = target
    if member.name != "chinchilla" or n is None or tokens is None:
        return None, None
    scale = np.sqrt(grid / flops[0])  # the target's tokens per parameter, kept on the way
    return n[0] * scale, tokens[0] * scale


def law_constants(members: Sequence[Member]) -> dict[str, dict[str, float]]:
    """Median constants over the refits of each law that has named constants."""
    found: dict[str, dict[str, float]] = {}
    for m in members:
        if isinstance(m.curves, PowerCurves | ChinchillaCurves):
            rows = pd.DataFrame([m.curves.law(i).constants() for i in range(0, REFITS, 4)])
            found[m.name] = {str(k): float(v) for k, v in rows.median().items()}
        found.setdefault(m.name, {})
        found[m.name]["form_error_scale"] = m.form.scale
    return found
