"""Counts from the shape equal counts from the model, and FLOPs equal torch's counter."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from model.architecture import accounting  # noqa: E402
from model.architecture.decoder import Decoder  # noqa: E402
from model.architecture.parametrisation import group_of  # noqa: E402
from model.architecture.shape import Parametrisation, Shape, VisionShape  # noqa: E402

TINY = Shape(
    layers=2,
    width=16,
    heads=4,
    kv_heads=2,
    head_dim=8,
    experts=4,
    top_k=2,
    expert_hidden=22,
    conv=True,
    vocab=40,
    context=24,
)
VISION = VisionShape(width=12, layers=2, heads=3, hidden=20)
SHAPES = {
    "plain": TINY,
    "dense": TINY.dense_twin(),
    "one expert": replace(TINY, top_k=1),
    "shared": replace(TINY, shared_hidden=10),
    "wide heads": replace(TINY, heads=6, kv_heads=3, head_dim=4, layers=3, conv=False),
    "vision": replace(TINY, vision=replace(VISION, patch=4)),
    "dense vision": replace(TINY.dense_twin(), vision=VISION, width=24, context=20),
}


def build(shape: Shape) -> Decoder:
    image_token = None if shape.vision is None else 1
    model = Decoder(
        shape, Parametrisation(), attention="eager", experts="loop", image_token=image_token
    )
    model.initialise(torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_equal_the_models(name: str) -> None:
    shape = SHAPES[name]
    model = build(shape)
    groups = accounting.parameter_groups(shape)
    padding = 0
    if not shape.dense:
        excess = shape.padded_hidden - shape.expert_hidden
        padding = shape.layers * shape.experts * 3 * shape.width * excess
    assert sum(groups.values()) + padding == sum(p.numel() for p in model.parameters())
    router = sum(p.numel() for n, p in model.named_parameters() if group_of(n) == "router")
    assert groups["router"] == router
    in_vision = sum(
        p.numel()
        for n, p in model.named_parameters()
        if n.startswith("vision.") and group_of(n) != "projector"
    )
    assert accounting.n_vision(shape) == in_vision


@pytest.mark.parametrize("name", SHAPES)
def test_flops_equal_the_counter(name: str) -> None:
    shape = SHAPES[name]
    model = build(shape)
    for parameter in model.parameters():  # the order of the products must not matter
        assert parameter.requires_grad
    rows = 3
    inputs = torch.randint(2, shape.vocab, (rows, shape.context))
    patches, image_ids, images = None, None, 0
    if shape.vision is not None:
        images = 1
        inputs[-1, 2 : 2 + shape.vision.patches] = 1
        image_ids = (inputs[-1:] == 1).long()
        patches = torch.rand(1, shape.vision.patches, shape.vision.patch_dim)
    with FlopCounterMode(display=False) as counter:
        output = model(inputs, patches, image_ids)
        loss = output.logits_BTV.square().mean()
        if output.router is not None:
            loss = loss + output.router.loss
        loss.backward()
    expected = accounting.train_flops(shape, sequences=rows, images=images)
    assert counter.get_total_flops() == expected


def test_twin_has_the_same_active_flops_up_to_the_router() -> None:
    shape = replace(TINY, shared_hidden=10)
    router = 3 * 2 * shape.layers * shape.width * shape.experts * shape.context
    twin = accounting.flops_per_sequence(shape.dense_twin())
    assert accounting.flops_per_sequence(shape) - twin == router
    assert accounting.n_active(shape) > accounting.n_active(shape.dense_twin())
    assert accounting.n_total(shape) > accounting.n_active(shape)


def test_count_by_hand() -> None:
    # one layer, width 8, one head of 8 with its own keys: 4 · 64 attention, 3 · 8 · 8 gated layer
    shape = Shape(
        layers=1,
        width=8,
        heads=1,
        kv_heads=1,
        head_dim=8,
        experts=1,
        top_k=1,
        expert_hidden=8,
        conv=True,
        vocab=10,
        context=4,
    )
    assert accounting.n_active(shape) == 256 + 192 + 80
    assert accounting.n_total(shape) == accounting.n_active(shape)
    assert accounting.n_embedding(shape) == 80
    # 6 · 528 for each of 4 tokens, and 12 · 4 · 8 of attention for each
    assert accounting.flops_per_sequence(shape) == 4 * (6 * 528 + 12 * 4 * 8)
    assert accounting.six_nd(shape, 4) == 4 * 6 * 528
    assert accounting.unembedding_share(shape) == pytest.approx(480 / (6 * 528 + 384))


def test_images_without_an_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="images = 1"):
        accounting.train_flops(TINY, sequences=1, images=1)
    with pytest.raises(ValueError, match="sequences = -1"):
        accounting.train_flops(TINY, sequences=-1)
