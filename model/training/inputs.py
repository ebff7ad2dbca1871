"""Batches as the model takes them: numpy in, tensors on the run's device out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.training.ranks import ALONE, Ranks
from model.training.spec import RunSpec

if TYPE_CHECKING:
    from model.data.dataset import Batch, Dataset


class Inputs(NamedTuple):
    """A batch, or a rank's rows of one, on the device; rows with images come last."""

    inputs_BT: Tensor
    targets_BT: Tensor
    weights_BT: Tensor
    patches: Tensor | None  # (images, patches, patch_dim), in the order of the image positions;
    # one image that is shown nowhere where only other ranks' rows have some
    image_ids: Tensor | None  # (rows with images, T): 0 text, k > 0 the row's k-th image


def to_inputs(
    tokens: NDArray[Any],
    loss_weight: NDArray[Any],
    patches: NDArray[Any] | None,
    image_ids: NDArray[Any] | None,
    device: str,
) -> Inputs:
    """Tensors of `tokens` (B, T+1) split into inputs and targets, and of what goes with them."""
    rows = on_device(np.asarray(tokens, dtype=np.int64), device)
    return Inputs(
        rows[:, :-1],
        rows[:, 1:],
        on_device(np.asarray(loss_weight, dtype=np.float32), device),
        None if patches is None else on_device(np.asarray(patches, dtype=np.float32), device),
        None if image_ids is None else on_device(np.asarray(image_ids, dtype=np.int64), device),
    )


def training_batches(
    dataset: Dataset, spec: RunSpec, start: int, ranks: Ranks = ALONE
) -> Iterator[tuple[Batch, Inputs]]:
    """The batches of steps `start` … `spec.steps` − 1, whole, and this rank's rows as inputs.

    Each is a pure function of (manifest, seed, step). On CUDA one thread prepares the next while
    the device computes; on a CPU that would only take the core away from it.
    """
    device = spec.execution.device

    def load(step: int) -> tuple[Batch, Inputs]:
        batch = dataset.batch(spec.seed, step, spec.batch)
        own = ranks.rows(spec.batch)
        patches, image_ids = _images(batch, own)
        return batch, to_inputs(
            batch.tokens[own], batch.loss_weight[own], patches, image_ids, device
        )

    if device == "cpu":
        for step in range(start, spec.steps):
            yield load(step)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(load, start)
        for step in range(start, spec.steps):
            ready = ahead.result()
            if step + 1 < spec.steps:
                ahead = pool.submit(load, step + 1)
            yield ready


def _images(batch: Batch, rows: slice) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Patches and image numbers of some rows of a batch.

    Where the batch has images and these rows have none, one is given without a number: the encoder
    then takes part in the step here too, with a gradient of zero.
    """
    if batch.patches is None or batch.image_ids is None:
        return None, None
    with_images = batch.image_ids.shape[0]
    text, each = batch.tokens.shape[0] - with_images, batch.patches.shape[0] // with_images
    first, last = max(rows.start - text, 0), max(rows.stop - text, 0)
    if first == last:
        return batch.patches[:1], None
    return batch.patches[first * each : last * each], batch.image_ids[first:last]


def on_device(array: NDArray[Any], device: str) -> Tensor:
    """The array on a device; from pinned memory, since else every copy waits for the queue."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
