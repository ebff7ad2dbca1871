"""All backends compute the same attention, in value and in gradient."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from model.architecture.attention import (  # noqa: E402
    Visibility,
    attend,
    available_attention,
    check_backend,
)
from model.architecture.layers import NORM_EPS, norm, rotary_tables, rotate  # noqa: E402
from model.architecture.plain_attention import plain_attention  # noqa: E402

ROWS, LENGTH, HEADS, KV_HEADS, DIM = 3, 20, 6, 3, 8


def images() -> Tensor:
    """Two rows with images: one image, then two adjacent ones."""
    ids = torch.zeros(2, LENGTH, dtype=torch.long)
    ids[0, 3:8] = 1
    ids[1, 2:6], ids[1, 6:11] = 1, 2
    return ids


def exact(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Attention in float64, written head by head; seen (B, T, S)."""
    q, k, v = q.double(), k.double(), v.double()
    shared = q.shape[2] // k.shape[2]
    heads = []
    for h in range(q.shape[2]):
        scores = q[:, :, h] @ k[:, :, h // shared].transpose(1, 2) / math.sqrt(q.shape[-1])
        weight = scores.masked_fill(~seen, -math.inf).softmax(-1)
        heads.append(weight @ v[:, :, h // shared])
    return torch.stack(heads, 2)


def who_sees_whom(ids: Tensor | None, queries: int, keys: int) -> Tensor:
    seen = torch.zeros(ROWS, queries, keys, dtype=torch.bool)
    for row in range(ROWS):
        for t in range(queries):
            at = keys - queries + t
            seen[row, t, : at + 1] = True
            image_row = row - ROWS + (0 if ids is None else len(ids))
            if ids is not None and image_row >= 0 and ids[image_row, at] > 0:
                seen[row, t] |= ids[image_row] == ids[image_row, at]
    return seen


def draw(queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(ROWS, queries, HEADS, DIM, generator=generator)
    k = torch.randn(ROWS, keys, KV_HEADS, DIM, generator=generator)
    v = torch.randn(ROWS, keys, KV_HEADS, DIM, generator=generator)
    return q, k, v


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("with_images", [False, True])
@pytest.mark.parametrize("queries", [LENGTH, 5, 1])
def test_backends_agree_with_float64(backend: str, with_images: bool, queries: int) -> None:
    ids = images() if with_images else None
    inputs = [x.requires_grad_() for x in draw(queries, LENGTH)]
    out = attend(*inputs, Visibility(images_BS=ids), backend)
    double = [x.detach().double().requires_grad_() for x in inputs]
    expected = exact(*double, who_sees_whom(ids, queries, LENGTH))
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    out.backward(direction)
    expected.backward(direction.double())
    for x, y in zip(inputs, double, strict=True):
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-4, atol=1e-5)


def separate(qkv: Tensor, gain: Tensor, visibility: Visibility) -> Tensor:
    """What plain_attention fuses, step by step."""
    x = qkv.view(ROWS, LENGTH, HEADS + 2 * KV_HEADS, DIM)
    q, k, v = x.split([HEADS, KV_HEADS, KV_HEADS], 2)
    tables = rotary_tables(LENGTH, DIM)
    q, k = rotate(norm(q) * gain[:, None], tables), rotate(norm(k), tables)
    return attend(q, k, v, visibility, "eager").flatten(-2)


@pytest.mark.parametrize("with_images", [False, True])
def test_fused_plain_attention_equals_its_steps(with_images: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    qkv = torch.randn(ROWS, LENGTH, (HEADS + 2 * KV_HEADS) * DIM, generator=generator)
    gain = 1 + torch.rand(HEADS, generator=generator)
    visibility = Visibility(images_BS=images() if with_images else None)
    results = []
    for fused in (True, False):
        a, b = qkv.clone().requires_grad_(), gain.clone().requires_grad_()
        if fused:
            groups = (KV_HEADS, HEADS // KV_HEADS)
            bias = visibility.bias(ROWS, groups, LENGTH, LENGTH, a)
            tables = rotary_tables(LENGTH, DIM)
            out = plain_attention(a, b, tables, bias, KV_HEADS, NORM_EPS)
        else:
            out = separate(a, b, visibility)
        out.sin().sum().backward()
        results.append((out.detach(), a.grad, b.grad))
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_gain_lifts_the_cap_on_logits() -> None:
    # normalised heads of dimension 8 cannot exceed sqrt(8) before the gain
    x = 100 * torch.randn(64, DIM, generator=torch.Generator().manual_seed(4))
    logits = norm(x) @ norm(x).t() / math.sqrt(DIM)
    assert logits.max() <= math.sqrt(DIM) + 1e-4
    assert (3 * logits).max() > math.sqrt(DIM)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="attention = 'fast'"):
        check_backend("fast")


def test_special_kernels_are_offered_on_cuda_only() -> None:
    assert set(available_attention("cpu", torch.float32, 8)) == {"eager", "sdpa"}
    assert "cudnn" not in available_attention("cuda", torch.float32, 64)
    assert "flash" in available_attention("cuda", torch.bfloat16, 64)
    assert "flash" not in available_attention("cuda", torch.bfloat16, 12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", ["eager", "sdpa", "flash", "cudnn", "flash_attn"])
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("with_images", [False, True])
def test_cuda_backends_agree_with_float64(
    dtype: torch.dtype, backend: str, dim: int, with_images: bool
) -> None:
    if backend not in available_attention("cuda", dtype, dim):
        pytest.skip(f"{backend} does not run here in {dtype}")
    generator = torch.Generator().manual_seed(5)
    sizes = ((ROWS, LENGTH, HEADS, dim), *2 * [(ROWS, LENGTH, KV_HEADS, dim)])
    ids = images() if with_images else None
    seen = who_sees_whom(ids, LENGTH, LENGTH)
    device_ids = None if ids is None else ids.cuda()
    inputs = [
        torch.randn(size, generator=generator).to("cuda", dtype).requires_grad_() for size in sizes
    ]
    double = [x.detach().cpu().double().requires_grad_() for x in inputs]
    out = attend(*inputs, Visibility(images_BS=device_ids), backend)
    expected = exact(*double, seen)
    # bfloat16 keeps 8 bits: an element may be off by 2^-8 of the largest, a few times over
    tolerance = 0.03 if dtype == torch.bfloat16 else 2e-3  # float32 may run as TF32
    torch.testing.assert_close(out.cpu().double(), expected, rtol=tolerance, atol=tolerance)
    out.float().square().sum().backward()
    expected.square().sum().backward()
    for x, y in zip(inputs, double, strict=True):
        scale = y.grad.abs().max().item()
        torch.testing.assert_close(
            x.grad.cpu().double(), y.grad, rtol=2 * tolerance, atol=2 * tolerance * scale
        )
