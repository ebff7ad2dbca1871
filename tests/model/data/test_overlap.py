"""13-gram overlap against a count by sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.data import overlap
from model.data.overlap import overlaps

Tokens = NDArray[np.uint16]


def by_sets(candidates: Tokens, training: list[Tokens]) -> list[float]:
    def grams(row: Tokens) -> list[tuple[int, ...]]:
        return [tuple(row[at : at + 13].tolist()) for at in range(row.size - 12)]

    known = {
        gram
        for tokens in training
        for row in (tokens if tokens.ndim == 2 else [tokens])
        for gram in grams(row)
    }
    return [float(np.mean([gram in known for gram in grams(row)])) for row in candidates]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 100))
def test_equals_sets(seed: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    flat = rng.integers(0, 2, 1500).astype(np.uint16)
    rows = rng.integers(0, 2, (20, 30)).astype(np.uint16)
    candidates = rng.integers(0, 2, (8, 40)).astype(np.uint16)
    candidates[0, 5:25] = flat[1000:1020]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "_CHUNK", chunk)
        found = overlaps(candidates, [flat, rows])
    assert found.tolist() == pytest.approx(by_sets(candidates, [flat, rows]))


def test_planted_copy_and_short_stream() -> None:
    rng = np.random.default_rng(0)
    flat = rng.integers(0, 1000, 5000).astype(np.uint16)
    candidates = rng.integers(0, 1000, (2, 65)).astype(np.uint16)
    candidates[1] = flat[70:135]
    assert overlaps(candidates, [flat, flat[:5]]).tolist() == [0.0, 1.0]
