"""The learning rate stays within its bounds and goes where it should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training.schedule import evaluation_steps, factor, is_annealed
from model.training.spec import ScheduleSpec


@st.composite
def schedules(draw: st.DrawFn) -> tuple[ScheduleSpec, int]:
    steps = draw(st.integers(1, 400))
    kind = draw(st.sampled_from(["cosine", "wsd"]))
    warmup = draw(st.integers(0, steps))
    decay = draw(st.integers(0, steps - warmup)) if kind == "wsd" else 0
    final = draw(st.floats(0, 1))
    spec = ScheduleSpec(kind=kind, warmup_steps=warmup, decay_steps=decay, final_fraction=final)
    return spec, steps


@given(schedules())
def test_bounds_and_directions(case: tuple[ScheduleSpec, int]) -> None:
    schedule, steps = case
    factors = [factor(schedule, step, steps) for step in range(steps)]
    assert all(0 < value <= 1 for value in factors)
    warm = schedule.warmup_steps
    assert factors[:warm] == sorted(factors[:warm])
    assert factors[warm:] == sorted(factors[warm:], reverse=True)
    assert all(value >= schedule.final_fraction for value in factors[warm:])
    if 0 < warm < steps:
        assert factors[warm - 1] == 1 and factors[warm] == pytest.approx(1)


def test_wsd_is_flat_until_its_decay() -> None:
    schedule = ScheduleSpec(kind="wsd", warmup_steps=2, decay_steps=4)
    factors = [factor(schedule, step, 10) for step in range(10)]
    assert factors == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_cosine_halfway_is_half() -> None:
    assert factor(ScheduleSpec(), 50, 100) == pytest.approx(0.5)


def test_annealed() -> None:
    assert is_annealed(ScheduleSpec())
    assert not is_annealed(ScheduleSpec(final_fraction=0.2))
    assert not is_annealed(ScheduleSpec(kind="wsd"))
    assert is_annealed(ScheduleSpec(kind="wsd", decay_steps=10))


def test_step_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"step must lie in \[0, 9\], got 10"):
        factor(ScheduleSpec(), 10, 10)


@given(st.integers(0, 20), st.integers(0, 500), st.integers(1, 5000))
def test_evaluation_steps_lie_after_warmup_and_before_the_end(
    points: int, warmup: int, steps: int
) -> None:
    chosen = evaluation_steps(points, warmup, steps)
    assert len(chosen) <= points and list(chosen) == sorted(set(chosen))
    assert all(max(1, warmup) <= step < steps for step in chosen)


def test_evaluation_steps_are_log_spaced() -> None:
    assert evaluation_steps(5, 10, 320) == (10, 20, 40, 80, 160)
