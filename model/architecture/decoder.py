"""The model: a decoder-only transformer with sparse experts and images in its sequence.

Parameters are float32 always; under torch.autocast the matrix products run in the given dtype,
while the residual stream, norms, softmax, router and (after the unembedding) logits stay float32.

Shape suffixes: B rows, T positions, D width, V vocabulary, H heads, J key heads, K head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.architecture.attention import (
    AttentionBackend,
    Visibility,
    attend,
    check_backend,
    generating,
)
from model.architecture.cache import KVCache
from model.architecture.experts import Experts, ExpertsBackend, check_experts_backend
from model.architecture.layers import (
    NORM_EPS,
    TAPS,
    FeedForward,
    norm,
    rotary_tables,
    rotate,
    short_conv,
)
from model.architecture.plain_attention import plain_attention
from model.architecture.router import RouterOutput, Routing, summarise
from model.architecture.shape import Parametrisation, RouterSpec, Shape
from model.architecture.vision import VisionEncoder

Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """Logits for every position, float32, and the routing; `router` is None for dense models."""

    logits_BTV: Tensor
    router: RouterOutput | None


class Attention(nn.Module):
    """Grouped-query attention with QK-norm and a learned gain per query head."""

    def __init__(self, shape: Shape, backend: AttentionBackend) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = shape.heads, shape.kv_heads, shape.head_dim
        self.backend = backend
        inner = self.heads * self.head_dim
        channels = inner + 2 * self.kv_heads * self.head_dim
        self.qkv = nn.Parameter(torch.zeros(channels, shape.width))
        self.gain = nn.Parameter(torch.ones(self.heads))
        self.out = nn.Parameter(torch.zeros(shape.width, inner))

    def forward(
        self,
        x_BTD: Tensor,
        rotary: Rotary,
        visibility: Visibility,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """Same shape as x. Rotary tables hold the positions of x."""
        qkv_BTC = F.linear(x_BTD, self.qkv)
        written_out = self.backend == "eager" and cache is None
        if written_out and not torch.compiler.is_compiling():
            rows, length, _ = qkv_BTC.shape
            groups = (self.kv_heads, self.heads // self.kv_heads)
            bias = visibility.bias(rows, groups, length, length, qkv_BTC)
            seen = plain_attention(qkv_BTC, self.gain, rotary, bias, self.kv_heads, NORM_EPS)
            return F.linear(seen, self.out)
        qkv = qkv_BTC.view(*qkv_BTC.shape[:2], -1, self.head_dim)
        q, k, v = qkv.tensor_split([self.heads, self.heads + self.kv_heads], 2)
        q = rotate(norm(q) * self.gain[:, None], rotary).to(v.dtype)
        k = rotate(norm(k), rotary).to(v.dtype)
        backend = self.backend
        if cache is not None:
            k, v = cache.extend(layer, k, v)
            backend = generating(backend)
        return F.linear(attend(q, k, v, visibility, backend).flatten(-2), self.out)


class Block(nn.Module):
    """Attention, then experts: each behind a norm and the short convolution, added back scaled."""

    def __init__(
        self,
        shape: Shape,
        router: RouterSpec,
        scale: float,
        attention: AttentionBackend,
        experts: ExpertsBackend,
    ) -> None:
        super().__init__()
        d = shape.width
        self.scale = scale
        self.norm_attention = nn.Parameter(torch.ones(d))
        self.norm_feed = nn.Parameter(torch.ones(d))
        self.conv_attention = nn.Parameter(torch.zeros(TAPS, d)) if shape.conv else None
        self.conv_feed = nn.Parameter(torch.zeros(TAPS, d)) if shape.conv else None
        self.attention = Attention(shape, attention)
        self.feed: Experts | FeedForward = (
            FeedForward(d, shape.expert_hidden) if shape.dense else Experts(shape, router, experts)
        )

    def forward(
        self,
        x_BTD: Tensor,
        rotary: Rotary,
        visibility: Visibility,
        cache: KVCache | None,
        layer: int,
    ) -> tuple[Tensor, Routing | None]:
        """The residual stream after the block, and the routing of its experts."""
        seen = norm(x_BTD, self.norm_attention)
        if self.conv_attention is not None:
            before = None if cache is None else cache.before(layer, 0, seen)
            seen = short_conv(seen, self.conv_attention, before)
        seen = self.attention(seen, rotary, visibility, cache, layer)
        x_BTD = torch.add(x_BTD, seen, alpha=self.scale)
        feed = norm(x_BTD, self.norm_feed)
        if self.conv_feed is not None:
            before = None if cache is None else cache.before(layer, 1, feed)
            feed = short_conv(feed, self.conv_feed, before)
        if isinstance(self.feed, FeedForward):
            return torch.add(x_BTD, self.feed(feed), alpha=self.scale), None
        out, routing = self.feed(feed)
        return torch.add(x_BTD, out, alpha=self.scale), routing


class Decoder(nn.Module):
    """The whole model of a shape. Parameters are zero until `initialise` is called."""

    cos_KT: Tensor
    sin_KT: Tensor

    def __init__(
        self,
        shape: Shape,
        parametrisation: Parametrisation,
        *,
        router: RouterSpec | None = None,
        attention: AttentionBackend = "eager",
        experts: ExpertsBackend = "grouped",
        image_token: int | None = None,
    ) -> None:
        super().__init__()
        check_backend(attention)
        check_experts_backend(experts)
        if shape.vision is not None and image_token is None:
            raise ValueError("image_token = None: must be given for a shape with vision")
        self.shape, self.parametrisation = shape, parametrisation
        self.router = RouterSpec() if router is None else router
        self.image_token = image_token
        self.logit_scale = 1 / parametrisation.width_ratio(shape)
        scale = parametrisation.branch_scale(shape)
        self.embedding = nn.Parameter(torch.zeros(shape.vocab, shape.width))
        self.blocks = nn.ModuleList(
            Block(shape, self.router, scale, attention, experts) for _ in range(shape.layers)
        )
        self.norm = nn.Parameter(torch.ones(shape.width))
        self.unembedding = nn.Parameter(torch.zeros(shape.vocab, shape.width))
        self.output_bias = nn.Parameter(torch.zeros(shape.vocab))
        self.vision = (
            None
            if shape.vision is None
            else VisionEncoder(
                shape.vision,
                shape.width,
                parametrisation.vision_branch_scale(shape.vision),
                attention,
            )
        )
        cos, sin = rotary_tables(shape.context, shape.head_dim)
        self.register_buffer("cos_KT", cos, persistent=False)
        self.register_buffer("sin_KT", sin, persistent=False)

    def initialise(self, generator: torch.Generator, log_unigram: Tensor | None = None) -> None:
        """Draw all parameters; the output bias starts at `log_unigram` (V,), else at zero."""
        from model.architecture.parametrisation import initialise

        initialise(self, generator, log_unigram)

    def forward(
        self,
        inputs_BT: Tensor,
        patches: Tensor | None = None,
        image_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> DecoderOutput:
        """Logits of the next token at every position.

        `patches` (images, P, pixels) fill the image positions (inputs == image_token) in
        row-major order. `image_ids` (rows with images, T) belongs to the LAST rows: 0 is text,
        k > 0 the row's k-th image. Patches without `image_ids` are encoded and shown nowhere, so
        that the encoder has a gradient of zero. With a `cache`, inputs continue what it holds.
        """
        x_BTD, routings = self.hidden(inputs_BT, patches, image_ids, cache)
        router = summarise(routings, self.router) if routings else None
        return DecoderOutput(self.logits(x_BTD), router)

    def hidden(
        self,
        inputs_BT: Tensor,
        patches: Tensor | None = None,
        image_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> tuple[Tensor, list[Routing]]:
        """The residual stream behind the final norm, (B, T, D), and each layer's routing."""
        rows, length = inputs_BT.shape
        start = 0 if cache is None else cache.length
        if cache is not None:
            cache.check(rows, length)
        if start + length > self.shape.context:
            raise ValueError(
                f"{start + length} positions: must be at most context {self.shape.context}"
            )
        x_BTD = F.embedding(inputs_BT, self.embedding)
        if patches is not None:
            x_BTD = self._place_images(x_BTD, inputs_BT, patches, image_ids is not None)
        rotary = (self.cos_KT[:, start : start + length], self.sin_KT[:, start : start + length])
        visibility = Visibility(images_BS=image_ids)
        routings = []
        for layer, block in enumerate(self.blocks):
            x_BTD, routing = block(x_BTD, rotary, visibility, cache, layer)
            if routing is not None:
                routings.append(routing)
        if cache is not None:
            cache.advance(length)
        return norm(x_BTD, self.norm), routings

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Float32 logits of final hidden states (…, D); the bias is added in float32."""
        if torch.is_autocast_enabled(hidden_BTD.device.type):
            scaled = F.linear(hidden_BTD * self.logit_scale, self.unembedding)
            return scaled.float() + self.output_bias
        flat = hidden_BTD.flatten(0, -2)
        out = torch.addmm(self.output_bias, flat, self.unembedding.t(), alpha=self.logit_scale)
        return out.view(*hidden_BTD.shape[:-1], -1)

    def balance_step(self, load_LE: Tensor) -> None:
        """Move the balance biases by one step; call after each optimiser step. No-op for "loss"."""
        if self.router.balance == "bias":
            for block, load_E in zip(self.blocks, load_LE, strict=True):
                cast(Experts, cast(Block, block).feed).router.move_bias(load_E)

    def _place_images(
        self, x_BTD: Tensor, inputs_BT: Tensor, patches: Tensor, shown: bool
    ) -> Tensor:
        if self.vision is None:
            raise ValueError("patches were given to a model without vision")
        encoded = self.vision(patches).to(x_BTD.dtype).flatten(0, 1)
        if not shown:
            encoded = encoded[:0]
        at = torch.eq(inputs_BT, cast(int, self.image_token)).flatten()
        # their number is known: masked_scatter would stop a CUDA queue in its backward to count
        where = at.nonzero_static(size=encoded.shape[0])[:, 0]
        return x_BTD.flatten(0, 1).index_copy(0, where, encoded).view(x_BTD.shape)
