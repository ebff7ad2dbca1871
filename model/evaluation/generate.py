"""Continuations of prompts, with a key-value cache.

Prompts of equal length run together, so that nothing is padded and every prompt sees exactly what
it saw in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.architecture.cache import KVCache
from model.architecture.decoder import Decoder


@torch.inference_mode()
def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator | None = None,
    stop_token: int | None = None,
    patches: Tensor | None = None,
    rows_at_once: int = 256,
) -> list[list[int]]:
    """New tokens for each prompt, in the prompts' order, without the stop token.

    A continuation ends at `stop_token`, after `max_new_tokens`, or where the context is full.
    Temperature 0 takes the likeliest token. `generator` lives on the CPU: tokens are drawn there,
    so that a seed means the same on every device. `patches` (images, P, pixels) fill the prompts'
    image positions, in the prompts' order; an image stands in adjacent positions.
    Raises ValueError for an empty prompt, one that fills the context, or a bad argument.
    """
    _check(model, prompts, max_new_tokens, temperature, generator)
    images = _images_by_prompt(model, prompts, patches)
    by_length: dict[tuple[int, bool], list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault((len(prompt), bool(len(images[i]))), []).append(i)
    results: list[list[int]] = [[] for _ in prompts]
    training = model.training
    model.eval()
    try:
        for members in by_length.values():
            for at in range(0, len(members), rows_at_once):
                rows = members[at : at + rows_at_once]
                tokens = torch.tensor([list(prompts[i]) for i in rows])
                pixels = None if patches is None else patches[[j for i in rows for j in images[i]]]
                new = _continue(
                    model, tokens, pixels, max_new_tokens, temperature, generator, stop_token
                )
                for i, row in zip(rows, new, strict=True):
                    results[i] = row
    finally:
        model.train(training)
    return results


def pick(logits_BV: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """One token a row: the likeliest for temperature 0, else drawn from softmax(logits / t)."""
    if temperature == 0:
        return logits_BV.argmax(-1)
    weights = (logits_BV.float() / temperature).softmax(-1).cpu()
    drawn = torch.multinomial(weights, 1, generator=generator)[:, 0]
    return drawn.to(logits_BV.device)


def number_images(tokens_BT: Tensor, image_token: int, patches: int) -> Tensor:
    """0 for text, k for positions of the row's k-th image, each `patches` positions long."""
    at = tokens_BT == image_token
    return torch.where(at, (at.cumsum(1) - 1) // patches + 1, 0)


def _continue(
    model: Decoder,
    tokens_BT: Tensor,
    pixels: Tensor | None,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator | None,
    stop_token: int | None,
) -> list[list[int]]:
    device = model.embedding.device
    rows, length = tokens_BT.shape
    tokens = tokens_BT.to(device)
    image_ids = None
    if pixels is not None and len(pixels) and model.shape.vision is not None:
        assert model.image_token is not None
        image_ids = number_images(tokens, model.image_token, model.shape.vision.patches)
        pixels = pixels.to(device)
    else:
        pixels = None
    steps = min(max_new_tokens, model.shape.context - length)
    cache = KVCache(model.shape, rows, length + steps)
    out: list[Tensor] = []
    done = torch.zeros(rows, dtype=torch.bool, device=device)
    for step in range(steps):
        hidden, _ = model.hidden(tokens, pixels, image_ids, cache)
        tokens = pick(model.logits(hidden[:, -1]), temperature, generator)[:, None]
        pixels = image_ids = None
        out.append(tokens)
        if stop_token is not None:
            done |= tokens[:, 0] == stop_token
            if step % 4 == 3 and bool(done.all()):
                break
    return [_until(row, stop_token) for row in torch.cat(out, 1).tolist()]


def _until(row: list[int], stop_token: int | None) -> list[int]:
    if stop_token is not None and stop_token in row:
        return row[: row.index(stop_token)]
    return row


def _images_by_prompt(
    model: Decoder, prompts: Sequence[Sequence[int]], patches: Tensor | None
) -> list[list[int]]:
    """Indices into `patches` of each prompt's images."""
    if patches is None:
        return [[] for _ in prompts]
    vision = model.shape.vision
    if vision is None:
        raise ValueError("patches were given to a model without vision")
    result, seen = [], 0
    for i, prompt in enumerate(prompts):
        positions = sum(token == model.image_token for token in prompt)
        if positions % vision.patches:
            raise ValueError(
                f"prompt {i} has {positions} image positions: must be a multiple of "
                f"{vision.patches}"
            )
        count = positions // vision.patches
        result.append(list(range(seen, seen + count)))
        seen += count
    if seen != len(patches):
        raise ValueError(f"{len(patches)} images for {seen} in the prompts")
    return result


def _check(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator | None,
) -> None:
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens = {max_new_tokens}: must be at least 1")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature = {temperature}: must be at least 0 and finite")
    if temperature > 0 and generator is None:
        raise ValueError("generator = None: must be given where temperature is above 0")
    for i, prompt in enumerate(prompts):
        if not 1 <= len(prompt) < model.shape.context:
            raise ValueError(
                f"prompt {i} has {len(prompt)} tokens: must be from 1 to "
                f"{model.shape.context - 1}, the context less one"
            )
