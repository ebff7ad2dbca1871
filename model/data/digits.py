"""Strips of handwritten digits: one to four 8x8 images side by side on a canvas of 8x32.

An image stands in the sequence as 4 image tokens, one for each 8x8 patch from the left, and is
followed by its digits and the end token. (With 4x4 patches a model learns to read suddenly, between
3e11 and 6e11 FLOPs in a pilot, which no small ladder can extrapolate.) A window holds as many
strips as fit at their longest, so that every window has the same number of images.

The 1,797 source digits are scikit-learn's (UCI optical recognition of handwritten digits); a source
digit is never in training and held out. Only digit indices are stored; pixels and tokens are drawn
when a batch is made.
"""

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PATCH = 8
SIDE = 8  # of a source digit
MAX_DIGITS = 4
IMAGE_TOKENS = MAX_DIGITS * (SIDE // PATCH) ** 2  # patches of the 8x32 canvas
PATCH_DIM = PATCH * PATCH
LONGEST_STRIP = IMAGE_TOKENS + MAX_DIGITS + 1  # tokens, with the end token
STRIP_PIXELS = SIDE * SIDE * MAX_DIGITS
BLANK = -1
HELDOUT_DIGITS = 0.2

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Strips = NDArray[np.int16]  # (…, 4): indices of source digits from the left, then BLANK


@dataclass(frozen=True, slots=True, kw_only=True)
class StripsEval:
    """Held-out strips to be read by a model: prompt with image tokens, then compare strings."""

    patches: Floats  # (n, 4, 64), values in 0..1; zeros give the blind baseline
    answers: tuple[str, ...]  # "7", "402", …; strip i has i % 4 + 1 digits


def strips_per_window(context: int) -> int:
    """Strips in each window of context + 1 tokens; ValueError where not even one fits."""
    count = (context + 1) // LONGEST_STRIP
    if count < 1:
        raise ValueError(f"context = {context} must be >= {LONGEST_STRIP - 1} for a vision source")
    return count


def load_source_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(images (1797, 8, 8) with values 0..16, labels (1797,)) from scikit-learn."""
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ModuleNotFoundError:
        raise ValueError(
            "origin 'digits': the package 'sklearn' is not installed\n"
            "install it with: pip install scikit-learn"
        ) from None
    digits = datasets.load_digits()
    return digits.images.astype(np.uint8), digits.target.astype(np.uint8)


def split_digits(images: NDArray[np.uint8], seed: int) -> tuple[Integers, Integers]:
    """Indices of the (training, held-out) source digits, 80 to 20, by a hash of their pixels."""
    ranks = [hashlib.sha256(f"{seed}:".encode() + image.tobytes()).digest() for image in images]
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    first = round(HELDOUT_DIGITS * len(order))
    while first < len(order) and ranks[order[first]] == ranks[order[first - 1]]:
        first += 1  # equal images stay on one side
    return np.array(sorted(order[first:])), np.array(sorted(order[:first]))


def draw_strips(
    shape: tuple[int, ...], pool: Integers, rng: np.random.Generator, lengths: Integers | None
) -> Strips:
    """Random strips (*shape, 4) of digits from `pool`, 1 to 4 long unless `lengths` says."""
    if lengths is None:
        lengths = rng.integers(1, MAX_DIGITS + 1, size=shape)
    digits = pool[rng.integers(0, pool.size, size=(*shape, MAX_DIGITS))]
    return np.where(np.arange(MAX_DIGITS) < lengths[..., None], digits, BLANK).astype(np.int16)


def patch_table(images: NDArray[np.uint8]) -> Floats:
    """(n + 1, rows, columns, pixels): the patches of every source digit, in 0..1; last a blank."""
    cells = SIDE // PATCH
    parts = images.reshape(-1, cells, PATCH, cells, PATCH).transpose(0, 1, 3, 2, 4)
    blank = np.zeros((1, *parts.shape[1:]), dtype=images.dtype)
    scaled = np.concatenate([parts, blank]).astype(np.float32) / np.float32(16)
    return scaled.reshape(-1, cells, cells, PATCH_DIM)


def render(strips: Strips, table: Floats) -> Floats:
    """Patches (n, patches, pixels) of strips (n, 4), row-major over the grid of patches."""
    grid = table[strips].transpose(0, 2, 1, 3, 4)
    return grid.reshape(-1, IMAGE_TOKENS, PATCH_DIM)


@dataclass(frozen=True, slots=True, kw_only=True)
class StripWriter:
    """Turns strips into windows of tokens."""

    labels: NDArray[np.uint8]
    digit_tokens: Sequence[int]
    image_token: int
    end_token: int
    context: int

    def windows(self, strips: Strips) -> tuple[Integers, Floats, Integers]:
        """(tokens (n, T+1), loss weights (n, T), image ids (n, T)) of strips (n, images, 4).

        Only answer digits and the end token after them carry loss. Image ids are 0 for text and k
        for the k-th image of the row.
        """
        rows, images, _ = strips.shape
        written = strips != BLANK
        lengths = written.sum(axis=2)
        sizes = IMAGE_TOKENS + lengths + 1
        starts = np.cumsum(sizes, axis=1) - sizes
        tokens = np.full((rows, self.context + 1), self.end_token, dtype=np.int64)
        weights = np.zeros((rows, self.context + 1), dtype=np.float32)
        ids = np.zeros((rows, self.context + 1), dtype=np.int64)
        at_row = np.arange(rows)[:, None, None]
        patches = starts[..., None] + np.arange(IMAGE_TOKENS)
        tokens[at_row, patches] = self.image_token
        ids[at_row, patches] = np.arange(1, images + 1)[:, None]
        row, image, place = np.nonzero(written)
        answers = starts[row, image] + IMAGE_TOKENS + place
        spelled = np.asarray(self.digit_tokens, dtype=np.int64)
        tokens[row, answers] = spelled[self.labels[strips[row, image, place]]]
        weights[row, answers] = 1
        weights[at_row[..., 0], starts + IMAGE_TOKENS + lengths] = 1
        return tokens, weights[:, 1:], ids[:, :-1]


def strips_eval(
    n: int, *, images: NDArray[np.uint8], labels: NDArray[np.uint8], pool: Integers, seed: int
) -> StripsEval:
    """n strips of the held-out digits in `pool` with their answers; lengths 1, 2, 3, 4, 1, …"""
    rng = np.random.Generator(np.random.Philox(key=seed))
    strips = draw_strips((n,), pool, rng, np.arange(n) % MAX_DIGITS + 1)
    answers = tuple(
        "".join(str(labels[digit]) for digit in strip if digit != BLANK) for strip in strips
    )
    return StripsEval(patches=render(strips, patch_table(images)), answers=answers)
