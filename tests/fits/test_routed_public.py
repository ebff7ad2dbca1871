"""Laws of experts on the public grid of routed models (Clark et al. 2022): 15M-130M predict 1.3B.

All runs saw 130 billion tokens, so laws with a term for tokens have nothing to see here.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fits.estimators.catalogue import estimator, lookup
from fits.observations import FitError, observe, points


def routed() -> pd.DataFrame:
    """The grid that its authors fit: one expert a token, every second layer routed."""
    folder = os.environ.get("WORKBENCH_TABLES")
    path = Path(folder or "") / "runs" / "routing_sbase.csv"
    if not folder or not path.exists():
        pytest.skip("the public tables are not here (WORKBENCH_TABLES)")
    table = pd.read_csv(path)
    plain = (table["k"] == 1) & (table["flop_increase"] == 1) & (table["routing_frequency"] == 0.5)
    return table[plain]


def errors(name: str, largest: float, target: str) -> np.ndarray:
    """Signed errors in percent on every run of the target size, from runs up to `largest`."""
    table = routed()
    small, large = table[table["n_active"] <= largest], table[table["model_size_label"] == target]
    law = estimator(name).fit(observe(small)).law
    return np.asarray(100 * (law.predict(points(large)) / large["loss"].to_numpy() - 1))


@pytest.mark.parametrize(
    ("name", "largest", "target", "bound"),
    [
        ("sparse_fixed_tokens", 1.4e8, "1.3B", 2.0),
        ("sparse_fixed_tokens", 1.4e8, "370M", 1.5),
        ("sparse_fixed_tokens", 4e8, "1.3B", 0.8),
        ("experts", 1.4e8, "1.3B", 4.1),
        ("experts", 1.4e8, "370M", 2.0),
        ("experts", 4e8, "1.3B", 2.0),
    ],
)
def test_larger_routed_models_are_predicted_at_every_expert_count(name, largest, target, bound):
    found = errors(name, largest, target)
    assert found.size == 10
    assert np.abs(found).mean() <= bound


def test_the_published_saturation_is_met_on_the_whole_grid():
    """Clark et al. find gains of experts that fade with size and stop at 200 to 500 experts."""
    law = estimator("experts").fit(observe(routed())).law.constants()
    assert law["a"] == pytest.approx(-0.085, abs=0.004)
    assert law["b"] < 0 < law["c"] and 100 < law["e_max"] < 500


def test_laws_with_tokens_are_refused_on_one_amount_of_data():
    obs = observe(routed())
    for name, wanted in (
        ("chinchilla", "one_line"), ("chinchilla_total", "one_line"), ("sparse", "one_token_count"),
    ):  # fmt: skip
        with pytest.raises(FitError) as refused:
            lookup(name).check(obs)
        assert refused.value.name == wanted
