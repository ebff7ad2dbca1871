"""The whole model: causality, images, caches, dtypes, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from model.architecture.cache import KVCache  # noqa: E402
from model.architecture.decoder import Decoder  # noqa: E402
from model.architecture.shape import Parametrisation, RouterSpec, Shape, VisionShape  # noqa: E402

IMAGE = 1
SHAPE = Shape(
    layers=2,
    width=16,
    heads=4,
    kv_heads=2,
    head_dim=8,
    experts=4,
    top_k=2,
    expert_hidden=22,
    shared_hidden=8,
    conv=True,
    vocab=40,
    context=32,
    vision=VisionShape(width=12, layers=1, heads=2, hidden=16, patch=4),
)


def build(shape: Shape = SHAPE, **options: Any) -> Decoder:
    """A model whose every part matters: nothing left at zero."""
    model = Decoder(shape, Parametrisation(), image_token=IMAGE, **options)
    generator = torch.Generator().manual_seed(0)
    model.initialise(generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("unembedding", "output_bias") or "conv" in name or "router" in name:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Three rows, the last with an image at positions 3 to 18."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(2, 40, (3, 24), generator=generator)
    inputs[2, 3:19] = IMAGE
    ids = torch.zeros(1, 24, dtype=torch.long)
    ids[0, 3:19] = 1
    return inputs, torch.rand(1, 16, 16, generator=generator), ids


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_text_never_sees_its_future(attention: str) -> None:
    model = build(attention=attention)
    inputs = batch()[0][:2]
    before = model(inputs).logits_BTV
    changed = inputs.clone()
    changed[:, 10] = (changed[:, 10] - 1) % 38 + 2
    after = model(changed).logits_BTV
    torch.testing.assert_close(after[:, :10], before[:, :10])
    assert (after[:, 10:] - before[:, 10:]).abs().amax((0, 2)).min() > 1e-4


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_images_are_seen_whole_from_their_first_patch(attention: str) -> None:
    model = build(replace(SHAPE, conv=False), attention=attention)
    inputs, patches, ids = batch()
    before = model(inputs, patches, ids).logits_BTV
    dark = patches.clone()
    dark[0, 15] = 0
    after = model(inputs, dark, ids).logits_BTV
    moved = (after - before).abs().amax(-1)
    assert moved[:2].max() == 0  # other rows
    assert moved[2, :3].max() == 0  # text before the image
    assert moved[2, 3:].min() > 1e-5  # the image's first patch, and all that follows
    later = inputs.clone()
    later[2, 20] = 5 if inputs[2, 20] != 5 else 6
    moved = (model(later, patches, ids).logits_BTV - before).abs().amax(-1)
    assert moved[2, :20].max() < 1e-6
    assert moved[2, 20:].min() > 1e-5


def test_attention_backends_agree_through_the_whole_model() -> None:
    inputs, patches, ids = batch()
    results = []
    for attention in ("eager", "sdpa"):
        model = build(attention=attention)
        logits = model(inputs, patches, ids).logits_BTV
        logits.sin().sum().backward()
        results.append((logits.detach(), {n: p.grad for n, p in model.named_parameters()}))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)


def test_every_parameter_gets_a_gradient() -> None:
    model = build(replace(SHAPE, context=32))
    output = model(*batch())
    (output.logits_BTV.sin().sum() + output.router.loss).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("pieces", [(24,), (19, 5), (20, 1, 1, 1, 1), (19, 3, 2)])
def test_cached_logits_equal_uncached(attention: str, pieces: tuple[int, ...]) -> None:
    model = build(attention=attention).eval()
    inputs, patches, ids = batch()
    whole = model(inputs, patches, ids).logits_BTV
    cache, parts, at = KVCache(SHAPE, 3), [], 0
    for length in pieces:
        image = (patches, ids[:, :length]) if at == 0 else (None, None)
        parts.append(model(inputs[:, at : at + length], *image, cache).logits_BTV)
        at += length
    assert cache.length == 24
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)


def test_cache_refuses_what_does_not_fit() -> None:
    model = build()
    cache = KVCache(SHAPE, 1, 6)
    model(torch.full((1, 5), 3), cache=cache)
    with pytest.raises(ValueError, match="at most 6"):
        model(torch.full((1, 2), 3), cache=cache)
    with pytest.raises(ValueError, match="2 rows in a cache for 1"):
        model(torch.full((2, 1), 3), cache=cache)
    with pytest.raises(ValueError, match="capacity = 33"):
        KVCache(SHAPE, 1, 33)


def test_autocast_keeps_float32_where_it_matters() -> None:
    model = build()
    exact = model(*batch())
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*batch())
        (rough.logits_BTV.square().mean() + rough.router.loss).backward()
    assert rough.logits_BTV.dtype == torch.float32
    assert rough.router.loss.dtype == torch.float32
    assert all(p.dtype == torch.float32 and p.grad.dtype == p.dtype for p in model.parameters())
    difference = (rough.logits_BTV - exact.logits_BTV).detach()
    # bfloat16 keeps 8 bits; a token whose experts change may move further, few do
    assert difference.abs().median() < 0.05 * exact.logits_BTV.std()


def test_output_bias_starts_at_the_log_unigram() -> None:
    model = Decoder(SHAPE, Parametrisation(), image_token=IMAGE)
    log_unigram = torch.rand(40).log_softmax(-1)
    model.initialise(torch.Generator().manual_seed(0), log_unigram)
    logits = model(batch()[0][:2]).logits_BTV
    torch.testing.assert_close(logits, log_unigram.expand_as(logits))
    with pytest.raises(ValueError, match="log_unigram has shape"):
        model.initialise(torch.Generator(), log_unigram[1:])


def test_same_seed_same_bits() -> None:
    first, second = build(), build()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    grads = []
    for model in (first, second):
        model(*batch()).logits_BTV.sin().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_router_output_by_layer_and_none_for_dense() -> None:
    router = build()(batch()[0][:2]).router
    assert router.load_LE.shape == (2, 4)
    torch.testing.assert_close(router.load_LE.sum(-1), torch.ones(2))
    assert not router.load_LE.requires_grad
    dense = replace(SHAPE.dense_twin(), vision=None)
    assert build(dense)(batch()[0][:2]).router is None


def test_balance_step_moves_biases_and_they_are_saved() -> None:
    model = build(router=RouterSpec(balance="bias"))
    model.balance_step(model(batch()[0][:2]).router.load_LE)
    saved = {name: value for name, value in model.state_dict().items() if "router.bias" in name}
    assert len(saved) == 2
    assert all(value.abs().max() == pytest.approx(1e-3) for value in saved.values())
    model = build()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.balance_step(model(batch()[0][:2]).router.load_LE)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_bad_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="image_token = None"):
        Decoder(SHAPE, Parametrisation())
    model = build()
    with pytest.raises(ValueError, match="at most context 32"):
        model(torch.zeros(1, 33, dtype=torch.long))
    with pytest.raises(ValueError, match="patches have shape"):
        model(batch()[0], torch.rand(1, 15, 16), batch()[2])
    with pytest.raises(ValueError, match="without vision"):
        build(replace(SHAPE, vision=None))(batch()[0], torch.rand(1, 16, 16), batch()[2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_model_agrees_with_the_cpu(dtype: torch.dtype) -> None:
    exact = build()(*batch()).logits_BTV
    model = build(attention="sdpa").cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model(*(x.cuda() for x in batch())).logits_BTV
    difference = (logits.cpu() - exact).abs()
    limit = 0.05 if dtype == torch.bfloat16 else 1e-3
    assert difference.median() < limit * exact.std()
