"""Quotas: exact, in any order, close to the weights in every stretch."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.mixture import source_counts, source_of

WEIGHTS = st.dictionaries(
    st.sampled_from(["prose", "code", "tasks", "digits", "more"]),
    st.floats(0.01, 10),
    min_size=1,
)


@given(WEIGHTS, st.integers(0, 10**9))
def test_each_sequence_has_one_source(weights: dict[str, float], index: int) -> None:
    before, after = source_counts(weights, index), source_counts(weights, index + 1)
    steps = {name: after[name] - before[name] for name in weights}
    assert sorted(steps.values()) == [0] * (len(weights) - 1) + [1]
    assert steps[source_of(weights, index)] == 1
    assert sum(after.values()) == index + 1


@given(WEIGHTS, st.integers(0, 10**6), st.integers(1, 500))
def test_every_stretch_follows_the_weights(
    weights: dict[str, float], first: int, length: int
) -> None:
    before, after = source_counts(weights, first), source_counts(weights, first + length)
    for name, weight in weights.items():
        expected = length * weight / sum(weights.values())
        # Each of up to five nested roundings adds less than one sequence at either end.
        assert abs(after[name] - before[name] - expected) < 2 * len(weights)


@given(WEIGHTS, st.integers(0, 1000))
def test_order_of_the_dict_is_irrelevant(weights: dict[str, float], count: int) -> None:
    assert source_counts(dict(reversed(weights.items())), count) == source_counts(weights, count)


def test_by_hand() -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 2.0}
    # floor(n/4 + 1/2) for a grows at n = 2, 6; of the rest b takes a third, rounded.
    assert "".join(source_of(weights, index) for index in range(8)) == "cabccabc"
    assert source_counts(weights, 8) == {"a": 2, "b": 2, "c": 4}


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": -1.0}, {"a": float("inf")}])
def test_bad_weights(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        source_counts(weights, 1)


def test_plans_need_no_torch() -> None:
    code = "import sys, model.data.spec, model.data.mixture as m; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
