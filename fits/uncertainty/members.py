"""Which laws enter a forecast: all that the runs can identify, each on the runs that suit it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.estimators.experts import SparseHuber, SparseSizeHuber
from fits.estimators.search import Estimator
from fits.estimators.sizes import ChinchillaHuber, TiedHuber, has_plane
from fits.observations import FitError, Matrix, Observations, Points
from fits.shape import bend, near_envelope, require_ladder, require_one_regime, shows_floor
from fits.uncertainty.backtest import PRIOR_SCALE, Predictor, leave_future_out
from fits.uncertainty.bootstrap import SeedNoise, seed_noise
from fits.uncertainty.drift import fit_drifting_power
from fits.uncertainty.mixture import Member
from fits.uncertainty.surface import fit_surface

BACKTEST_DRAWS = 100
SURFACE_RUNS = 8
SURFACE_SIZES = 4  # for a law in sizes alone, whose exponent and floor take three
SPARSE_TIMES = 2.5  # form error of laws of sparsity, whose floor and gain are hardly known
VARIED = np.log(1.3)  # spread of log sparsity from which runs count as differing in it
REGIME = ("regime_change", "not_decreasing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Fitted laws, what must be said of them, and their leave-future-out table."""

    laws: dict[str, Member]
    cautions: list[str]
    backtest: pd.DataFrame
    noise: SeedNoise


def fit_members(ladder: Observations, every: Observations, at: Points, seed: int) -> Members:
    """Every law the runs can identify, fitted and backtested; raises the named refusals.

    `ladder` are runs that differ from the targets in compute alone, `every` all that passed the
    screens, `at` the targets. A ladder that cannot carry a law leaves the question to laws in
    sizes; so does a change of regime in it, where no seeds tell it from the scatter of recipes and
    those laws have runs that the ladder has not.
    """
    target = float(at.flops.max())
    noise = seed_noise(ladder if ladder.flops.size else every)
    laws: dict[str, Member] = {}
    tests, cautions = [], []
    surfaces = list(candidates(every, at, noise))
    try:
        require_ladder(ladder, target)
        require_one_regime(ladder, noise)
        laws["power"] = fit_drifting_power(ladder, noise)
        tests.append(
            leave_future_out("power", drifting(noise), ladder, noise, minimum=2, seed=seed)
        )
        cautions += [curved] if (curved := bend(ladder, noise)) is not None else []
    except FitError as refusal:
        certain = noise.pairs > 0 or every.flops.size <= ladder.flops.size
        if not surfaces or (refusal.name in REGIME and certain):
            raise
        cautions.append(f"no law in compute alone: {refusal}")
    for name, estimator, obs in surfaces:
        try:
            require_ladder(obs, target)
            prior = PRIOR_SCALE * (SPARSE_TIMES if name.startswith("sparse") else 1.0)
            laws[name], test = fit_surface(name, estimator, obs, noise, target, seed, prior)
            tests.append(test)
        except FitError as refusal:
            if not laws and name == surfaces[-1][0]:
                raise
            cautions.append(f"no {name} law: {refusal}")
    if not surfaces:
        silent = at.n is None and every.n is not None and has_plane(every)
        why = "the target does not say n_active and tokens" if silent else (
            "n and tokens do not vary apart")  # fmt: skip
        cautions.append(f"{why}: only laws in compute are fitted")
    if noise.pairs == 0:
        cautions.append("no two runs differ by seed alone: seed noise is the prior's 0.3 %")
    filled = [t for t in tests if len(t)]
    table = pd.concat(filled, ignore_index=True) if filled else tests[0]
    return Members(laws=laws, cautions=cautions, backtest=table, noise=noise)


def candidates(
    every: Observations, at: Points, noise: SeedNoise
) -> Iterator[tuple[str, Estimator, Observations]]:
    """Laws in sizes that the runs might identify, and the runs for each."""
    if at.n is None or every.n is None or every.flops.size < SURFACE_RUNS:
        return
    delta = float(np.clip(1.5 * noise.sd, 1e-3, 0.1))  # seed noise is Gaussian, not an outlier
    plane = has_plane(every)
    if at.n_total is not None and _sparsity_varies(every):
        if plane:
            yield "sparse", SparseHuber(delta=delta), every
        elif np.unique(np.round(np.log(every.n), 1)).size >= SURFACE_SIZES:
            yield "sparse_fixed_tokens", SparseSizeHuber(delta=delta), every
        return
    if not plane or not shows_floor(every):
        return
    yield "chinchilla", ChinchillaHuber(delta=delta), every
    yield "tied", TiedHuber(delta=delta), every
    near = near_envelope(every)
    if SURFACE_RUNS <= near.flops.size < every.flops.size and has_plane(near) and shows_floor(near):
        yield "chinchilla_near", ChinchillaHuber(delta=delta), near


def _sparsity_varies(obs: Observations) -> bool:
    if obs.n is None or obs.n_total is None:
        return False
    return bool(np.ptp(np.log(obs.n_total / obs.n)) > VARIED)


def drifting(noise: SeedNoise) -> Predictor:
    """The law in compute as a backtest asks for it; what may drift is part of its draws."""

    def predict(
        small: Observations, large: Observations, rng: np.random.Generator
    ) -> tuple[Matrix, float]:
        law, at = fit_drifting_power(small, noise), Points(flops=large.flops)
        return law.draws(at, BACKTEST_DRAWS, rng), float(np.ptp(small.x))

    return predict
