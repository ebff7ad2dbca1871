"""Every bad value is refused by name, and derived sizes are right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model.architecture.shape import Parametrisation, RouterSpec, Shape, VisionShape

VISION = VisionShape(width=16, layers=1, heads=2, hidden=24)
SHAPE = Shape(
    layers=2,
    width=16,
    heads=4,
    kv_heads=2,
    head_dim=8,
    experts=8,
    top_k=2,
    expert_hidden=22,
    conv=True,
    vocab=64,
    context=32,
    vision=VISION,
)

BAD_SHAPES: list[tuple[str, Any]] = [
    ("layers", 0),
    ("layers", 2.0),
    ("layers", True),
    ("width", 0),
    ("width", 12),
    ("heads", 0),
    ("heads", 3),
    ("kv_heads", 0),
    ("kv_heads", 3),
    ("head_dim", 0),
    ("head_dim", 7),
    ("experts", 0),
    ("experts", "8"),
    ("top_k", 0),
    ("top_k", 9),
    ("expert_hidden", 0),
    ("shared_hidden", -1),
    ("conv", 1),
    ("vocab", 1),
    ("context", 1),
    ("context", 4),
]


@pytest.mark.parametrize(("name", "value"), BAD_SHAPES)
def test_bad_shape_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"Shape") as caught:
        replace(SHAPE, **{name: value})
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


def test_dense_shape_has_no_shared_expert() -> None:
    with pytest.raises(ValueError, match="shared_hidden = 8"):
        replace(SHAPE, experts=1, top_k=1, shared_hidden=8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 15),
        ("heads", 0),
        ("layers", 0),
        ("hidden", 0),
        ("patch", 3),
        ("image_height", 6),
        ("image_width", 30),
    ],
)
def test_bad_vision_shape_is_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=r"VisionShape") as caught:
        replace(VISION, **{name: value})
    assert str(value) in str(caught.value) or name == "patch"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_width", 0),
        ("base_layers", 0),
        ("embedding_std", 0.0),
        ("embedding_std", float("nan")),
        ("hidden_gain", float("inf")),
        ("qk_gain", -1.0),
        ("embedding_lr", "1"),
    ],
)
def test_bad_parametrisation_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Parametrisation.{name}"):
        Parametrisation(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("balance", "none"),
        ("balance_weight", -0.1),
        ("z_weight", float("nan")),
        ("window", 0),
        ("bias_rate", float("inf")),
    ],
)
def test_bad_router_spec_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"RouterSpec.{name}"):
        RouterSpec(**{name: value})


def test_dense_twin_joins_what_a_token_visits() -> None:
    twin = replace(SHAPE, shared_hidden=6).dense_twin()
    assert twin.dense
    assert (twin.experts, twin.top_k, twin.expert_hidden, twin.shared_hidden) == (1, 1, 50, 0)
    assert twin.dense_twin() is twin


def test_derived_sizes() -> None:
    assert (VISION.patches, VISION.patch_dim) == (4, 64)
    finer = replace(VISION, patch=4)
    assert (finer.patches, finer.patch_dim) == (16, 16)
    assert SHAPE.padded_hidden == 24
    assert replace(SHAPE, expert_hidden=24).padded_hidden == 24


def test_branches_shrink_beyond_the_base_depth_only() -> None:
    parametrisation = Parametrisation(base_layers=2)
    assert parametrisation.branch_scale(replace(SHAPE, layers=1)) == 1
    assert parametrisation.branch_scale(SHAPE) == 1
    assert parametrisation.branch_scale(replace(SHAPE, layers=8)) == 0.25
