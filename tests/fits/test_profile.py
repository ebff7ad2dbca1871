import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ladders import SIX, chinchilla_table, ladder
from planted import PLANTED

from fits.estimators.catalogue import estimator
from fits.estimators.compute import PowerHuber
from fits.estimators.sizes import ChinchillaHuber
from fits.observations import FitError, observe
from fits.uncertainty.bootstrap import intervals
from fits.uncertainty.profile import profile, profiles

DENSE = np.geomspace(1e10, 1e13, 40)


def falling(c):
    return 1.5 + 90 * c**-0.14


@pytest.mark.parametrize("seed", [1, 2])
def test_a_profile_agrees_with_least_squares_where_that_is_exact(seed):
    """A straight line in log-log, threshold far above the noise: Student's interval.

    Its sd is the median residual's or, where that is larger, the one that allows for unequal noise.
    """
    obs = observe(ladder(lambda c: 40 * c**-0.1, DENSE, seeds=1, noise=0.01, seed=seed))
    found = profile(PowerHuber(floor=0.0, delta=1.0), obs, "b")
    x, y = np.log(obs.flops), obs.y
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    equal = (float(np.median(np.sort(np.abs(rest))[2:])) / 0.67449) ** 2 / (x @ x)
    unequal = float(np.sum((rest * x) ** 2)) / (x @ x) ** 2 * 40 / 38
    half = 2.0244 * np.sqrt(max(equal, unequal))
    assert found.estimate == pytest.approx(-slope, rel=1e-6)
    assert found.hi95 - found.estimate == pytest.approx(half, rel=0.01)
    assert found.estimate - found.lo95 == pytest.approx(half, rel=0.01)
    assert found.open == ()


def test_a_profile_agrees_with_the_bootstrap_on_a_clean_table():
    obs = observe(ladder(falling, DENSE, seeds=2, noise=0.003, seed=3))
    smooth = PowerHuber(delta=0.02)
    spread = intervals(smooth, obs, draws=400, rng=np.random.default_rng(0))
    for name in ("irreducible", "b", "a"):
        found = profile(smooth, obs, name)
        low, high = spread.loc[name, ["lo90", "hi90"]]
        assert found.lo90 < found.estimate < found.hi90
        assert found.hi90 - found.lo90 == pytest.approx(high - low, rel=0.3)
        assert found.lo90 == pytest.approx(low, abs=0.25 * (high - low))
        assert found.hi90 == pytest.approx(high, abs=0.25 * (high - low))


def test_profiles_of_a_surface_hold_the_planted_constants():
    obs = observe(chinchilla_table(noise=2e-3, seed=5))
    table = profiles(ChinchillaHuber(delta=3e-3), obs)
    assert set(table.index) == {"irreducible", "a", "b", "alpha", "beta"}
    truth = {"irreducible": 1.8, "a": 480, "b": 2100, "alpha": 0.35, "beta": 0.37}
    for name, value in truth.items():
        row = table.loc[name]
        assert row["lo95"] <= row["lo90"] < row["hi90"] <= row["hi95"]
        assert row["lo95"] < value < row["hi95"]


def test_an_interval_that_nothing_closes_is_open_and_ends_with_the_domain():
    obs = observe(ladder(lambda c: 40 * c**-0.1, SIX, seeds=2, noise=0.003))
    found = profile(PowerHuber(delta=5e-3), obs, "irreducible")
    assert found.lo90 == found.lo95 == 0.0 and "low" in found.open


def test_other_laws_have_profiles_too():
    for name, constant in (("experts", "c"), ("sparse_fixed_tokens", "share")):
        planted = PLANTED[name]
        obs = observe(planted.table(noise=2e-3, seed=1))
        found = profile(estimator(name), obs, constant)
        assert found.lo95 < planted.law.constants()[constant] < found.hi95


def test_what_has_no_profile_is_refused_by_name():
    obs = observe(ladder(falling, SIX, seeds=2))
    with pytest.raises(ValueError, match="'gamma' is no constant"):
        profile(PowerHuber(), obs, "gamma")
    with pytest.raises(FitError) as pinned:
        profile(PowerHuber(floor=0.0), obs, "irreducible")
    assert pinned.value.name == "constant_pinned"
    with pytest.raises(FitError) as exact:
        profile(PowerHuber(), observe(ladder(falling, SIX, noise=0.0)), "b")
    assert exact.value.name == "no_noise"
    with pytest.raises(FitError) as spare:
        profile(PowerHuber(), observe(ladder(falling, SIX[::2], seeds=1)), "b")
    assert spare.value.name == "too_few_runs"


def test_the_published_intervals_of_the_refit_are_met():
    """Besiroglu et al. 2024 by bootstrap: E 1.769-1.871, alpha .317-.373, beta .331-.415.

    Ends to a quarter of the width: 240 runs of unequal noise, weighed nearly by sign alone.
    """
    folder = os.environ.get("WORKBENCH_TABLES")
    path = Path(folder or "") / "runs" / "chinchilla_epoch.csv"
    if not folder or not path.exists():
        pytest.skip("the public tables are not here (WORKBENCH_TABLES)")
    obs = observe(pd.read_csv(path).sort_values("loss").iloc[:-5])
    for name, low, high in (
        ("irreducible", 1.769, 1.871), ("alpha", 0.317, 0.373), ("beta", 0.331, 0.415),
    ):  # fmt: skip
        found = profile(ChinchillaHuber(), obs, name)
        assert found.lo95 == pytest.approx(low, abs=0.25 * (high - low))
        assert found.hi95 == pytest.approx(high, abs=0.25 * (high - low))
