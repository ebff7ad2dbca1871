"""A task's accuracy at a larger run in two steps: (n, tokens) -> bits per byte -> accuracy.

Bhagia et al. 2024 (arXiv:2412.04403): the task's own loss follows a Chinchilla law over the final
runs of a ladder, and accuracy is one sigmoid of that loss over all of the ladder's checkpoints.
Both steps are monotone, so more parameters or tokens never predict a lower accuracy; the lower end
of an interval may fall, since doubt grows with the distance.

The interval joins what resampled runs leave open in both steps at once (a run's final loss and its
checkpoints move together), the noise of a run about the first law, the error of that law's form
beyond the ladder (`fits.uncertainty.backtest`, from its own leave-future-out), and the scatter of
accuracy about the sigmoid. It holds no error of the sigmoid's form: which ceiling and which chance
are a caution, not a spread.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fits.downstream.sigmoid import SigmoidFit, SigmoidLaw, accuracies
from fits.downstream.signal import require_signal, signal_cautions
from fits.downstream.tasks import Checkpoints, Task, checkpoints_of
from fits.estimators.sizes import ChinchillaCurves, ChinchillaHuber
from fits.laws.sizes import ChinchillaLaw
from fits.observations import Matrix, Observations, Points, Vector, budget_means, observe
from fits.uncertainty.backtest import (
    FormError,
    form_error,
    growth,
    leave_future_out,
    surface_span,
)
from fits.uncertainty.bootstrap import (
    FEW_CLUSTERS,
    SeedNoise,
    resampled_weights,
    seed_jitter,
    smooth_weights,
)

CONSTANTS = 5  # of the first step
MIN_BUDGETS = 4  # that a test of its form fits
BACKTEST = ChinchillaHuber(exponents=(0.2, 0.5), shares=(0.3, 0.7))  # fewer starts, many fits
BACKTEST_DRAWS = 24
LEVELS = {"median": 0.5, "lo50": 0.25, "hi50": 0.75, "lo90": 0.05, "hi90": 0.95}


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStep:
    """Both laws with their refits; `predict` asks them at larger runs."""

    task: Task
    loss_law: ChinchillaLaw  # bits per byte of the task
    link: SigmoidLaw
    loss_sd: float  # sd of log bits of a final run about the first law
    accuracy_sd: float  # sd of accuracy of a checkpoint about the sigmoid
    bits_seen: tuple[float, float]  # smallest and largest of the checkpoints
    runs: tuple[str, ...]
    loss_draws: ChinchillaCurves
    link_draws: Matrix  # (draws, 4) as `fits.downstream.sigmoid.accuracies` takes them
    form: FormError  # of the first law, beyond the ladder
    last: float  # log10 compute of the largest budget
    span: float  # decades over which the first law takes its slope
    noise: Matrix  # (draws, 3) standard normal: a run's loss, its accuracy, error of form
    cautions: tuple[str, ...]

    def predict(self, at: Points) -> pd.DataFrame:
        """A row per point: bits and accuracy from the laws, quantiles of both from the draws.

        Columns: flops, bits, bits_median … bits_hi90, accuracy, accuracy_median … accuracy_hi90,
        beyond (whether the loss is below all checkpoints, so that the sigmoid extrapolates).
        """
        bits = self.loss_law.predict(at)
        far = growth(np.log10(at.flops) - self.last, self.span)
        log_bits = self.loss_draws.log_loss(at) + self.loss_sd * self.noise[:, :1]
        log_bits += np.outer(
            stats.t.ppf(stats.norm.cdf(self.noise[:, 2]), self.form.freedom), far * self.form.scale
        )
        some_bits = np.exp(log_bits)
        rates = accuracies(self.link_draws, some_bits)
        rates = np.clip(rates + self.accuracy_sd * self.noise[:, 1:2], 0.0, 1.0)
        columns: dict[str, Vector] = {"flops": at.flops, "bits": bits}
        columns |= _quantiles("bits", some_bits)
        columns |= {"accuracy": np.clip(self.link.predict(bits), 0.0, 1.0)}
        columns |= _quantiles("accuracy", rates)
        return pd.DataFrame(columns | {"beyond": bits < self.bits_seen[0]})


def fit_two_step(
    ladder: pd.DataFrame,
    checkpoints: pd.DataFrame,
    task: Task,
    *,
    draws: int = 400,
    rng: np.random.Generator,
    perfect: float = 1.0,
) -> TwoStep:
    """Both steps for one task.

    `ladder` holds final runs (run_id, flops, n_active, tokens, the task's bits), `checkpoints` many
    rows a run (run_id, bits, accuracy), raw ones through `fits.downstream.tasks.smoothed` first;
    `perfect` is the weight of accuracy 1 at 0 bits. Raises ValueError for bad data, FitError:
    `too_few_runs`, `one_line`, `never_above_chance` or `saturated`.
    """
    obs = observe(ladder, loss=task.bits)
    seen = checkpoints_of(checkpoints, task)
    require_signal(seen, task)
    first = ChinchillaHuber()
    fitted = first.fit(obs)
    loss_law = ChinchillaLaw(**fitted.law.constants())
    link_fit = SigmoidFit(chance=task.chance, perfect=perfect)
    link = link_fit.fit(seen.bits, seen.accuracy, np.ones(seen.bits.size))
    rest = obs.y - np.log(loss_law.predict(obs))
    loss_sd = float(np.sqrt(rest @ rest / max(obs.y.size - CONSTANTS, 1)))
    off = seen.accuracy - link.predict(seen.bits)
    many, weight_runs, weight_rows = _shared_weights(obs, seen, draws, rng)
    noise = SeedNoise(sd=loss_sd, pairs=0, measured=None)
    few = many < FEW_CLUSTERS
    y = seed_jitter(obs, noise, draws, rng) if few else np.tile(obs.y, (draws, 1))
    x = budget_means(obs)[0]
    return TwoStep(
        task=task,
        loss_law=loss_law,
        link=link,
        loss_sd=loss_sd,
        accuracy_sd=float(off.std()),
        bits_seen=(float(seen.bits[0]), float(seen.bits[-1])),
        runs=obs.run_id,
        loss_draws=first.fit_draws(obs, y, weight_runs * obs.weight),
        link_draws=link_fit.fit_draws(link, seen.bits, seen.accuracy, weight_rows),
        form=_form(obs, noise) if draws else FormError(scale=0.0, freedom=1.0, cutoffs=0),
        last=float(x[-1]),
        span=surface_span(x),
        noise=rng.standard_normal((draws, 3)),
        cautions=(*fitted.cautions, *signal_cautions(seen, task, link)),
    )


def _shared_weights(
    obs: Observations, seen: Checkpoints, draws: int, rng: np.random.Generator
) -> tuple[int, Matrix, Matrix]:
    """How many runs there are, and weights of final runs and of checkpoints, drawn by run."""
    names = sorted({*obs.run_id, *seen.runs})
    place = {name: i for i, name in enumerate(names)}
    index = np.arange(len(names), dtype=np.int64)
    make = smooth_weights if len(names) < FEW_CLUSTERS else resampled_weights
    weight = make(index, draws, rng)
    of_run = np.array([place[name] for name in obs.run_id], dtype=np.int64)
    of_cluster = np.array([place[name] for name in seen.runs], dtype=np.int64)
    return len(names), weight[:, of_run], weight[:, of_cluster[seen.cluster]]


def _form(obs: Observations, noise: SeedNoise) -> FormError:
    """How far the first law goes astray when only the smaller budgets of this ladder are fitted."""

    def predict(
        small: Observations, large: Observations, rng: np.random.Generator
    ) -> tuple[Matrix, float]:
        cluster = np.unique(small.cluster, return_inverse=True)[1].astype(np.int64)
        y = seed_jitter(small, noise, BACKTEST_DRAWS, rng)
        weight = smooth_weights(cluster, BACKTEST_DRAWS, rng) * small.weight
        curves = BACKTEST.fit_draws(small, y, weight)
        return curves.log_loss(large), surface_span(budget_means(small)[0])

    test = leave_future_out("chinchilla", predict, obs, noise, minimum=MIN_BUDGETS)
    return form_error(test)


def _quantiles(name: str, values: Matrix) -> dict[str, Vector]:
    """Quantile columns of (draws, points); empty without draws."""
    if not len(values):
        return {f"{name}_{key}": np.full(values.shape[1], np.nan) for key in LEVELS}
    found = np.quantile(values, list(LEVELS.values()), axis=0)
    return {f"{name}_{key}": row for key, row in zip(LEVELS, found, strict=True)}
