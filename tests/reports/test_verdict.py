"""Errors and sentences: exact on planted laws, plain in every state."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fits.predictions.prediction import Estimate
from reports.verdict import (
    compute_shift,
    judge,
    naive_words,
    prior_words,
    seal_sentence,
    tone,
    verdict_sentence,
)

TARGET = 1e13


def band(a: float, b: float, c: float, points: int = 40) -> tuple[dict[str, float], ...]:
    grid = np.geomspace(1e9, TARGET, points)
    return tuple(
        {"flops": float(x), "median": float(a * (x / 1e10) ** -b + c)} | dict.fromkeys(
            ("lo50", "hi50", "lo90", "hi90"), 0.0
        )
        for x in grid
    )  # fmt: skip


def claim(**fields: Any) -> Estimate:
    given: dict[str, Any] = {
        "median": 2.0, "lo50": 1.95, "hi50": 2.05, "lo90": 1.9, "hi90": 2.1,
        "band": band(2.0, 0.1, 1.0), "naive": {"last_rung": 2.5, "last_two_rungs": 1.7}, **fields,
    }  # fmt: skip
    return Estimate(**given)


REFUSED = Estimate(refused="too_few_budgets", reason="3 budgets; five are needed")


@given(
    st.floats(0.5, 5), st.floats(0.03, 0.5), st.floats(0.01, 3), st.floats(-3.5, 2.0)
)  # shifts from deep inside the ladder to 100x beyond the target
def test_the_compute_shift_is_exact_on_a_power_law_with_a_floor(
    a: float, b: float, c: float, shift: float
) -> None:
    reached = TARGET * 10**shift
    actual = a * (reached / 1e10) ** -b + c
    found = compute_shift(band(a, b, c), actual, TARGET)
    assert found is not None
    # bisection on differences of the band keeps about nine digits where the law is steep enough
    assert found == pytest.approx(shift, abs=2e-4)


def test_below_the_floor_no_compute_gives_the_actual() -> None:
    assert compute_shift(band(2.0, 0.3, 1.5), 1.49, TARGET) is None


def test_a_straight_law_in_log_compute_is_continued_straight() -> None:
    grid = np.geomspace(1e9, TARGET, 30)
    rows = [{"flops": x, "median": 5 - 0.2 * math.log10(x)} for x in grid]
    beyond = 5 - 0.2 * 14.0
    assert compute_shift(rows, beyond, TARGET) == pytest.approx(1.0)


def test_a_pass_rate_shift_is_exact_where_its_log_is_a_power() -> None:
    grid = np.geomspace(1e9, TARGET, 30)
    rows = [{"flops": x, "median": math.exp(-2.0 * (x / TARGET) ** -0.2)} for x in grid]
    actual = math.exp(-2.0 * 10 ** (-0.2 * -0.5))
    assert compute_shift(rows, actual, TARGET, rate=True) == pytest.approx(-0.5, abs=1e-6)
    assert compute_shift(rows, 0.0, TARGET, rate=True) is None


def test_the_sign_says_that_a_lower_loss_is_more_compute() -> None:
    better = judge(claim(), 1.2, TARGET).delta_log10_compute
    worse = judge(claim(), 2.4, TARGET).delta_log10_compute
    assert better is not None and better > 0
    assert worse is not None and worse < 0


def test_errors_are_relative_to_the_actual() -> None:
    outcome = judge(claim(), 2.05, TARGET)
    assert outcome.error_percent == pytest.approx(100 * (2.0 - 2.05) / 2.05)
    assert outcome.naive_error_percent["last_rung"] == pytest.approx(100 * 0.45 / 2.05)
    assert outcome.inside_50 is True
    assert outcome.inside_90 is True


@pytest.mark.parametrize(
    ("actual", "words", "colour"),
    [
        (2.05, "The 90 % interval contained the actual loss.", "hit"),
        (2.3, "missed the actual loss, which came out above it", "miss"),
        (1.5, "missed the actual loss, which came out below it", "miss"),
        (None, "not yet trained", "open"),
        (float("nan"), "not yet trained", "open"),
    ],
)
def test_the_verdict_is_one_plain_sentence(actual: object, words: str, colour: str) -> None:
    outcome = judge(claim(), actual, TARGET)
    assert words in verdict_sentence(outcome)
    assert tone(outcome) == colour


def test_a_refusal_names_itself_and_gives_no_number() -> None:
    outcome = judge(REFUSED, 2.0, TARGET)
    assert verdict_sentence(outcome) == "Refused: too_few_budgets — 3 budgets; five are needed."
    found = outcome.as_json()
    assert found["predicted"] is None and found["lo"] is None and found["hi"] is None
    assert found["refused"] == "too_few_budgets"
    assert "refused" not in judge(claim(), 2.0, TARGET).as_json()


def test_a_naive_guess_that_was_nearer_is_said_so() -> None:
    assert "came nearer than" in (naive_words(judge(claim(), 2.01, TARGET)) or "")
    beaten = naive_words(judge(claim(), 2.45, TARGET)) or ""
    assert beaten == "The last rung was nearer to the actual than the law."


def test_a_target_that_diverged_is_a_miss_and_no_number() -> None:
    outcome = judge(claim(), None, TARGET, diverged=True)
    assert verdict_sentence(outcome).startswith("The target diverged: it ended without a loss")
    assert tone(outcome) == "miss"
    assert outcome.as_json()["diverged"] is True and outcome.as_json()["actual"] is None
    refused = judge(REFUSED, None, TARGET, diverged=True)
    assert verdict_sentence(refused).startswith("Refused") and tone(refused) == "open"


SEAL = {
    "state": "held", "sealed_before_target": True, "sealed_at": "2026-11-22T15:00:00+00:00",
    "target_started_at": "2026-11-22T15:01:30+00:00", "problems": [], "prior_targets_seen": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "The seal held"),
        ({}, "Sealed 1\u202fmin 30\u202fs before the target started."),
        ({"state": "unanchored"}, "Unanchored"),
        ({"state": "broken", "problems": ["line 3 was edited"]}, "broken: line 3 was edited"),
        ({"sealed_before_target": False}, "Not a forecast"),
    ],
)
def test_the_seal_is_said_in_every_state(change: dict[str, Any], words: str) -> None:
    assert words in seal_sentence(SEAL | change)


def test_without_a_ledger_nothing_is_claimed() -> None:
    assert "No ledger was kept" in seal_sentence(None)
    assert prior_words(None) is None
    assert "none is recorded in this ledger" in (prior_words(SEAL) or "")
    assert "3 targets" in (prior_words(SEAL | {"prior_targets_seen": 3}) or "")


def test_infinite_bounds_are_missing_and_not_numbers() -> None:
    outcome = replace(judge(claim(), 2.0, TARGET), lo90=None)
    assert "no 90 % interval" in verdict_sentence(replace(outcome, inside_90=None))
