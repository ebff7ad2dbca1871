"""Which laws enter a forecast: all that the runs can identify, each on the runs that suit it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.estimators.experts import SparseHuber, SparseSizeHuber
from fits.estimators.sizes import has_plane
from fits.observations import FitError, Matrix, Observations, Points
from fits.shape import (
    bend,
    require_falling,
    require_ladder,
    require_one_regime,
    require_sizes_in_reach,
)
from fits.uncertainty.backtest import PRIOR_SCALE, Predictor, leave_future_out
from fits.uncertainty.bootstrap import SeedNoise, seed_noise
from fits.uncertainty.drift import fit_drifting_power
from fits.uncertainty.mixture import Member
from fits.uncertainty.sizes import fit_drifting_sizes
from fits.uncertainty.smooth import surface
from fits.uncertainty.surface import fit_surface

BACKTEST_DRAWS = 100
SIZES_RUNS = 6
SIZES_BUDGETS = 4
SIZES_LEVELS = 3  # sizes, and amounts of data: two say nothing of an exponent
FAR_RECIPE = 1.5  # times beyond the runs' tokens per parameter that a target may be without a word
FEW_RUNS = 6  # what forecasts are worth was measured with no fewer
SPARSE_RUNS = 8
SPARSE_SIZES = 4  # for a law in sizes alone, whose exponent and floor take three
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


def fit_members(
    ladder: Observations, every: Observations, at: Points, seed: int, *, backtest: bool = True
) -> Members:
    """Every law the runs can identify, fitted and backtested; raises the named refusals.

    `ladder` are runs that differ from the targets in compute alone, `every` all that passed the
    screens, `at` the targets. A ladder that cannot carry a law leaves the question to laws in
    sizes; so does a change of regime in it, where no seeds tell it from the scatter of recipes and
    those laws have runs that the ladder has not. Without `backtest` the leave-future-out table, of
    which most laws make no use, is left empty.
    """
    noise = seed_noise(ladder if ladder.flops.size else every)
    if not noise.pairs and every.flops.size:
        noise = seed_noise(every)
    asked = Question(at=at, noise=noise, seed=seed, backtest=backtest)
    laws: dict[str, Member] = {}
    tests, cautions = [], []
    surface_law = candidate(every, at)
    try:
        asked.require_reach(ladder)
        require_one_regime(ladder, noise)
        laws["power"], test = asked.in_compute(ladder)
        tests.append(test)
        cautions += [curved] if (curved := bend(ladder, noise)) is not None else []
    except FitError as refusal:
        certain = noise.pairs > 0 or every.flops.size <= ladder.flops.size
        if surface_law is None or (refusal.name in REGIME and certain):
            raise
        cautions.append(f"no law in compute alone: {refusal}")
    if surface_law is None:
        cautions.append(f"{_without_sizes(every, at)}: only laws in compute are fitted")
    else:
        try:
            asked.require_reach(every)
            require_sizes_in_reach(every, at)
            laws[surface_law], test = asked.in_sizes(surface_law, every)
            tests.append(test)
            cautions += _disbelieved(every) if surface_law == "chinchilla" else []
            cautions += _far_recipe(every, at)
        except FitError as refusal:
            if not laws:
                raise
            cautions.append(f"no {surface_law} law: {refusal}")
    most = max(ladder.flops.size if name == "power" else every.flops.size for name in laws)
    cautions += _of_all_laws(noise, most)
    filled = [t for t in tests if len(t)]
    table = pd.concat(filled, ignore_index=True) if filled else tests[0]
    return Members(laws=laws, cautions=cautions, backtest=table, noise=noise)


def _of_all_laws(noise: SeedNoise, runs: int) -> list[str]:
    """What to say of seeds and of few runs, whatever the law."""
    found = []
    if noise.pairs == 0:
        found.append("no two runs differ by seed alone: seed noise is the prior's 0.3 %")
    if runs < FEW_RUNS:
        found.append(f"only {runs} runs: what such forecasts are worth was measured with six")
    return found


def candidate(every: Observations, at: Points) -> str | None:
    """Name of the law in sizes that the runs might identify."""
    if at.n is None or every.n is None:
        return None
    plane = has_plane(every)
    if at.n_total is not None and _sparsity_varies(every):
        if every.flops.size < SPARSE_RUNS:
            return None
        if plane:
            return "sparse"
        fixed = np.unique(np.round(np.log(every.n), 1)).size >= SPARSE_SIZES
        return "sparse_fixed_tokens" if fixed else None
    enough = every.flops.size >= SIZES_RUNS and min(_levels(every)) >= SIZES_LEVELS
    return "chinchilla" if plane and enough else None


def _levels(obs: Observations) -> tuple[int, int]:
    """How many sizes and how many amounts of data, a tenth apart."""
    n, tokens = (np.unique(np.round(np.log(size), 1)).size for size in obs.sizes())
    return n, tokens


def _without_sizes(every: Observations, at: Points) -> str:
    """Why there is no law in sizes."""
    if every.n is None:
        return "n_active and tokens of the runs are not known"
    if at.n is None and has_plane(every):
        return "the target does not say n_active and tokens"
    if has_plane(every) and min(_levels(every)) < SIZES_LEVELS:
        return "fewer than three sizes or three amounts of data"
    return "n and tokens do not vary apart"


def _far_recipe(every: Observations, at: Points) -> list[str]:
    """What to say of a target that is unlike any run in tokens per parameter."""
    (n, tokens), (own_n, own_tokens) = every.sizes(), at.sizes()
    ratios, own = tokens / n, float(np.median(own_tokens / own_n))
    if ratios.min() / FAR_RECIPE <= own <= ratios.max() * FAR_RECIPE:
        return []
    seen = f"{ratios.min():.3g} to {ratios.max():.3g}"
    return [f"the target's {own:.3g} tokens per parameter lie beyond the runs' {seen}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every law: the targets, and how noisy one run is."""

    at: Points
    noise: SeedNoise
    seed: int
    backtest: bool = True

    @property
    def far(self) -> float:
        """Compute of the farthest target."""
        return float(self.at.flops.max())

    def require_reach(self, obs: Observations) -> None:
        """FitError where the runs cannot carry a law as far as the farthest or nearest target."""
        require_ladder(obs, float(self.at.flops.min()))
        require_ladder(obs, self.far)

    def in_compute(self, ladder: Observations) -> tuple[Member, pd.DataFrame]:
        """The law in compute and its leave-future-out table."""
        law = fit_drifting_power(ladder, self.noise)
        return law, self.tested("power", drifting(self.noise), ladder, minimum=2)

    def in_sizes(self, name: str, every: Observations) -> tuple[Member, pd.DataFrame]:
        """A law in sizes and its leave-future-out table."""
        if name == "chinchilla":
            require_falling(every, self.noise)
            law = fit_drifting_sizes(every, self.at, self.noise)
            return law, self.tested(name, drifting_sizes(self.noise), every, minimum=SIZES_BUDGETS)
        delta = float(np.clip(1.5 * self.noise.sd, 1e-3, 0.1))  # seed noise is no outlier
        estimator = SparseHuber(delta=delta) if name == "sparse" else SparseSizeHuber(delta=delta)
        prior = PRIOR_SCALE * SPARSE_TIMES
        return fit_surface(name, estimator, every, self.noise, self.far, self.seed, prior)

    def tested(
        self, name: str, predict: Predictor, obs: Observations, *, minimum: int
    ) -> pd.DataFrame:
        """The leave-future-out table of a law that draws its own drift."""
        least = minimum if self.backtest else int(obs.budget.max()) + 1  # no cutoff left
        return leave_future_out(name, predict, obs, self.noise, minimum=least, seed=self.seed)


def _disbelieved(every: Observations) -> list[str]:
    """What to say of runs whose loss is too low for the law in sizes to believe."""
    low = np.flatnonzero(surface(every).low)
    names = ", ".join(every.run_id[i] for i in low[:5])
    return [f"{low.size} run(s) far below all like them hardly count: {names}"] if low.size else []


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


def drifting_sizes(noise: SeedNoise) -> Predictor:
    """The law in sizes as a backtest asks for it: about the middle recipe of the larger runs."""

    def predict(
        small: Observations, large: Observations, rng: np.random.Generator
    ) -> tuple[Matrix, float]:
        if not has_plane(small):
            raise FitError("one_line", "n and tokens do not vary apart in the smaller runs")
        law = fit_drifting_sizes(small, large, noise)
        return law.draws(large, BACKTEST_DRAWS, rng), float(np.ptp(small.x))

    return predict
