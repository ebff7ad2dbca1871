"""Running sums between two lines of the metrics, kept on the device so that no step waits.

Reading a number off a CUDA device stops its queue; so a step only adds, and the loop reads every
so many steps. The sums are part of a checkpoint: a line that spans a restart is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.training.ranks import Ranks
from model.training.spec import PARTS


@dataclass(slots=True)
class Sums:
    """Sums over the steps since the last line; of several ranks, each has its rows' losses."""

    loss: Tensor  # by part: weight times cross-entropy
    weight: Tensor  # by part
    scalars: Tensor  # steps, gradient norm
    load: Tensor  # (layers, experts) tokens routed

    @classmethod
    def zeros(cls, layers: int, experts: int, device: str) -> Sums:
        """Nothing added yet."""
        parts = len(PARTS)
        return cls(
            torch.zeros(parts, device=device),
            torch.zeros(parts, device=device),
            torch.zeros(2, device=device),
            torch.zeros(layers, experts, device=device),
        )

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {f"sums.{name}": getattr(self, name) for name in self.__slots__}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over the sums of a checkpoint."""
        for name in self.__slots__:
            getattr(self, name).copy_(tensors[f"sums.{name}"])

    def reset(self) -> None:
        """Begin a new line."""
        for name in self.__slots__:
            getattr(self, name).zero_()

    def gather(self, ranks: Ranks) -> None:
        """Bring the losses of all ranks' rows to rank 0. All call."""
        if ranks.size > 1:
            ranks.add(self.loss, self.weight)
            if not ranks.first:
                self.loss.zero_()
                self.weight.zero_()

    def line(self, loss_weights: dict[str, float]) -> dict[str, Any]:
        """Means over the stretch. `loss` is the headline mix, None where a part did not occur;
        `loss_tokens` the plain mean over weighted tokens, None only where there were none."""
        loss, weight = self.loss.tolist(), self.weight.tolist()
        steps, norm = self.scalars.tolist()
        means = {part: loss[at] / weight[at] for at, part in enumerate(PARTS) if weight[at] > 0}
        whole = all(part in means for part in loss_weights)
        total = sum(loss_weights.values())
        mixed = sum(share * means[part] for part, share in loss_weights.items()) if whole else 0.0
        return {
            "loss": mixed / total if whole else None,
            "loss_tokens": sum(loss) / sum(weight) if sum(weight) > 0 else None,
            **{f"loss_{part}": mean for part, mean in means.items()},
            "grad_norm": norm / steps,
            "router_entropy": load_entropy(self.load),
            "dead_experts": int((self.load == 0).sum()) if self.load.shape[1] > 1 else None,
        }


def load_entropy(load_LE: Tensor) -> float | None:
    """Entropy of the tokens' spread over experts, as a share of log(experts), mean over layers.

    Of the whole stretch, so that it means the same at every batch size. None for a dense model.
    """
    if load_LE.shape[1] < 2:
        return None
    share = load_LE / load_LE.sum(dim=1, keepdim=True).clamp(min=1)
    return float(torch.special.entr(share).sum(dim=1).mean()) / math.log(load_LE.shape[1])
