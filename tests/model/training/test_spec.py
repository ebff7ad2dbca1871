"""A run's identity: it changes with every field, and survives its file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from model.architecture.shape import Parametrisation, RouterSpec, Shape, VisionShape
from model.records import canonical, from_json, to_json
from model.training.spec import (
    EvaluationSpec,
    Execution,
    OptimiserSpec,
    RunSpec,
    ScheduleSpec,
    model_source_hash,
    run_id,
)

SPEC = RunSpec(
    shape=Shape(
        layers=2,
        width=16,
        heads=4,
        kv_heads=2,
        head_dim=8,
        experts=8,
        top_k=2,
        expert_hidden=24,
        vocab=320,
        context=128,
        vision=VisionShape(width=16, layers=1, heads=2, hidden=16),
    ),
    parametrisation=Parametrisation(),
    router=RouterSpec(),
    data="d",
    tokenizer="t",
    mixture={"prose": 0.5, "code": 0.5},
    loss_weights={"text": 1.0, "code": 1.0},
    batch=4,
    steps=100,
    optimiser=OptimiserSpec(learning_rate=0.01),
    schedule=ScheduleSpec(kind="wsd", warmup_steps=10, decay_steps=20),
    model_source="m",
)

ALTERNATIVES: dict[str, list[Any]] = {
    "kind": ["cosine"],
    "balance": ["bias"],
    "device": ["cuda"],
    "dtype": ["bfloat16"],
    "patch": [4],
    "attention": ["sdpa"],
    "experts": ["loop", 4],
}


def leaves(data: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def changes(name: str, value: Any) -> list[Any]:
    """Other values, one of which is valid for the field."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return [*ALTERNATIVES.get(name, []), value + "x"]
    return [*ALTERNATIVES.get(name, []), value * 2, value + 1, value / 2, 0]


@pytest.mark.parametrize("path", [path for path in leaves(to_json(SPEC)) if path != ("schema",)])
def test_the_id_changes_with_every_field(path: tuple[str, ...]) -> None:
    data = to_json(SPEC)
    table = data
    for key in path[:-1]:
        table = table[key]
    original = table[path[-1]]
    for value in changes(path[-1], original):
        if value == original:
            continue
        table[path[-1]] = value
        if path[-1] == "kind":
            table["decay_steps"] = 0
        try:
            changed = from_json(RunSpec, data)
        except ValueError:
            continue
        assert run_id(changed) != run_id(SPEC)
        return
    pytest.fail(f"no valid other value tried for {path}")


def test_save_then_load_is_identity_and_keeps_the_id() -> None:
    again = from_json(RunSpec, json.loads(canonical(SPEC)))
    assert again == SPEC and run_id(again) == run_id(SPEC)


def test_tokens_and_sequences() -> None:
    assert (SPEC.sequences, SPEC.tokens) == (400, 51200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, r"steps must lie in \[1, 1.09951e\+12\], got 0"),
        ({"batch": 0}, r"batch must lie in"),
        ({"seed": -1}, r"seed must lie in"),
        ({"schema": 2}, r"schema must be 1, got 2"),
        ({"mixture": {}}, r"mixture must name at least one"),
        ({"mixture": {"prose": 0.0}}, r"mixture.prose must lie in \(0"),
        ({"loss_weights": {"prose": 1.0}}, r"part must be one of text, code, tasks, vision"),
        ({"steps": 29}, r"warmup_steps \+ decay_steps must lie in \[0, 29\]"),
    ],
)
def test_bad_runs_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SPEC, **change)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: OptimiserSpec(learning_rate=0), r"learning_rate must lie in \(0, 10\], got 0"),
        (lambda: OptimiserSpec(learning_rate=float("nan")), r"learning_rate must lie in"),
        (lambda: OptimiserSpec(learning_rate=1, clip=0), r"clip must lie in"),
        (lambda: ScheduleSpec(kind="cosine", decay_steps=3), r"decay_steps belongs to 'wsd'"),
        (lambda: ScheduleSpec(final_fraction=1.5), r"final_fraction must lie in \[0, 1\]"),
        (lambda: EvaluationSpec(samples=0), r"samples must lie in"),
        (lambda: Execution(attention="flash"), r"attention on the cpu must be 'eager' or 'sdpa'"),
        (lambda: Execution(threads=0), r"threads must lie in"),
    ],
)
def test_bad_settings_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_the_source_hash_is_stable() -> None:
    assert model_source_hash() == model_source_hash() and len(model_source_hash()) == 16
