"""The law in sizes whose misfit may drift."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from ladders import chinchilla_table
from scipy import stats

from fits.estimators.sizes import ChinchillaHuber
from fits.forecast import forecast
from fits.observations import FitError, Observations, Points, observe, points
from fits.shape import require_sizes_in_reach
from fits.uncertainty import sizes
from fits.uncertainty.bootstrap import SeedNoise, seed_noise
from fits.uncertainty.sizes import SHARES, DriftingSizes, fit_drifting_sizes
from fits.uncertainty.smooth import excess, surface

NOISE = SeedNoise(sd=0.003, pairs=0, measured=None)


def at(n: float, per_parameter: float = 20.0) -> Points:
    size, tokens = np.array([n]), np.array([per_parameter * n])
    return Points(flops=6 * size * tokens, n=size, tokens=tokens)


def truth(where: Points) -> float:
    return float(1.8 + 480 * where.n[0] ** -0.35 + 2100 * where.tokens[0] ** -0.37)


def quantiles(law: DriftingSizes, where: Points, *levels: float) -> list[float]:
    drawn = law.draws(where, 2000, np.random.default_rng(0))[:, 0]
    return [float(q) for q in np.exp(np.quantile(drawn, levels))]


def marginal(law: DriftingSizes, obs: Observations, k: int, h: int, f: int) -> float:
    """Log density of the runs in one cell, from the covariance of the linear part."""
    loss = obs.loss / law.unit
    smooth = surface(obs)
    scale = smooth.loss / law.unit
    terms = law.basis.terms(obs, law.exponents[k]) / scale[:, None]
    design = np.concatenate([terms, law.basis.walks(obs)], axis=1)
    sd = (
        NOISE.sd
        * law.scales[h, 2]
        * np.sqrt(1 + (excess(obs, smooth) / np.hypot(sizes.FAR, smooth.noise)) ** 2)
    )
    covariance = design @ np.diag(1 / law.prior[h]) @ design.T + np.diag(sd**2)
    return float(stats.multivariate_normal.logpdf((loss - SHARES[f]) / scale, cov=covariance))


def test_weights_of_cells_are_those_of_a_gaussian_process(monkeypatch):
    monkeypatch.setattr(sizes, "LOOSE", 1.0)  # keeps the covariance well conditioned
    obs = observe(chinchilla_table(noise=0.01).iloc[::3])
    law = fit_drifting_sizes(obs, at(1e9), NOISE)
    k = int(np.argmax(law.weights.sum(axis=(1, 2))))
    likely = np.argsort(law.weights[k].ravel())[::-1][:40:6]
    cells = [np.unravel_index(i, law.weights[k].shape) for i in likely]
    for (h, f), (g, e) in pairwise(cells):
        of_scatter = np.log(sizes.SCATTER_PRIOR)[
            [int(np.argmin(np.abs(sizes.SCATTERS - law.scales[i, 2]))) for i in (h, g)]
        ]
        direct = marginal(law, obs, k, h, f) - marginal(law, obs, k, g, e)
        found = np.log(law.weights[k, h, f]) - np.log(law.weights[k, g, e])
        of_floor = sizes.floor_prior()[[f, e]]
        before = of_scatter[0] - of_scatter[1] + of_floor[0] - of_floor[1]
        assert found == pytest.approx(direct + before, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("ahead", [10.0, 100.0, 300.0])
def test_a_planted_law_is_extrapolated(ahead):
    obs = observe(chinchilla_table(noise=0.003))
    goal = at(1e9 * np.sqrt(ahead))
    law = fit_drifting_sizes(obs, goal, NOISE)
    low, middle, high = quantiles(law, goal, 0.05, 0.5, 0.95)
    assert low < truth(goal) < high
    assert middle == pytest.approx(truth(goal), rel=0.015)
    constants = law.constants()
    assert constants["irreducible"] == pytest.approx(1.8, abs=0.15)
    assert constants["alpha"] == pytest.approx(0.35, abs=0.06)


@pytest.mark.parametrize(
    ("column", "factor"), [("loss", 0.001), ("flops", 1e9), ("n_active", 1e-6), ("tokens", 1e-9)]
)
def test_units_do_not_matter(column, factor):
    table = chinchilla_table(noise=0.003)
    goal = pd.DataFrame({"flops": [6 * 2e20], "n_active": [1e9], "tokens": [2e11]})

    def middle(scale: float) -> float:
        runs = observe(table.assign(**{column: table[column] * scale}))
        moved = goal.assign(**{column: goal[column] * scale}) if column in goal else goal
        where = points(moved)
        return quantiles(fit_drifting_sizes(runs, where, NOISE), where, 0.5)[0]

    wanted = middle(1.0) * (factor if column == "loss" else 1.0)
    assert middle(factor) == pytest.approx(wanted, rel=2e-4)


def test_recipes_unlike_the_targets_do_not_lead_it_astray():
    """Runs far off 20 tokens per parameter lie above Chinchilla's law by the square of how far."""
    table = chinchilla_table(noise=0.002)
    far = np.log(table["tokens"] / table["n_active"] / 20)
    obs = observe(table.assign(loss=table["loss"] * np.exp(0.01 * far**2)))
    goal = at(1e10)
    own = quantiles(fit_drifting_sizes(obs, goal, NOISE), goal, 0.5)[0]
    plain = float(ChinchillaHuber().fit(obs).law.predict(goal)[0])
    assert abs(own / truth(goal) - 1) < 0.5 * abs(plain / truth(goal) - 1)
    assert own == pytest.approx(truth(goal), rel=0.03)


def test_under_tuned_runs_hardly_move_it():
    clean = observe(chinchilla_table(noise=0.002))
    bad = replace(clean, loss=clean.loss * np.where(np.arange(clean.loss.size) % 4 == 2, 1.25, 1.0))
    goal = at(4e9)
    with_bad, without = (
        quantiles(fit_drifting_sizes(obs, goal, NOISE), goal, 0.5)[0] for obs in (bad, clean)
    )
    assert with_bad == pytest.approx(without, rel=0.02)


@pytest.mark.parametrize(("goal", "actual"), [((1e9, 1.0), 3.122), ((4e9, 20.0), 2.203)])
def test_a_thousand_runs_do_not_make_it_sure_of_what_is_not_so(goal, actual):
    """Dividing by the measured loss would reward a law that lies below all runs."""
    rng = np.random.default_rng(0)
    n = np.exp(rng.uniform(np.log(1e7), np.log(1e9), 1000))
    tokens = n * np.exp(rng.uniform(1, 5, n.size))
    loss = (1.8 + 480 * n**-0.35 + 2100 * tokens**-0.37) * np.exp(
        0.004 * rng.standard_normal(n.size)
    )
    table = pd.DataFrame({"n_active": n, "tokens": tokens, "flops": 6 * n * tokens, "loss": loss})
    where = at(*goal)
    sizes_of = {"n_active": where.n, "tokens": where.tokens}
    row = forecast(table, pd.DataFrame({"flops": where.flops, **sizes_of})).table.iloc[0]
    assert row["lo90"] < actual < row["hi90"]
    assert row["median"] == pytest.approx(actual, rel=0.012)


@pytest.mark.parametrize(("noise", "bias", "covered"), [(0.02, 0.015, 0.9), (0.05, 0.03, 0.65)])
def test_noise_is_not_taken_for_under_tuning(noise, bias, covered):
    """Twenty tables without seeds, whose runs scatter by 7 and 17 times the prior's noise; their
    exponents are above the usual, so what noise leaves open is taken for a lower loss."""
    inside, errors = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = np.exp(rng.uniform(np.log(1e7), np.log(1e9), 80))
        tokens = n * np.exp(rng.uniform(1, 5, n.size))
        loss = 1.8 + 480 * n**-0.35 + 2100 * tokens**-0.37
        table = pd.DataFrame({"n_active": n, "tokens": tokens, "flops": 6 * n * tokens})
        obs = observe(table.assign(loss=loss * np.exp(noise * rng.standard_normal(n.size))))
        law = fit_drifting_sizes(obs, at(4e9), NOISE)
        low, middle, high = quantiles(law, at(4e9), 0.05, 0.5, 0.95)
        inside.append(low < truth(at(4e9)) < high)
        errors.append(middle / truth(at(4e9)) - 1)
    assert abs(np.mean(errors)) < bias
    assert np.mean(inside) >= covered


def test_checkpoints_that_hardly_differ_are_no_seeds():
    table = chinchilla_table(noise=0.01).assign(run_id=[f"r{i}" for i in range(25)])
    last = table.iloc[[-1]]
    again = pd.concat([last.assign(tokens=last["tokens"] * (1 - 1e-6 * k)) for k in range(1, 30)])
    assert seed_noise(observe(pd.concat([table, again]))) == seed_noise(observe(table))
    seeds = pd.concat([table, last.assign(run_id="again", loss=1.02 * last["loss"])])
    assert seed_noise(observe(seeds)).pairs == 1


def test_what_rows_of_one_run_weigh_does_not_change_the_others():
    table = chinchilla_table(noise=0.003).assign(run_id=[f"r{i}" for i in range(25)], weight=1.0)
    many = pd.concat([table.iloc[1:], *[table.iloc[[0]].assign(weight=1 / 50)] * 50])
    few, once = (fit_drifting_sizes(observe(t), at(4e9), NOISE) for t in (many, table))
    wide, usual = (np.ptp(quantiles(law, at(4e9), 0.05, 0.95)) for law in (few, once))
    assert wide == pytest.approx(usual, rel=0.1)


def test_one_pair_of_seeds_hardly_changes_the_width():
    table, where = chinchilla_table(noise=0.003).assign(seed=0), at(4e9)
    goal = pd.DataFrame({"flops": where.flops, "n_active": where.n, "tokens": where.tokens})
    again = table.iloc[[20]].assign(seed=1, loss=table["loss"].iloc[20] * 1.004)
    paired = pd.concat([table, again], ignore_index=True)
    widths = []
    for runs in (table, paired):
        row = forecast(runs, goal).table.iloc[0]
        widths.append(row["hi95"] / row["lo95"] - 1)
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_checkpoints_of_one_run_count_as_one_run():
    table = chinchilla_table(noise=0.003).assign(run_id=[f"r{i}" for i in range(25)])
    forty = pd.concat([table.assign(loss=table["loss"] * (1 + 1e-7 * k)) for k in range(40)])
    widths = []
    for runs in (table, forty):
        law = fit_drifting_sizes(observe(runs), at(4e9), NOISE)
        low, high = quantiles(law, at(4e9), 0.05, 0.95)
        widths.append(high / low - 1)
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_many_checkpoints_of_an_odd_run_do_not_make_the_others_look_too_low():
    table = chinchilla_table(noise=0.003).iloc[::2].assign(run_id=[f"r{i}" for i in range(13)])
    tokens = np.geomspace(4e8, 8e9, 200)
    loss = 1.08 * (1.8 + 480 * 1e8**-0.35 + 2100 * tokens**-0.37)
    odd = pd.DataFrame({"n_active": 1e8, "tokens": tokens, "flops": 6e8 * tokens, "loss": loss})
    obs = observe(pd.concat([table, odd.assign(run_id="odd")], ignore_index=True))
    assert not surface(obs).low.any()
    low, middle, high = quantiles(fit_drifting_sizes(obs, at(4e9), NOISE), at(4e9), 0.05, 0.5, 0.95)
    assert low < truth(at(4e9)) < high
    assert middle == pytest.approx(truth(at(4e9)), rel=0.03)


@pytest.mark.parametrize("factor", [0.9, 0.5, 0.1])
def test_one_run_too_low_to_be_true_is_not_believed(factor):
    table = chinchilla_table(noise=0.003)
    table.loc[24, "loss"] *= factor
    low, high = quantiles(fit_drifting_sizes(observe(table), at(4e9), NOISE), at(4e9), 0.05, 0.95)
    assert low < truth(at(4e9)) < high


def test_the_interval_grows_with_distance_and_repeats_itself():
    obs = observe(chinchilla_table(noise=0.003))
    widths = []
    for n in (1e9, 1e10, 1e11):
        law = fit_drifting_sizes(obs, at(n), NOISE)
        low, high = quantiles(law, at(n), 0.05, 0.95)
        assert [low, high] == quantiles(law, at(n), 0.05, 0.95)
        widths.append(high / low - 1)
    assert widths[0] < 0.6 * widths[1] < 0.36 * widths[2]


def test_a_loss_that_rises_with_size_is_refused():
    table = chinchilla_table()
    rising = table.assign(loss=0.1 * np.log(table["n_active"] * table["tokens"]))
    goal = pd.DataFrame({"flops": [1.2e22], "n_active": [1e10], "tokens": [2e11]})
    with pytest.raises(FitError) as refused:
        forecast(rising, goal)
    assert refused.value.name == "not_decreasing"


def test_a_point_without_sizes_is_an_error():
    with pytest.raises(ValueError, match="n_active and tokens"):
        fit_drifting_sizes(observe(chinchilla_table()), Points(flops=np.array([1e20])), NOISE)


def test_a_run_that_is_not_believed_and_a_target_in_another_unit_are_named():
    table = chinchilla_table(noise=0.003).assign(run_id=[f"r{i}" for i in range(25)])
    where = at(4e9)
    goal = pd.DataFrame({"flops": where.flops, "n_active": where.n, "tokens": where.tokens})
    assert not any("hardly count" in note for note in forecast(table, goal).cautions)
    table.loc[24, "loss"] *= 0.5
    assert any(note.endswith("hardly count: r24") for note in forecast(table, goal).cautions)
    far = Points(flops=goal["flops"].to_numpy(), n=np.array([4.0]), tokens=where.tokens)
    with pytest.raises(FitError, match=r"n_active is .* beyond the runs'") as refused:
        require_sizes_in_reach(observe(table), far)
    assert refused.value.name == "extrapolation_too_far"
    with pytest.raises(FitError) as refused:
        fit_drifting_sizes(observe(table), replace(far, tokens=np.array([1e300])), NOISE)
    assert refused.value.name == "too_wide"
