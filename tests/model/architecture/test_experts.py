"""Grouped experts equal the loop; nothing is dropped; balance works."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from model.architecture.experts import Experts  # noqa: E402
from model.architecture.layers import FeedForward, swiglu  # noqa: E402
from model.architecture.router import summarise  # noqa: E402
from model.architecture.shape import RouterSpec, Shape  # noqa: E402

SHAPE = Shape(
    layers=1,
    width=16,
    heads=2,
    kv_heads=1,
    head_dim=8,
    experts=4,
    top_k=2,
    expert_hidden=22,
    conv=False,
    vocab=16,
    context=32,
)


def build(shape: Shape, backend: Any = "grouped", spec: RouterSpec | None = None) -> Experts:
    layer = Experts(shape, spec or RouterSpec(window=8), backend)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        halves = layer.w13.view(shape.experts, shape.width, 2, -1)
        halves[..., shape.expert_hidden :] = 0
        layer.w2[:, shape.expert_hidden :] = 0
    return layer


def token_by_token(layer: Experts, shape: Shape, x_BTD: Tensor) -> Tensor:
    """The definition: every token through its top experts, weighted."""
    out = []
    gate, up = layer.w13.chunk(2, -1)
    for x in x_BTD.flatten(0, 1):
        probabilities = F.softmax(layer.router.weight @ x, -1)
        best, chosen = probabilities.topk(shape.top_k)
        best = best / best.sum() if shape.top_k > 1 else best
        y = torch.zeros_like(x)
        for weight, e in zip(best, chosen, strict=True):
            y = y + weight * ((F.silu(x @ gate[e]) * (x @ up[e])) @ layer.w2[e])
        if layer.shared is not None:
            y = y + layer.shared(x)
        out.append(y)
    return torch.stack(out).view(x_BTD.shape)


@pytest.mark.parametrize("backend", ["grouped", "loop"])
@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("shared", [0, 6])
def test_backends_equal_the_definition(backend: str, top_k: int, shared: int) -> None:
    shape = replace(SHAPE, top_k=top_k, shared_hidden=shared)
    layer = build(shape, backend)
    x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(1))
    results = []
    for call in (lambda y: layer(y)[0], lambda y: token_by_token(layer, shape, y)):
        layer.zero_grad()
        inputs = x.clone().requires_grad_()
        out = call(inputs)
        out.sin().sum().backward()
        grads = {name: p.grad.clone() for name, p in layer.named_parameters()}
        results.append((out.detach(), inputs.grad, grads))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["grouped", "loop"])
def test_experts_without_tokens_are_no_special_case(backend: str) -> None:
    layer = build(SHAPE, backend)
    with torch.no_grad():
        layer.router.weight.zero_()
        layer.router.weight[1], layer.router.weight[2] = 2.0, 1.0
    x = torch.rand(2, 8, 16, requires_grad=True)
    out, routing = layer(x)
    assert routing.counts_E.tolist() == [0, 16, 16, 0]
    out.sum().backward()
    assert layer.w13.grad[0].abs().sum() == 0
    assert layer.w13.grad[1].abs().sum() > 0
    assert torch.isfinite(x.grad).all()
    torch.testing.assert_close(out, token_by_token(layer, SHAPE, x), rtol=1e-4, atol=1e-5)
    assert summarise([routing], layer.router.spec).dead == 2


def test_padding_stays_zero_in_training() -> None:
    layer = build(SHAPE)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    for seed in range(3):
        x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(seed))
        layer(x)[0].square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    halves = layer.w13.view(4, 16, 2, 24)
    assert halves[..., :22].abs().min() > 0
    assert halves[..., 22:].abs().max() == 0
    assert layer.w2[:, 22:].abs().max() == 0


def test_balance_loss_is_the_same_at_every_batch_size() -> None:
    layer = build(SHAPE)
    x = torch.randn(6, 16, 16, generator=torch.Generator().manual_seed(2))
    whole = layer(x)[1].balance_loss
    parts = torch.stack([layer(x[i : i + 2])[1].balance_loss for i in (0, 2, 4)])
    torch.testing.assert_close(whole, parts.mean())
    one_window = build(SHAPE, spec=RouterSpec(window=16))
    assert one_window(x)[1].balance_loss < whole  # the wider the window, the milder


def test_balance_loss_is_one_when_even_and_falls_towards_it() -> None:
    layer = build(SHAPE)
    with torch.no_grad():
        layer.router.weight.zero_()
    x = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(layer(x)[1].balance_loss, torch.tensor(1.0))
    skewed = build(SHAPE)
    with torch.no_grad():
        skewed.router.weight[0] += 0.5 * x.mean((0, 1)).sign()
    optimiser = torch.optim.SGD(skewed.router.parameters(), lr=0.5)
    before = skewed(x)[1].balance_loss.item()
    for _ in range(50):
        optimiser.zero_grad()
        skewed(x)[1].balance_loss.backward()
        optimiser.step()
    assert before > 1.05
    assert skewed(x)[1].balance_loss.item() < 1.02


def test_balance_by_bias_evens_the_load_without_touching_gates() -> None:
    spec = RouterSpec(balance="bias", bias_rate=0.01)
    layer = build(SHAPE, spec=spec)
    with torch.no_grad():
        layer.router.weight[0] += 0.1
    x = torch.rand(4, 32, 16, generator=torch.Generator().manual_seed(4))
    start = summarise([layer(x)[1]], spec)
    assert start.loss == spec.z_weight * start.z_loss
    for _ in range(60):
        layer.router.move_bias(layer(x)[1].counts_E)
    end = summarise([layer(x)[1]], spec)
    assert end.entropy > 0.98 > start.entropy + 0.05
    gates = layer(x)[1].gates_NK
    torch.testing.assert_close(gates.sum(-1), torch.ones(len(gates)))


def test_entropy_is_one_for_an_even_load_and_zero_for_one_expert() -> None:
    layer = build(replace(SHAPE, top_k=1))
    routing = layer(torch.rand(1, 8, 16))[1]
    even = replace_counts(routing, torch.full((4,), 2.0))
    single = replace_counts(routing, torch.tensor([8.0, 0.0, 0.0, 0.0]))
    assert summarise([even], RouterSpec()).entropy == pytest.approx(1.0)
    assert summarise([single], RouterSpec()).entropy == pytest.approx(0.0)
    assert summarise([even, single], RouterSpec()).dead == 3


def replace_counts(routing: Any, counts: Tensor) -> Any:
    return replace(routing, counts_E=counts)


def test_swiglu_equals_its_formula() -> None:
    x = torch.randn(7, 12, generator=torch.Generator().manual_seed(5)) * 20
    x[0, 0] = -1000.0  # the exponential overflows, the result must not
    results = []
    for call in (swiglu, lambda y: F.silu(y[:, :6]) * y[:, 6:]):
        inputs = x.clone().requires_grad_()
        out = call(inputs)
        out.sin().sum().backward()
        results.append((out.detach(), inputs.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="experts = 'fast'"):
        build(SHAPE, "fast")


def test_dense_layer_is_the_formula() -> None:
    layer = FeedForward(8, 12)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(6))
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(7))
    expected = (F.silu(x @ layer.w13[:12].t()) * (x @ layer.w13[12:].t())) @ layer.w2.t()
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", ["grouped", "loop"])
def test_cuda_experts_agree_with_float64(dtype: torch.dtype, backend: str) -> None:
    shape = replace(SHAPE, width=64, experts=8, expert_hidden=88)
    exact = build(shape, "loop").double()
    layer = build(shape, backend).cuda()
    x = torch.randn(2, 32, 64, generator=torch.Generator().manual_seed(8))
    a, b = x.double().requires_grad_(), x.cuda().requires_grad_()
    out_a, routing_a = exact(a)
    with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
        out_b, routing_b = layer(b)
    assert torch.equal(routing_a.experts_NK, routing_b.experts_NK.cpu())
    out_a.square().sum().backward()
    out_b.float().square().sum().backward()
    tolerance = 0.03 if dtype == torch.bfloat16 else 2e-3
    pairs = [(out_b, out_a), (b.grad, a.grad), (layer.w13.grad, exact.w13.grad)]
    for ours, reference in [*pairs, (layer.w2.grad, exact.w2.grad)]:
        scale = reference.abs().max().item()
        torch.testing.assert_close(
            ours.cpu().double(), reference.double(), rtol=2 * tolerance, atol=tolerance * scale
        )
