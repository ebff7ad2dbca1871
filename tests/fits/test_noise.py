import numpy as np
import pytest
from ladders import SIX, ladder

from fits.estimators.compute import PowerHuber
from fits.estimators.sizes import ChinchillaHuber
from fits.observations import observe
from fits.uncertainty.bootstrap import SEED_SD_PRIOR, SeedNoise, seed_noise
from fits.uncertainty.noise import HUBER, in_units_of_noise


def truth(c):
    return 1.5 + 90 * c**-0.14


def test_the_threshold_is_the_tables_own_seed_noise():
    obs = observe(ladder(truth, SIX, seeds=8, noise=0.02))
    scaled = in_units_of_noise(ChinchillaHuber(), obs)
    assert isinstance(scaled, ChinchillaHuber)
    assert scaled.delta == pytest.approx(HUBER * seed_noise(obs).sd)
    alone = observe(ladder(truth, SIX, seeds=1))
    assert in_units_of_noise(PowerHuber(), alone).delta == pytest.approx(HUBER * SEED_SD_PRIOR)
    told = SeedNoise(sd=0.01, pairs=3, measured=0.01)
    assert in_units_of_noise(PowerHuber(), alone, noise=told, times=2.0).delta == 0.02
    with pytest.raises(ValueError, match="times is 0"):
        in_units_of_noise(PowerHuber(), alone, times=0.0)


def test_gaussian_noise_is_averaged_better_in_its_own_units():
    """60 tables of noise 2 %: the slope's spread falls by about the efficiency of the median."""
    found = {"fixed": [], "scaled": []}
    for seed in range(60):
        obs = observe(ladder(lambda c: 40 * c**-0.1, SIX, seeds=4, noise=0.02, seed=seed))
        plain = PowerHuber(floor=0.0, exponents=(0.1,))
        found["fixed"].append(plain.fit(obs).law.b)
        found["scaled"].append(in_units_of_noise(plain, obs).fit(obs).law.b)
    ratio = np.std(found["scaled"]) / np.std(found["fixed"])
    assert ratio < 0.95
