"""Shapes: every size of a model, and the constants that carry its settings across sizes.

Nothing here needs torch, so that a plan can be made where none is installed. A `Shape` fixes
parameter counts and FLOPs exactly (see `accounting`); a `Parametrisation` fixes how initial
values, learning rates and branch scales move with the shape; a `RouterSpec` how experts are kept
in balance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

Balance = Literal["loss", "bias"]

ALIGNMENT = 8  # elements: 16 bytes in bfloat16, which grouped matrix products ask of every stride


def _check_int(owner: str, name: str, value: object, low: int, high: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        upper = "" if high == math.inf else f" and at most {high:.0f}"
        raise ValueError(f"{owner}.{name} = {value!r}: must be an integer, at least {low}{upper}")


def _check_multiple(owner: str, name: str, value: int, of: int, why: str) -> None:
    if value % of:
        raise ValueError(f"{owner}.{name} = {value}: must be a multiple of {of} ({why})")


def _check_number(owner: str, name: str, value: object, *, zero: bool = True) -> None:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    number = float(value) if real else math.nan  # type: ignore[arg-type]
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        low = "at least 0" if zero else "above 0"
        raise ValueError(f"{owner}.{name} = {value!r}: must be {low} and finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionShape:
    """A patch-embedding encoder: one grey image in, `patches` vectors of `width` out."""

    width: int
    layers: int
    heads: int
    hidden: int  # of the SwiGLU layer
    patch: int = 8  # side of a square patch, pixels
    image_height: int = 8
    image_width: int = 32

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "hidden", "patch", "image_height", "image_width"):
            _check_int("VisionShape", name, getattr(self, name), 1)
        _check_multiple("VisionShape", "width", self.width, self.heads, "heads")
        _check_multiple("VisionShape", "image_height", self.image_height, self.patch, "patch")
        _check_multiple("VisionShape", "image_width", self.image_width, self.patch, "patch")

    @property
    def patches(self) -> int:
        """Positions that one image takes in the sequence."""
        return (self.image_height // self.patch) * (self.image_width // self.patch)

    @property
    def patch_dim(self) -> int:
        """Pixels in one patch."""
        return self.patch * self.patch


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A decoder: all that decides its parameters and FLOPs.

    `experts == 1` is a dense model, without a router. `heads * head_dim` need not be `width`.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    top_k: int
    expert_hidden: int
    shared_hidden: int = 0  # width of an expert that every token visits; 0 for none
    conv: bool = True  # short causal depthwise convolution on both branch inputs
    vocab: int
    context: int
    vision: VisionShape | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "kv_heads", "head_dim", "experts"):
            _check_int("Shape", name, getattr(self, name), 1)
        _check_int("Shape", "top_k", self.top_k, 1, self.experts)
        _check_int("Shape", "expert_hidden", self.expert_hidden, 1)
        _check_int("Shape", "shared_hidden", self.shared_hidden, 0)
        _check_int("Shape", "vocab", self.vocab, 2)
        _check_int("Shape", "context", self.context, 2)
        _check_multiple("Shape", "width", self.width, ALIGNMENT, "aligned rows")
        _check_multiple("Shape", "heads", self.heads, self.kv_heads, "kv_heads")
        _check_multiple("Shape", "head_dim", self.head_dim, 2, "rotary pairs")
        if not isinstance(self.conv, bool):
            raise ValueError(f"Shape.conv = {self.conv!r}: must be true or false")
        if self.dense and self.shared_hidden:
            raise ValueError(
                f"Shape.shared_hidden = {self.shared_hidden}: must be 0 where experts = 1; "
                "a dense layer's whole width is expert_hidden"
            )
        if self.vision is not None and self.vision.patches >= self.context:
            raise ValueError(
                f"Shape.vision has {self.vision.patches} patches: must be fewer than "
                f"context = {self.context}"
            )

    @property
    def dense(self) -> bool:
        """True where there is one expert and hence no router."""
        return self.experts == 1

    @property
    def padded_hidden(self) -> int:
        """`expert_hidden` as stored: rounded up for alignment; the excess stays exactly zero."""
        return -(-self.expert_hidden // ALIGNMENT) * ALIGNMENT

    def dense_twin(self) -> Shape:
        """The dense shape with the same active parameters and FLOPs, the router's apart."""
        if self.dense:
            return self
        hidden = self.top_k * self.expert_hidden + self.shared_hidden
        return replace(self, experts=1, top_k=1, expert_hidden=hidden, shared_hidden=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parametrisation:
    """CompleteP constants: what stays put while width and depth grow.

    Source: Dey et al. 2025, arXiv:2505.01618, table 1 with alpha = 1. Fan-in ratios are taken to
    be the width's, so heads, expert_hidden and shared_hidden should grow in step with width.
    """

    base_width: int = 32
    base_layers: int = 2  # branches are scaled down beyond this depth only
    base_vision_width: int = 32
    base_vision_layers: int = 1
    embedding_std: float = 1.0
    hidden_gain: float = 0.5  # matrices start with std hidden_gain / sqrt(fan_in)
    qk_gain: float = 3.0  # initial gain of the normalised attention logits, learned per head
    embedding_lr: float = 1.0  # times the base learning rate, at every width
    unembedding_lr: float = 1.0

    def __post_init__(self) -> None:
        for name in ("base_width", "base_layers", "base_vision_width", "base_vision_layers"):
            _check_int("Parametrisation", name, getattr(self, name), 1)
        for name in ("embedding_std", "hidden_gain", "qk_gain", "embedding_lr", "unembedding_lr"):
            _check_number("Parametrisation", name, getattr(self, name), zero=False)

    def width_ratio(self, shape: Shape) -> float:
        """m: the width over the base width."""
        return shape.width / self.base_width

    def branch_scale(self, shape: Shape) -> float:
        """Factor on every branch's output: base_layers / layers beyond the base, else 1."""
        return min(1.0, self.base_layers / shape.layers)

    def vision_width_ratio(self, vision: VisionShape) -> float:
        """m of the image encoder, which has its own base."""
        return vision.width / self.base_vision_width

    def vision_branch_scale(self, vision: VisionShape) -> float:
        """Factor on every branch's output in the image encoder."""
        return min(1.0, self.base_vision_layers / vision.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSpec:
    """How tokens are spread over experts.

    The balance loss is a mean over windows of `window` tokens within a sequence (the whole
    sequence where that is shorter), never over the batch, so it asks for the same thing at every
    batch size. With "bias" a per-expert offset steers the choice instead, moved by `bias_rate`
    after each step (arXiv:2408.15664).
    """

    balance: Balance = "loss"
    balance_weight: float = 0.01
    z_weight: float = 1e-4
    window: int = 64
    bias_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.balance not in get_args(Balance):
            allowed = ", ".join(get_args(Balance))
            raise ValueError(f"RouterSpec.balance = {self.balance!r}: must be one of {allowed}")
        for name in ("balance_weight", "z_weight", "bias_rate"):
            _check_number("RouterSpec", name, getattr(self, name))
        _check_int("RouterSpec", "window", self.window, 1)
