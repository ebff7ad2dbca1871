import numpy as np
import pytest
from ladders import SIX, ladder
from scipy import stats

from fits.observations import Points, observe
from fits.uncertainty.bootstrap import SeedNoise
from fits.uncertainty.drift import fit_drifting_power, floor_prior, walk_covariance

NOISE = SeedNoise(sd=0.003, pairs=3, measured=0.003)
FAR = Points(flops=np.array([1e11, 3e13]))


def posterior(truth, budgets=SIX, noise=0.003):
    return fit_drifting_power(observe(ladder(truth, budgets, noise=noise)), NOISE)


def test_half_of_the_prior_has_no_floor_unless_one_size_is_held_fixed():
    runs = ladder(lambda c: 40 * c**-0.1)
    free = floor_prior(observe(runs))
    n = np.sqrt(runs["flops"] / 120)
    along = floor_prior(observe(runs.assign(n_active=n, tokens=20 * n)))
    held = floor_prior(observe(runs.assign(n_active=runs["flops"] / 6e9, tokens=1e9)))
    assert free[0] == along[0] == 0.5 and held[0] == 0.1
    assert all(prior.sum() == pytest.approx(1) for prior in (free, along, held))
    assert held[-1] > 5 * free[-1]


def test_the_covariance_is_that_of_an_integrated_random_walk():
    rng, steps, at = np.random.default_rng(0), 400, np.array([0.5, 1.0, 2.0])
    slope = np.cumsum(rng.standard_normal((20_000, steps)) * np.sqrt(2.0 / steps), axis=1)
    walk = np.cumsum(slope * 2.0 / steps, axis=1)[:, (at * steps / 2).astype(int) - 1]
    assert np.cov(walk.T) == pytest.approx(walk_covariance(at, at), rel=0.05)


def test_the_closed_form_is_that_of_a_gaussian_process_with_a_vague_trend():
    x, y = np.log10(SIX), np.log(40 * SIX**-0.1) + 0.01 * np.sin(np.arange(SIX.size))
    law = posterior(lambda c: 40 * c**-0.1)
    law = fit_drifting_power(observe(ladder(lambda c: np.exp(np.interp(np.log10(c), x, y)), SIX,
                                            seeds=1, noise=0.0)), NOISE)  # fmt: skip
    number = next(i for i, c in enumerate(law.cells) if c.floor == 0 and c.drift == 0.03)
    t, at = x - x[0], np.array([3.0])
    vague = 1e3 * (1 + np.multiply.outer(t, t))
    covariance = vague + 0.03**2 * walk_covariance(t, t) + 0.003**2 * np.eye(6)
    cross = 1e3 * (1 + np.multiply.outer(t, at)) + 0.03**2 * walk_covariance(t, at)
    own = 1e3 * (1 + at[0] ** 2) + 0.03**2 * at[0] ** 3 / 3
    mean = cross.T @ np.linalg.solve(covariance, y)
    var = own - (cross.T @ np.linalg.solve(covariance, cross))[0, 0]
    means, sds = law.moments(10 ** (x[0] + at))
    assert means[number] == pytest.approx(mean, abs=1e-3)
    assert sds[number] == pytest.approx(np.sqrt(var), rel=1e-2)
    marginal = [stats.multivariate_normal(cov=vague + s**2 * walk_covariance(t, t)
                + 0.003**2 * np.eye(6)).logpdf(y) for s in (0.03, 0.06)]  # fmt: skip
    other = next(i for i, c in enumerate(law.cells) if c.floor == 0 and c.drift == 0.06)
    gained = law.cells[other].evidence - law.cells[number].evidence
    assert gained == pytest.approx(marginal[1] - marginal[0], abs=0.01)


def test_a_long_curved_ladder_shows_its_floor_and_a_straight_one_has_none():
    wide = np.geomspace(1e9, 1e13, 13)
    curved = posterior(lambda c: 2.0 + 3e3 * c**-0.35, wide, noise=0.001)
    straight = posterior(lambda c: 40 * c**-0.1, wide, noise=0.001)
    assert curved.share(floor=True) > 0.95 and straight.share(floor=False) > 0.5
    found = curved.constants()["power_floor"]
    assert found["irreducible"] == pytest.approx(2.0, abs=0.25)
    assert straight.constants()["power"]["b"] == pytest.approx(0.1, abs=0.005)
    assert straight.constants()["power"]["a"] == pytest.approx(40, rel=0.15)


def test_a_bend_moves_the_forecast_towards_the_newest_slope():
    def turned(c):
        return 4.0 * np.where(c < 3e11, (c / 3e11) ** -0.05, (c / 3e11) ** -0.1)

    budgets = np.geomspace(1e10, 1e13, 9)
    rng = np.random.default_rng(0)
    law = posterior(turned, budgets, noise=0.001).draws(Points(flops=np.array([1e14])), 400, rng)
    line = np.polyval(np.polyfit(np.log10(budgets), np.log(turned(budgets)), 1), 14.0)
    assert np.median(law) < line - 0.02


def test_more_compute_never_makes_it_worse_and_distance_makes_it_less_sure():
    drawn = posterior(lambda c: 3.0 + 0 * c).draws(FAR, 300, np.random.default_rng(1))
    assert (drawn[:, 1] <= np.log(3.0) + 0.01).all()
    falling = posterior(lambda c: 40 * c**-0.1)
    sd = falling.draws(FAR, 300, np.random.default_rng(1)).std(axis=0)
    assert sd[1] > 5 * sd[0]
