"""One step of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.architecture.router import load_of
from model.training.device import precision
from model.training.inputs import Inputs, on_device
from model.training.loss import objective, row_losses
from model.training.ranks import ALONE, Ranks
from model.training.schedule import factor
from model.training.state import TrainingState

if TYPE_CHECKING:
    from model.data.dataset import Batch


def train_step(state: TrainingState, batch: Batch, inputs: Inputs) -> None:
    """Forward, backward, clip, AdamW; what is to be reported is added to the state's sums.

    `batch` is the whole batch, `inputs` this rank's rows of it.
    """
    spec, model, ranks = state.spec, state.model, state.ranks
    own = ranks.rows(spec.batch)
    scale = factor(spec.schedule, state.step, spec.steps)
    for group, peak in zip(state.optimiser.param_groups, state.peaks, strict=True):
        group["lr"] = peak * scale
    with precision(spec.execution):
        output = model(inputs.inputs_BT, patches=inputs.patches, image_ids=inputs.image_ids)
    rows = row_losses(output.logits_BTV, inputs.targets_BT, inputs.weights_BT)
    router = output.router
    total = objective(rows, inputs.targets_BT.numel(), None if router is None else router.loss)
    state.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(ranks.weighted(total, rows.shape[0], spec.batch))
    norm = clip_gradients(state.optimiser, spec.optimiser.clip, ranks)
    state.optimiser.step()
    if router is not None:
        ranks.add(router.counts_LE)
        load_LE = router.load_LE if ranks.size == 1 else load_of(router.counts_LE)
        model.balance_step(load_LE)
    with torch.no_grad():
        sources = np.asarray(batch.source[own], dtype=np.int64)
        parts = state.source_part[on_device(sources, spec.execution.device)]
        state.sums.loss.index_add_(0, parts, rows.detach())
        state.sums.weight.index_add_(0, parts, inputs.weights_BT.sum(dim=1))
        state.sums.scalars[0] += 1
        state.sums.scalars[1] += norm
        if router is not None:
            state.sums.load += load_LE
    state.rows += np.bincount(batch.source, minlength=state.rows.size)
    state.images += 0 if batch.patches is None else int(batch.patches.shape[0])
    state.step += 1


def clip_gradients(optimiser: torch.optim.Optimizer, limit: float, ranks: Ranks = ALONE) -> Tensor:
    """The global norm of all gradients, which are scaled down to `limit` where it is larger.

    As torch's clip_grad_norm_ in half its time: models here are so small that calls count.
    """
    gradients = [
        ranks.own(parameter.grad)
        for group in optimiser.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if ranks.size > 1:
        square = norm.square()
        ranks.add(square)
        norm = square.sqrt()
    torch._foreach_mul_(gradients, torch.clamp(limit / (norm + 1e-6), max=1.0))
    return norm
