"""The coordinate check: updates keep their size across width and depth, and only with the rules."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from model.architecture.decoder import Decoder  # noqa: E402
from model.architecture.loss import token_losses  # noqa: E402
from model.architecture.parametrisation import (  # noqa: E402
    group_factors,
    group_of,
    optimiser_groups,
)
from model.architecture.shape import Parametrisation, Shape, VisionShape  # noqa: E402

BASE = Parametrisation(base_width=32, base_layers=2)


def shape_of(width: int, layers: int = 2, experts: int = 4) -> Shape:
    return Shape(
        layers=layers,
        width=width,
        heads=width // 8,
        kv_heads=width // 16,
        head_dim=8,
        experts=experts,
        top_k=min(2, experts),
        expert_hidden=width,
        conv=True,
        vocab=64,
        context=16,
    )


@cache
def movement(shape: Shape, parametrisation: Parametrisation, steps: int = 4) -> dict[str, float]:
    """Root mean square change, over training steps, of final hidden states and of logits."""
    model = Decoder(shape, parametrisation)
    model.initialise(torch.Generator().manual_seed(0))
    groups = optimiser_groups(model, shape, parametrisation, 0.01, 0.0, 1e-8)
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    tokens = torch.randint(0, 64, (8, 17), generator=torch.Generator().manual_seed(1))
    start, _ = stream(model, tokens)
    for _ in range(steps):
        output = model(tokens[:, :-1])
        loss = token_losses(output.logits_BTV, tokens[:, 1:]).mean()
        if output.router is not None:
            loss = loss + output.router.loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    end, logits = stream(model, tokens)
    return {"stream": rms(end - start), "logits": rms(logits)}


@torch.no_grad()
def stream(model: Decoder, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The residual stream before the final norm, and the logits (zero at the start)."""
    seen: list[Tensor] = []
    handle = model.blocks[-1].register_forward_hook(lambda *call: seen.append(call[2][0]))
    logits = model(tokens[:, :-1]).logits_BTV
    handle.remove()
    return seen[0], logits


def rms(x: Tensor) -> float:
    return float(x.detach().square().mean().sqrt())


def growth(shapes: list[Shape], bases: list[Parametrisation], what: str) -> float:
    """Slope of log movement in log size, first shape to last."""
    sizes = [shape.width * shape.layers for shape in shapes]
    moved = [movement(s, b)[what] for s, b in zip(shapes, bases, strict=True)]
    return math.log(moved[-1] / moved[0]) / math.log(sizes[-1] / sizes[0])


WIDTHS = [32, 128]


@pytest.mark.parametrize("what", ["stream", "logits"])
@pytest.mark.parametrize("experts", [4, 1])
def test_movement_is_stable_in_width(what: str, experts: int) -> None:
    shapes = [shape_of(width, experts=experts) for width in WIDTHS]
    assert abs(growth(shapes, [BASE] * 2, what)) < 0.2


def test_movement_grows_with_width_under_standard_parametrisation() -> None:
    shapes = [shape_of(width) for width in WIDTHS]
    # a base as wide as the model is the standard parametrisation: no factor changes with width
    standard = [replace(BASE, base_width=width) for width in WIDTHS]
    assert growth(shapes, standard, "logits") > 0.5


def test_movement_is_stable_in_depth_and_grows_without_the_branch_scale() -> None:
    shapes = [shape_of(32, layers) for layers in (2, 12)]
    assert abs(growth(shapes, [BASE] * 2, "stream")) < 0.25
    unscaled = [replace(BASE, base_layers=shape.layers) for shape in shapes]
    assert growth(shapes, unscaled, "stream") > 0.5


def test_every_parameter_is_in_one_group_with_its_factors() -> None:
    vision = VisionShape(width=64, layers=2, heads=2, hidden=64)
    shape = replace(shape_of(64, layers=4), vision=vision, context=32, shared_hidden=16)
    model = Decoder(shape, BASE, image_token=1)
    groups = optimiser_groups(model, shape, BASE, 0.01, 0.1, 1e-8)
    assert {group["name"] for group in groups} == set(group_factors(shape, BASE))
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    by_name = {group["name"]: group for group in groups}
    hidden = by_name["hidden"]  # m = 2, s = 1/2
    assert hidden["lr"] == pytest.approx(0.005)
    assert hidden["weight_decay"] == pytest.approx(0.2)
    assert hidden["lr"] * hidden["weight_decay"] == pytest.approx(0.01 * 0.1)
    assert hidden["eps"] == pytest.approx(1e-8 / 4)
    assert by_name["embedding"]["lr"] == 0.01
    assert by_name["embedding"]["weight_decay"] == 0
    assert by_name["vision_hidden"]["eps"] == pytest.approx(1e-8 / 4)


def test_unknown_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"blocks\.0\.other"):
        group_of("blocks.0.other")


def test_initial_sizes() -> None:
    shape = replace(shape_of(128), expert_hidden=100)
    model = Decoder(shape, BASE)
    model.initialise(torch.Generator().manual_seed(0))
    block = model.blocks[0]
    assert rms(block.attention.qkv) == pytest.approx(0.5 * 128**-0.5, rel=0.05)
    assert rms(block.feed.w13[..., :100]) == pytest.approx(0.5 * 128**-0.5, rel=0.05)
    assert rms(block.feed.w2[:, :100]) == pytest.approx(0.5 * 100**-0.5, rel=0.05)
    assert block.feed.w2[:, 100:].abs().max() == 0
    assert rms(model.embedding) == pytest.approx(1.0, rel=0.05)
    assert model.unembedding.abs().max() == 0
    assert block.attention.gain.tolist() == [3.0] * 16
