"""Specs refuse what cannot be built, by name."""

from typing import Any

import pytest

from model.data.spec import DataSpec, SourceSpec

GOOD: dict[str, Any] = {"name": "prose", "kind": "text", "origin": "botocore", "weight": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Prose"}, "source name 'Prose'"),
        ({"kind": "speech"}, "kind 'speech'"),
        ({"origin": ""}, "origin is empty"),
        ({"origin": "digits"}, "vision sources"),
        ({"kind": "vision"}, "vision sources"),
        ({"origin": "programs"}, "kind 'tasks'"),
        ({"weight": 0.0}, "weight = 0.0"),
        ({"weight": float("nan")}, "weight = nan"),
        ({"max_epochs": -1.0}, "max_epochs = -1.0"),
        ({"max_bytes": 0}, "max_bytes = 0"),
    ],
)
def test_source_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SourceSpec(**(GOOD | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab": 257}, "vocab = 257"),
        ({"vocab": 70_000}, "vocab = 70000"),
        ({"context": 15}, "context = 15"),
        ({"sources": ()}, "sources is empty"),
        ({"sources": (SourceSpec(**GOOD), SourceSpec(**GOOD))}, "used 2 times"),
        ({"heldout_windows": 0}, "heldout_windows = 0"),
        ({"heldout_overlap": 1.1}, "heldout_overlap = 1.1"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_data_refuses(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"vocab": 1024, "context": 64, "sources": (SourceSpec(**GOOD),)}
    with pytest.raises(ValueError, match=message):
        DataSpec(**(good | change))


def test_mixture_is_normalised() -> None:
    sources = tuple(
        SourceSpec(**(GOOD | {"name": n, "weight": w})) for n, w in (("a", 1), ("b", 3))
    )
    assert DataSpec(vocab=512, context=64, sources=sources).mixture == {"a": 0.25, "b": 0.75}
