"""The router: which experts a token visits, and what keeps them in balance.

Everything here is float32. Shape suffixes: N tokens, E experts, K visited experts, W windows,
L layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.architecture.shape import RouterSpec


@dataclass(frozen=True, slots=True)
class Routing:
    """One layer's choice and its losses."""

    experts_NK: Tensor
    gates_NK: Tensor  # float32; sum to 1 where K > 1
    counts_E: Tensor  # tokens by expert, float32
    balance_loss: Tensor
    z_loss: Tensor


@dataclass(frozen=True, slots=True)
class RouterOutput:
    """All layers' routing, for the training loop; tensors, so that nothing waits for a device.

    The losses are means over layers. `loss` is what to add to the model's. `entropy` is that of
    the load, 1 where perfectly even; `dead` counts the experts (over all layers) without a token.
    """

    loss: Tensor
    balance_loss: Tensor
    z_loss: Tensor
    entropy: Tensor
    counts_LE: Tensor
    load_LE: Tensor
    dead: Tensor


class Router(nn.Module):
    """Scores experts and picks the top k.

    With k > 1 the gates are normalised to sum to 1; with k = 1 the gate is the probability itself,
    else no gradient would reach the router.
    """

    bias: Tensor | None  # added to the probabilities for the choice only, never to the gates

    def __init__(self, width: int, experts: int, top_k: int, spec: RouterSpec) -> None:
        super().__init__()
        self.top_k = top_k
        self.spec = spec
        self.weight = nn.Parameter(torch.zeros(experts, width))
        self.register_buffer("bias", torch.zeros(experts) if spec.balance == "bias" else None)

    def forward(self, x_ND: Tensor, length: int) -> Routing:
        """`length` is that of one sequence; the balance loss never looks across sequences."""
        if torch.is_autocast_enabled(x_ND.device.type):
            with torch.autocast(x_ND.device.type, enabled=False):
                return self._route(x_ND.to(self.weight.dtype), length)
        return self._route(x_ND.to(self.weight.dtype), length)

    def _route(self, x_ND: Tensor, length: int) -> Routing:
        logits = F.linear(x_ND, self.weight)
        probabilities = logits.softmax(-1)
        if self.bias is None:
            gates, experts = probabilities.topk(self.top_k, dim=-1)
        else:
            experts = (probabilities.detach() + self.bias).topk(self.top_k, dim=-1).indices
            gates = probabilities.gather(-1, experts)
        if self.top_k > 1:
            gates = gates / gates.sum(-1, keepdim=True)
        n_experts = logits.shape[-1]
        window = self.spec.window if length % self.spec.window == 0 else length
        chosen = torch.zeros_like(logits).scatter_(1, experts, 1.0)
        counts_WE = chosen.view(-1, window, n_experts).sum(1)
        mean_WE = probabilities.view(-1, window, n_experts).mean(1)
        even = n_experts / (self.top_k * window * counts_WE.shape[0])
        return Routing(
            experts,
            gates,
            counts_WE.sum(0),
            (counts_WE * mean_WE).sum() * even,
            logits.logsumexp(-1).square().mean(),
        )

    @torch.no_grad()
    def move_bias(self, load_E: Tensor) -> None:
        """One step of the bias towards an even load. Source: arXiv:2408.15664, algorithm 1."""
        if self.bias is not None:
            self.bias += self.spec.bias_rate * torch.sign(load_E.mean() - load_E)


def load_of(counts_LE: Tensor) -> Tensor:
    """Each expert's part of its layer's assignments."""
    return counts_LE / counts_LE.sum(-1, keepdim=True)


def summarise(layers: list[Routing], spec: RouterSpec) -> RouterOutput:
    """The layers' routing joined; the load is a part of all assignments, 1 / E when even."""
    counts_LE = torch.stack([layer.counts_E for layer in layers])
    load_LE = load_of(counts_LE)
    entropy = -torch.special.xlogy(load_LE, load_LE).sum(-1).mean()
    balance = torch.stack([layer.balance_loss for layer in layers]).mean()
    z_loss = torch.stack([layer.z_loss for layer in layers]).mean()
    loss = spec.z_weight * z_loss
    if spec.balance == "loss":
        loss = loss + spec.balance_weight * balance
    return RouterOutput(
        loss=loss,
        balance_loss=balance.detach(),
        z_loss=z_loss.detach(),
        entropy=entropy / torch.log(torch.tensor(float(load_LE.shape[1]))),
        counts_LE=counts_LE,
        load_LE=load_LE,
        dead=(counts_LE == 0).sum(),
    )
