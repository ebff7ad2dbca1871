"""Weighted cross-entropy in float32, for training and for held-out windows alike."""

from __future__ import annotations

import torch
from torch import Tensor

from model.architecture.loss import token_losses


def row_losses(logits_BTV: Tensor, targets_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """Sum over each row of weight times cross-entropy, (B,)."""
    return (token_losses(logits_BTV, targets_BT) * weights_BT).sum(dim=1)


def objective(rows_B: Tensor, positions: int, router_loss: Tensor | None) -> Tensor:
    """What is minimised: loss per position of the batch, plus the router's weighted penalties.

    The divisor is the number of positions, not the sum of the weights. A batch rich in images has
    few weighted tokens; dividing by their sum would make each of them pull harder, the more so the
    smaller the batch, and the optimum would depend on the batch size.
    """
    total = rows_B.sum() / positions
    return total if router_loss is None else total + router_loss


def unigram_loss(log_unigram_V: Tensor) -> float:
    """Entropy of the unigram distribution: the loss of a model that knows only frequencies."""
    log_p = torch.log_softmax(log_unigram_V.double(), dim=0)
    return float(-(log_p.exp() * log_p).sum())
