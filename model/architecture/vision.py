"""The image encoder: patches in, one vector a patch out, at the decoder's width.

A small ViT (arXiv:2010.11929): pre-norm, learned 2-D positions, bidirectional attention, SwiGLU.
Shape suffixes: I images, P patches, D encoder width, K pixels a patch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.architecture.attention import AttentionBackend, Visibility, attend
from model.architecture.layers import FeedForward, norm
from model.architecture.shape import VisionShape


class VisionBlock(nn.Module):
    """Attention and a gated layer, each added back scaled."""

    def __init__(self, vision: VisionShape, scale: float, backend: AttentionBackend) -> None:
        super().__init__()
        d = vision.width
        self.heads, self.scale, self.backend = vision.heads, scale, backend
        self.norm_attention = nn.Parameter(torch.ones(d))
        self.norm_feed = nn.Parameter(torch.ones(d))
        self.qkv = nn.Parameter(torch.zeros(3 * d, d))
        self.out = nn.Parameter(torch.zeros(d, d))
        self.feed = FeedForward(d, vision.hidden)

    def forward(self, x_IPD: Tensor) -> Tensor:
        """Same shape as x."""
        qkv = F.linear(norm(x_IPD, self.norm_attention), self.qkv)
        q, k, v = qkv.view(*qkv.shape[:2], 3, self.heads, -1).unbind(2)
        seen = attend(q, k, v, Visibility(causal=False), self.backend).flatten(-2)
        x_IPD = torch.add(x_IPD, F.linear(seen, self.out), alpha=self.scale)
        feed = self.feed(norm(x_IPD, self.norm_feed))
        return torch.add(x_IPD, feed, alpha=self.scale)


class VisionEncoder(nn.Module):
    """Encoder and projector to the decoder's width.

    Attention is written out where the decoder's is, so that FLOPs can be counted, and torch's own
    choice elsewhere: the few patches of an image are no work for a special kernel.
    """

    def __init__(
        self, vision: VisionShape, width: int, scale: float, backend: AttentionBackend
    ) -> None:
        super().__init__()
        self.vision = vision
        own: AttentionBackend = "eager" if backend == "eager" else "sdpa"
        self.patch = nn.Parameter(torch.zeros(vision.width, vision.patch_dim))
        self.position = nn.Parameter(torch.zeros(vision.patches, vision.width))
        self.blocks = nn.ModuleList(VisionBlock(vision, scale, own) for _ in range(vision.layers))
        self.norm = nn.Parameter(torch.ones(vision.width))
        self.projector = nn.Parameter(torch.zeros(width, vision.width))

    def forward(self, patches_IPK: Tensor) -> Tensor:
        """(images, patches, decoder width). Raises ValueError for another patch layout."""
        expected = (self.vision.patches, self.vision.patch_dim)
        if tuple(patches_IPK.shape[1:]) != expected:
            raise ValueError(
                f"patches have shape {tuple(patches_IPK.shape)}: must be (images, "
                f"{expected[0]}, {expected[1]})"
            )
        x_IPD = F.linear(patches_IPK, self.patch) + self.position
        for block in self.blocks:
            x_IPD = block(x_IPD)
        return F.linear(norm(x_IPD, self.norm), self.projector)
