"""The one place where attention is chosen and computed.

Backends, all the same function of their arguments:

- "eager": softmax written out; the reference, and the fastest at short windows on CPUs.
  Training goes through `plain_attention.py`, which fuses the steps around it.
- "sdpa": torch's own choice of kernel, on any device; cuDNN, which has its own name, apart.
- "flash", "cudnn": torch's FlashAttention or cuDNN kernel, CUDA only, half precision.
- "flash_attn": the flash-attn package, CUDA only, half precision.

Rows of text are causal and use the kernel. Rows with images need a mask (bidirectional within an
image, causal elsewhere) and use torch's masked attention; they stand last in the batch.

Shape suffixes: B rows, T queries, S keys, H query heads, J key heads, K head dimension.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

AttentionBackend = Literal["eager", "sdpa", "flash_attn", "cudnn", "flash"]

_KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
# cuDNN plans anew, for tens of milliseconds, where a shape is new: at each step of a generation.
_UNPLANNED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@cache
def flash_attn_importable() -> bool:
    """True where the flash-attn package is installed."""
    return importlib.util.find_spec("flash_attn") is not None


def available_attention(
    device_type: str, dtype: torch.dtype, head_dim: int
) -> tuple[AttentionBackend, ...]:
    """Backends that can run there, the usually fastest first."""
    if device_type != "cuda":
        return ("eager", "sdpa")
    if dtype not in (torch.bfloat16, torch.float16) or head_dim % 8 or head_dim > 256:
        return ("sdpa", "eager")
    kernels: tuple[AttentionBackend, ...] = ("flash", "cudnn", "sdpa", "eager")
    return ("flash_attn", *kernels) if flash_attn_importable() else kernels


def check_backend(backend: str) -> None:
    """Raise ValueError for an unknown backend, or for flash-attn where it is missing."""
    if backend not in get_args(AttentionBackend):
        allowed = ", ".join(get_args(AttentionBackend))
        raise ValueError(f"attention = {backend!r}: must be one of {allowed}")
    if backend == "flash_attn" and not flash_attn_importable():
        raise ValueError("attention = 'flash_attn': flash-attn is missing; install the extra [gpu]")


@dataclass(slots=True)
class Visibility:
    """Who sees whom in one forward pass, shared by all layers; masks are built once, on demand.

    `images_BS` numbers the images in the last rows of the batch (0 is text). None: all rows
    are text. `causal = False` lets everything see everything.
    """

    causal: bool = True
    images_BS: Tensor | None = None
    _masks: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    @property
    def image_rows(self) -> int:
        """Rows at the end of the batch that need a mask."""
        return 0 if self.images_BS is None else self.images_BS.shape[0]

    def visible(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """True where a query may look: (image_rows or 1, queries, keys).

        The queries are the last of the keys' positions.
        """
        seen = torch.ones(1, queries, keys, dtype=torch.bool, device=device)
        if self.causal:
            seen = seen.tril(keys - queries)
        if self.images_BS is not None:
            ids = self.images_BS
            same = ids[:, keys - queries :, None] == ids[:, None, :]
            seen = seen | (same & (ids[:, None, :] > 0))
        return seen

    def bias(
        self, rows: int, groups: tuple[int, int], queries: int, keys: int, like: Tensor
    ) -> Tensor:
        """0 where visible, -inf elsewhere, for scores laid out as (rows · J, G · T, S).

        `groups` is (J, G): key heads, and query heads that share one. Text only: (1, G · T, S).
        """
        n_kv, shared = groups
        if self.images_BS is None:
            make = _causal_bias if torch.compiler.is_compiling() else _kept_causal_bias
            return make(queries, keys, shared, self.causal, like.device, like.dtype)
        key = (rows, n_kv, shared, queries, keys)
        if key not in self._masks:
            text = rows - self.image_rows
            causal = Visibility(causal=self.causal).visible(queries, keys, like.device)
            seen = self.visible(queries, keys, like.device)
            all_rows = torch.cat([causal.expand(text, -1, -1), seen])
            bias = like.new_zeros(all_rows.shape).masked_fill_(~all_rows, -math.inf)
            wide = bias[:, None, None].expand(-1, n_kv, shared, -1, -1)
            self._masks[key] = wide.reshape(rows * n_kv, shared * queries, keys)
        return self._masks[key]


def _causal_bias(
    queries: int, keys: int, shared: int, causal: bool, device: torch.device, dtype: torch.dtype
) -> Tensor:
    if not causal:
        return torch.zeros(1, 1, 1, device=device, dtype=dtype)
    full = torch.full((queries, keys), -math.inf, device=device, dtype=dtype)
    return full.triu(1 + keys - queries).repeat(shared, 1)[None]


@lru_cache(maxsize=64)
def _kept_causal_bias(
    queries: int, keys: int, shared: int, causal: bool, device: torch.device, dtype: torch.dtype
) -> Tensor:
    with torch.inference_mode(False):  # a generation may make what training then uses
        return _causal_bias(queries, keys, shared, causal, device, dtype)


def attend(
    q_BTHK: Tensor,
    k_BSJK: Tensor,
    v_BSJK: Tensor,
    visibility: Visibility,
    backend: AttentionBackend,
) -> Tensor:
    """Attention output (B, T, H, K), logits scaled by 1 / sqrt(K).

    T < S means that the queries are the last T positions (cached generation).
    """
    images = visibility.image_rows
    if images and backend != "eager":
        text = q_BTHK.shape[0] - images
        masked = _masked(q_BTHK[text:], k_BSJK[text:], v_BSJK[text:], visibility)
        if not text:
            return masked
        plain = Visibility(causal=visibility.causal)
        kernel = attend(q_BTHK[:text], k_BSJK[:text], v_BSJK[:text], plain, backend)
        return torch.cat([kernel, masked])
    if backend == "eager":
        return _eager(q_BTHK, k_BSJK, v_BSJK, visibility)
    if backend == "flash_attn":
        out: Tensor = _flash_attn()(q_BTHK, k_BSJK, v_BSJK, causal=visibility.causal)
        return out
    queries, keys = q_BTHK.shape[1], k_BSJK.shape[1]
    if visibility.causal and queries not in (1, keys):
        return _masked(q_BTHK, k_BSJK, v_BSJK, visibility)
    causal = visibility.causal and queries > 1
    grouped = q_BTHK.shape[2] != k_BSJK.shape[2]
    q, k, v = (x.transpose(1, 2) for x in (q_BTHK, k_BSJK, v_BSJK))
    with _kernels(backend, q.device):
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
    return out.transpose(1, 2)


def _kernels(
    backend: AttentionBackend, device: torch.device
) -> contextlib.AbstractContextManager[None]:
    """The kernels that a backend may use; a choice exists on CUDA only."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return sdpa_kernel(_KERNELS.get(backend, _UNPLANNED))


def generating(backend: AttentionBackend) -> AttentionBackend:
    """The backend for continuing a cached sequence, whose length is new at every step."""
    return "flash" if backend == "cudnn" else backend


def _masked(q: Tensor, k: Tensor, v: Tensor, visibility: Visibility) -> Tensor:
    """Masked attention; keys are repeated, since masked kernels know no shared heads."""
    shared = q.shape[2] // k.shape[2]
    seen = visibility.visible(q.shape[1], k.shape[1], q.device)
    k, v = k.repeat_interleave(shared, 2), v.repeat_interleave(shared, 2)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    with _kernels("sdpa", q.device):
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
    return out.transpose(1, 2)


def _eager(q: Tensor, k: Tensor, v: Tensor, visibility: Visibility) -> Tensor:
    """Softmax written out, in float32; query heads that share keys stand in one product."""
    rows, queries, heads, dim = q.shape
    keys, n_kv = k.shape[1], k.shape[2]
    shared = heads // n_kv
    q = q.view(rows, queries, n_kv, shared, dim).permute(0, 2, 3, 1, 4)
    q = q.reshape(rows * n_kv, shared * queries, dim)
    k, v = (x.transpose(1, 2).reshape(rows * n_kv, keys, dim) for x in (k, v))
    bias = visibility.bias(rows, (n_kv, shared), queries, keys, q)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=dim**-0.5)
    out = torch.bmm(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v)
    out = out.view(rows, n_kv, shared, queries, dim).permute(0, 3, 1, 2, 4)
    return out.reshape(rows, queries, heads, dim)


@cache
def _flash_attn() -> Any:
    return importlib.import_module("flash_attn").flash_attn_func
