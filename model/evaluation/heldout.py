"""Losses on the fixed held-out windows, by part, with standard errors clustered by document.

Windows of one document are alike, so their errors add up instead of averaging out; the standard
error treats a document as one draw. Two sources of one kind are averaged by their share of the
mixture; the headline is the mean over parts with the weights that the run's spec names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.architecture.decoder import Decoder
from model.training.device import precision
from model.training.inputs import to_inputs
from model.training.loss import row_losses
from model.training.result import PartLoss
from model.training.spec import Execution

if TYPE_CHECKING:
    from model.data.dataset import Dataset, HeldOut

LOGITS_AT_ONCE = 4 << 20  # elements: 16 MB in float32, within a CPU's cache and a GPU's memory

Vector = NDArray[np.float64]


def clustered_mean(sums: Vector, weights: Vector, clusters: NDArray[np.int64]) -> PartLoss:
    """Ratio sum(sums) / sum(weights) and its standard error over clusters.

    With residuals r_c = S_c - mean · W_c per cluster, se = sqrt(K/(K-1) · Σ r_c²) / ΣW: the
    linearised variance of a ratio (Cochran, Sampling Techniques, 3rd ed., eq. 6.13 and 9A.6). One
    cluster shows no spread: its se is taken over windows instead.
    """
    total = float(weights.sum())
    if not total > 0:
        raise ValueError(f"weights must have a sum above 0, got {total}")
    mean = float(sums.sum()) / total
    names, index = np.unique(clusters, return_inverse=True)
    if names.size == 1:
        index = np.arange(sums.size)
    count = int(index.max()) + 1
    residual = np.bincount(index, weights=sums - mean * weights, minlength=count)
    if count == 1:
        return PartLoss(mean=mean, se=0.0)
    return PartLoss(
        mean=mean, se=math.sqrt(count / (count - 1) * float(residual @ residual)) / total
    )


def weighted(losses: Mapping[str, PartLoss], weights: Mapping[str, float]) -> PartLoss:
    """The mean of independent losses with `weights`, which need not sum to one.

    Raises ValueError where a weight has no loss.
    """
    missing = [name for name in weights if name not in losses]
    if missing:
        raise ValueError(f"no held-out loss for {', '.join(missing)}; measured: {sorted(losses)}")
    total = sum(weights.values())
    mean = sum(weight * losses[name].mean for name, weight in weights.items()) / total
    variance = sum((weight / total * losses[name].se) ** 2 for name, weight in weights.items())
    return PartLoss(mean=mean, se=math.sqrt(variance))


def part_losses(
    by_source: Mapping[str, PartLoss], kinds: Mapping[str, str], mixture: Mapping[str, float]
) -> dict[str, PartLoss]:
    """Losses by part; sources of one kind are averaged by their share of the mixture."""
    parts: dict[str, dict[str, float]] = {}
    for name in by_source:
        parts.setdefault(kinds[name], {})[name] = mixture[name]
    return {part: weighted(by_source, shares) for part, shares in parts.items()}


def evaluate_source(
    model: Decoder, dataset: Dataset, name: str, *, execution: Execution, subset: int | None = None
) -> PartLoss:
    """Held-out loss of one source, nats per token, on its first `subset` windows or all."""
    held = dataset.heldout(name)
    windows = held.tokens.shape[0] if subset is None else min(subset, held.tokens.shape[0])
    positions = held.tokens.shape[1] - 1
    chunk = max(1, LOGITS_AT_ONCE // (positions * int(dataset.manifest.vocab)))
    sums = []
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), precision(execution):
            for start in range(0, windows, chunk):
                rows = slice(start, min(start + chunk, windows))
                sums.append(_rows(model, held, rows, execution.device).double().cpu())
    finally:
        model.train(was_training)
    return clustered_mean(
        torch.cat(sums).numpy(),
        held.loss_weight[:windows].sum(axis=1, dtype=np.float64),
        np.asarray(held.documents[:windows], dtype=np.int64),
    )


def _rows(model: Decoder, held: HeldOut, rows: slice, device: str) -> Tensor:
    """Sum of weight times cross-entropy of each of the held-out rows, (B,)."""
    patches = held.patches
    if patches is not None:
        per_row = patches.shape[0] // held.tokens.shape[0]
        patches = patches[rows.start * per_row : rows.stop * per_row]
    image_ids = None if held.image_ids is None else held.image_ids[rows]
    batch = to_inputs(held.tokens[rows], held.loss_weight[rows], patches, image_ids, device)
    output = model(batch.inputs_BT, patches=batch.patches, image_ids=batch.image_ids)
    return row_losses(output.logits_BTV, batch.targets_BT, batch.weights_BT)


def evaluate_heldout(
    model: Decoder,
    dataset: Dataset,
    *,
    mixture: Mapping[str, float],
    loss_weights: Mapping[str, float],
    execution: Execution,
    subset: int | None = None,
) -> tuple[PartLoss, dict[str, PartLoss]]:
    """The headline loss and the losses by part, on the first `subset` windows a source or all."""
    by_source = {
        name: evaluate_source(model, dataset, name, execution=execution, subset=subset)
        for name in mixture
    }
    kinds = {name: str(dataset.manifest.sources[name].kind) for name in mixture}
    parts = part_losses(by_source, kinds, mixture)
    return weighted(parts, loss_weights), parts


def bits_per_byte(
    losses: Mapping[str, PartLoss], bytes_per_token: Mapping[str, float]
) -> dict[str, float]:
    """Each part's loss over its held-out bytes, in bits; parts without a byte count are left out.

    Unlike nats per token, comparable across tokenisers.
    """
    return {
        part: loss.mean / math.log(2) / bytes_per_token[part]
        for part, loss in losses.items()
        if part in bytes_per_token
    }
