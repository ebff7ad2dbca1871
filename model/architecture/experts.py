"""Sparse mixture of experts: dropless, tokens sorted by expert, one grouped product a projection.

Backends: "grouped" (torch's grouped_mm) and "loop" (a product per expert, the reference, whose
FLOPs torch can count). Both leave out no token, and an expert without tokens is no special case.
On CUDA, grouped_mm is used in bfloat16 only, where its kernel is native.

The hidden width is stored rounded up (`Shape.padded_hidden`), since grouped_mm wants strides of
16 bytes; what is added starts at zero, gets zero gradients and stays zero.

Shape suffixes: N tokens, K visited experts, M = N · K, E experts, D width, F hidden width.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.architecture.layers import FeedForward, swiglu
from model.architecture.router import Router, Routing
from model.architecture.shape import RouterSpec, Shape

ExpertsBackend = Literal["grouped", "loop"]


def check_experts_backend(backend: str) -> None:
    """Raise ValueError for an unknown backend."""
    if backend not in get_args(ExpertsBackend):
        allowed = ", ".join(get_args(ExpertsBackend))
        raise ValueError(f"experts = {backend!r}: must be one of {allowed}")


class _Dispatch(torch.autograd.Function):
    """Rows copied into expert order; the way back is a gather too, not a slow scattered sum."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, rows_M: Tensor, place_NK: Tensor) -> Tensor:
        ctx.save_for_backward(place_NK)
        return x_ND.index_select(0, rows_M)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (place,) = ctx.saved_tensors
        back = grads[0].index_select(0, place.flatten())
        return back.view(*place.shape, -1).sum(1), None, None


class _Combine(torch.autograd.Function):
    """Outputs in expert order, weighted by their gates and summed by token."""

    @staticmethod
    def forward(
        ctx: Any, y_MD: Tensor, gates_NK: Tensor, rows_M: Tensor, order_M: Tensor, place_NK: Tensor
    ) -> Tensor:
        back = y_MD.index_select(0, place_NK.flatten()).view(*place_NK.shape, -1)
        gates = gates_NK.to(y_MD.dtype)
        ctx.save_for_backward(back, gates_NK, rows_M, order_M)
        out = back[:, 0] * gates[:, :1]
        for k in range(1, place_NK.shape[1]):
            out.addcmul_(back[:, k], gates[:, k : k + 1])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        back, gates, rows, order = ctx.saved_tensors
        g = grads[0]
        d_gates = (back * g[:, None]).sum(-1).to(gates.dtype)
        by_place = gates.flatten().index_select(0, order).to(g.dtype)
        return g.index_select(0, rows) * by_place[:, None], d_gates, None, None, None


class Experts(nn.Module):
    """Router, experts and, where the shape has one, the shared expert."""

    def __init__(self, shape: Shape, router: RouterSpec, backend: ExpertsBackend) -> None:
        super().__init__()
        check_experts_backend(backend)
        self.backend = backend
        self.hidden = shape.expert_hidden
        self.padded = shape.padded_hidden
        d, n_experts = shape.width, shape.experts
        self.router = Router(d, n_experts, shape.top_k, router)
        self.w13 = nn.Parameter(torch.zeros(n_experts, d, 2 * self.padded))
        self.w2 = nn.Parameter(torch.zeros(n_experts, self.padded, d))
        self.shared = FeedForward(d, shape.shared_hidden) if shape.shared_hidden else None

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        """The layer's output, shaped as x, and how the tokens were routed."""
        x_ND = x_BTD.flatten(0, 1)
        routing = self.router(x_ND, x_BTD.shape[1])
        top_k = routing.experts_NK.shape[1]
        order_M = routing.experts_NK.flatten().argsort(stable=True)
        rows_M = order_M // top_k
        place_M = torch.empty_like(order_M)
        place_M[order_M] = torch.arange(order_M.shape[0], device=order_M.device)
        place_NK = place_M.view(-1, top_k)
        device = x_ND.device.type
        if torch.is_autocast_enabled(device):
            x_ND = x_ND.to(torch.get_autocast_dtype(device))
        sorted_MD: Tensor = _Dispatch.apply(x_ND, rows_M, place_NK)  # type: ignore[no-untyped-call]
        y_MD = self._visit(sorted_MD, routing.counts_E)
        out: Tensor = _Combine.apply(y_MD, routing.gates_NK, rows_M, order_M, place_NK)  # type: ignore[no-untyped-call]
        if self.shared is not None:
            out = out + self.shared(x_ND)
        return out.view(x_BTD.shape), routing

    def _visit(self, x_MD: Tensor, counts_E: Tensor) -> Tensor:
        """Each run of rows through its expert."""
        native = x_MD.device.type != "cuda" or x_MD.dtype == torch.bfloat16
        if self.backend == "loop" or not native:
            return self._loop(x_MD, counts_E)
        ends = counts_E.cumsum(0).to(torch.int32)
        w13, w2 = self.w13.to(x_MD.dtype), self.w2.to(x_MD.dtype)
        hidden = swiglu(F.grouped_mm(x_MD, w13, offs=ends))
        return F.grouped_mm(hidden, w2, offs=ends)

    def _loop(self, x_MD: Tensor, counts_E: Tensor) -> Tensor:
        gate, up = self.w13.tensor_split(2, -1)
        ends = [int(end) for end in counts_E.cumsum(0).tolist()]
        parts = []
        for e, x in enumerate(x_MD.tensor_split(ends[:-1])):
            both = torch.cat([gate[e, :, : self.hidden], up[e, :, : self.hidden]], -1)
            hidden = swiglu(x @ both.to(x.dtype))
            parts.append(hidden @ self.w2[e, : self.hidden].to(x.dtype))
        return torch.cat(parts)
