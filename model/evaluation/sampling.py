"""What a trained model says to a text or an image, out of its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.architecture.shape import VisionShape
from model.data.dataset import Dataset
from model.evaluation.generate import generate
from model.training.load import load_checkpoint_model

Pixels = NDArray[np.float32]
STRIPS = 64  # held-out strips to choose from


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Continuations, and for a held-out strip the digits that stand in it."""

    texts: tuple[str, ...]
    step: int  # of the checkpoint
    answer: str | None = None


def sample(
    checkpoint: Path,
    *,
    prompt: str = "",
    image: Path | None = None,
    strip: int | None = None,
    max_new_tokens: int = 48,
    temperature: float = 0.0,
    seed: int = 0,
    count: int = 1,
) -> Sampled:
    """`count` continuations of an image, of a text, or of an image and then a text.

    Raises ValueError for a checkpoint that cannot be read, an image of another size, a model
    without vision, or a prompt that fills the context.
    """
    model, dataset, spec, step = load_checkpoint_model(checkpoint)
    if image is not None and strip is not None:
        raise ValueError("give an image or the number of a strip, not both")
    ids, answer, patches = dataset.encode(prompt), None, None
    if image is not None or strip is not None:
        vision = spec.shape.vision
        if vision is None:
            raise ValueError(f"{checkpoint}: this model reads no images; it has no vision encoder")
        if strip is not None:
            one, answer = _strip(dataset, strip)
        else:
            assert image is not None
            one = cut_patches(read_image(image, vision), vision)
        ids = [dataset.manifest.image_token] * vision.patches + ids
        patches = torch.from_numpy(np.repeat(one[None], count, axis=0))
    if not ids:
        ids = [dataset.manifest.end_token]  # what a document follows
    new = generate(
        model,
        [ids] * count,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
        stop_token=dataset.manifest.end_token,
        patches=patches,
    )
    return Sampled(texts=tuple(dataset.decode(row) for row in new), step=step, answer=answer)


def _strip(dataset: Dataset, number: int) -> tuple[Pixels, str]:
    if not 0 <= number < STRIPS:
        raise ValueError(f"strip must lie in 0..{STRIPS - 1}, got {number}")
    strips = dataset.strips_eval(STRIPS)
    return strips.patches[number], strips.answers[number]


def read_image(path: Path, vision: VisionShape) -> Pixels:
    """The image as float32 rows of grey from 0 to 1; ValueError where it is not of the size."""
    size = (vision.image_height, vision.image_width)
    try:
        if path.suffix == ".npy":
            pixels: Pixels = np.load(path, allow_pickle=False).astype(np.float32)
        else:
            from PIL import Image

            with Image.open(path) as opened:
                pixels = np.asarray(opened.convert("L"), dtype=np.float32) / np.float32(255)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not an image that can be read ({error})") from error
    if pixels.shape != size:
        raise ValueError(f"{path}: {pixels.shape} pixels; this model reads {size[0]} by {size[1]}")
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
        raise ValueError(f"{path}: grey values must lie in 0..1")
    return pixels


def cut_patches(pixels: Pixels, vision: VisionShape) -> Pixels:
    """The image as (patches, pixels of one patch), row by row, as the encoder takes it."""
    p = vision.patch
    rows, columns = pixels.shape[0] // p, pixels.shape[1] // p
    cells = pixels.reshape(rows, p, columns, p).swapaxes(1, 2)
    return np.ascontiguousarray(cells.reshape(rows * columns, p * p))
