"""Plain attention for training on CPUs: QK-norm, rotary positions and softmax as one function.

Small heads make generic kernels slow: a reduction over 8 numbers, a product 8 columns wide. Here
positions are the innermost axis throughout, every narrow product is taken transposed (at head
dimension 8 four times faster in MKL) and exp is exp2 (twice as fast). Against the same steps
written with autograd a training step takes about half the time. The matrix products, hence the
counted FLOPs, are the reference's.

Shape suffixes: B rows, T positions, H query heads, J key heads, G = H / J, K head dimension,
N = B · J, C = (H + 2 J) · K.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.architecture.layers import LOG2_E


def _rotate(x_BHKT: Tensor, cos_KT: Tensor, sin_KT: Tensor, sign: float) -> Tensor:
    """Pairs (i, i + K/2) turned by their angle, or back for sign = -1."""
    half = x_BHKT.shape[2] // 2
    out = torch.empty_like(x_BHKT)
    first, second = x_BHKT[:, :, :half], x_BHKT[:, :, half:]
    torch.mul(first, cos_KT, out=out[:, :, :half]).addcmul_(second, sin_KT, value=-sign)
    torch.mul(second, cos_KT, out=out[:, :, half:]).addcmul_(first, sin_KT, value=sign)
    return out


def _by_key_head(x_BHKT: Tensor, n_kv: int) -> Tensor:
    """(B, H, K, T) → (B · J, K, G · T): query heads that share keys, side by side."""
    rows, heads, dim, length = x_BHKT.shape
    shared = heads // n_kv
    out = x_BHKT.view(rows, n_kv, shared, dim, length).transpose(2, 3)
    return out.reshape(rows * n_kv, dim, shared * length)


class PlainAttention(torch.autograd.Function):
    """qkv (B, T, C) → (B, T, H · K); see `plain_attention`."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv_BTC: Tensor,
        gain_H: Tensor,
        cos_KT: Tensor,
        sin_KT: Tensor,
        bias: Tensor,
        n_kv: int,
        eps: float,
    ) -> Tensor:
        rows, length, channels = qkv_BTC.shape
        heads = gain_H.shape[0]
        dim = channels // (heads + 2 * n_kv)
        dtype = qkv_BTC.dtype
        split = (heads + n_kv) * dim
        wide_BCT = qkv_BTC.transpose(1, 2).contiguous()
        raw = wide_BCT[:, :split].view(rows, heads + n_kv, dim, length).float()
        inv = raw.square().mean(2, keepdim=True).add_(eps).rsqrt_()
        gain = torch.cat([gain_H, gain_H.new_ones(n_kv)])[:, None, None]
        turned = _rotate(raw * (inv * gain), cos_KT, sin_KT, 1.0).to(dtype)
        q = _by_key_head(turned[:, :heads], n_kv)
        k = turned[:, heads:].reshape(rows * n_kv, dim, length)
        v = wide_BCT[:, split:].reshape(rows * n_kv, dim, length)
        scores = torch.baddbmm(bias, q.transpose(1, 2), k, alpha=dim**-0.5 * LOG2_E).float()
        weight = scores.sub_(scores.amax(-1, keepdim=True)).exp2_()
        scale = weight.sum(-1).reciprocal_()[:, None]
        weight = weight.to(dtype)
        out = torch.bmm(v, weight.transpose(1, 2)).mul_(scale)
        ctx.save_for_backward(raw, inv, gain, cos_KT, sin_KT, q, k, v, weight, scale, out)
        ctx.sizes = (rows, length, heads, n_kv, dim)
        out = out.view(rows, n_kv, dim, heads // n_kv, length).permute(0, 4, 1, 3, 2)
        return out.reshape(rows, length, heads * dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raw, inv, gain, cos, sin, q, k, v, weight, scale, out = ctx.saved_tensors
        rows, length, heads, n_kv, dim = ctx.sizes
        shared = heads // n_kv
        g = grads[0].view(rows, length, n_kv, shared, dim).permute(0, 2, 4, 3, 1)
        g = g.reshape(rows * n_kv, dim, shared * length)
        g = g * scale.to(g.dtype)
        # d score = weight · scale · (g v - g out), with the scale already inside g
        inner = (g * out).sum(1)[:, :, None]
        d_score = torch.baddbmm(inner, g.transpose(1, 2), v, beta=-1).mul_(weight)
        d_turned = raw.new_empty(raw.shape)
        d_q = _scaled(k, d_score.transpose(1, 2), dim**-0.5)
        d_q = d_q.view(rows, n_kv, dim, shared, length).transpose(2, 3)
        d_turned[:, :heads].view(rows, n_kv, shared, dim, length).copy_(d_q)
        d_k = _scaled(q, d_score, dim**-0.5)
        d_turned[:, heads:] = d_k.view(rows, n_kv, dim, length)
        d_norm = _rotate(d_turned, cos, sin, -1.0)
        inner = (d_norm * raw).sum(2, keepdim=True)
        d_gain = (inner * inv).sum((0, 2, 3))[:heads]
        d_raw = torch.addcmul(d_norm, raw, inner * inv.square(), value=-1 / dim).mul_(inv * gain)
        d_wide = q.new_empty(rows, (heads + 2 * n_kv) * dim, length)
        split = (heads + n_kv) * dim
        d_wide[:, :split] = d_raw.flatten(1, 2)
        d_wide[:, split:] = torch.bmm(g, weight).view(rows, n_kv * dim, length)
        return d_wide.transpose(1, 2).contiguous(), d_gain, None, None, None, None, None


def _scaled(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale · a b, the scale taken inside the product."""
    out = a.new_empty(a.shape[0], a.shape[1], b.shape[2])
    return torch.baddbmm(out, a, b, beta=0, alpha=scale)


def plain_attention(
    qkv_BTC: Tensor,
    gain_H: Tensor,
    rotary_KT: tuple[Tensor, Tensor],
    bias: Tensor,
    n_kv: int,
    eps: float,
) -> Tensor:
    """Attention output (B, T, H · K) from the fused projection [queries, keys, values].

    Queries and keys are divided by their root mean square, queries multiplied by their head's
    gain, both rotated. `bias` (1 or B · J, G · T, T) is 0 or -inf, see Visibility.bias. The
    softmax and the norms are float32 whatever the input.
    """
    cos, sin = rotary_KT
    out: Tensor = PlainAttention.apply(qkv_BTC, gain_H, cos, sin, bias, n_kv, eps)  # type: ignore[no-untyped-call]
    return out
