"""Held-out means and their clustered standard errors, against brute force and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from model.evaluation.heldout import (  # noqa: E402
    bits_per_byte,
    clustered_mean,
    part_losses,
    weighted,
)
from model.training.result import PartLoss  # noqa: E402


def test_one_window_a_document_is_the_usual_standard_error() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 0.5, size=200)
    loss = clustered_mean(values * 64, np.full(200, 64.0), np.arange(200))
    assert loss.mean == pytest.approx(values.mean())
    assert loss.se == pytest.approx(values.std(ddof=1) / math.sqrt(200))


def test_copies_of_a_window_add_nothing() -> None:
    rng = np.random.default_rng(1)
    sums, weights = rng.uniform(100, 200, 50), rng.uniform(30, 64, 50)
    once = clustered_mean(sums, weights, np.arange(50))
    thrice = clustered_mean(np.tile(sums, 3), np.tile(weights, 3), np.tile(np.arange(50), 3))
    assert thrice.mean == pytest.approx(once.mean) and thrice.se == pytest.approx(once.se)


def test_intervals_cover_when_windows_of_a_document_are_alike() -> None:
    rng = np.random.default_rng(2)
    documents = np.repeat(np.arange(40), 8)
    covered = 0
    for _ in range(400):
        losses = 3 + rng.normal(0, 0.5, 40)[documents] + rng.normal(0, 0.2, 320)
        loss = clustered_mean(losses * 64, np.full(320, 64.0), documents)
        covered += abs(loss.mean - 3) < 1.645 * loss.se
    assert 0.84 < covered / 400 < 0.94  # 0.90 within three binomial standard errors


def test_single_cluster_falls_back_to_windows() -> None:
    sums = np.array([1.0, 2.0, 3.0])
    one = clustered_mean(sums, np.ones(3), np.zeros(3, dtype=np.int64))
    assert one == clustered_mean(sums, np.ones(3), np.arange(3))


def test_no_weight_is_an_error() -> None:
    with pytest.raises(ValueError, match="weights must have a sum above 0"):
        clustered_mean(np.ones(2), np.zeros(2), np.arange(2))


def test_parts_and_headline() -> None:
    by_source = {
        "a": PartLoss(mean=3.0, se=0.3),
        "b": PartLoss(mean=5.0, se=0.4),
        "c": PartLoss(mean=2.0, se=0.1),
    }
    parts = part_losses(
        by_source, {"a": "text", "b": "text", "c": "code"}, {"a": 0.6, "b": 0.2, "c": 0.2}
    )
    assert parts["text"].mean == pytest.approx(3.5) and parts["code"] == by_source["c"]
    assert parts["text"].se == pytest.approx(math.hypot(0.75 * 0.3, 0.25 * 0.4))
    headline = weighted(parts, {"text": 1, "code": 3})
    assert headline.mean == pytest.approx((3.5 + 3 * 2) / 4)
    with pytest.raises(ValueError, match="no held-out loss for vision"):
        weighted(parts, {"vision": 1.0})


def test_bits_per_byte_needs_a_byte_count() -> None:
    losses = {"text": PartLoss(mean=math.log(2) * 6, se=0.1), "vision": PartLoss(mean=1, se=0.1)}
    assert bits_per_byte(losses, {"text": 3.0}) == {"text": pytest.approx(2.0)}
