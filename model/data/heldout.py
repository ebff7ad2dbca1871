"""Draws held-out windows that do not occur in training.

A plain split by document leaves 4 % of the 13-grams of API prose and 14 % of those of source code
also in training. Candidates are drawn in random order and each whose own share is above the limit
is rejected, so the sample leans towards text that is not boilerplate; both shares are recorded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.overlap import overlaps
from model.data.packing import cut_windows, pack_whole, stream

Tokens = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutWindows:
    """Windows as they are stored, and what they share with training."""

    windows: Tokens  # (n, T + 1)
    documents: NDArray[np.int32]  # (n,)
    overlap: float  # 13-gram share of these windows
    overlap_raw: float  # of the first n candidates, before any was rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """How many windows to draw and what share of each may occur in training."""

    count: int
    context: int
    limit: float | None  # None: the 13-gram share is measured, not limited
    end_token: int
    seed: int


def draw_heldout(
    source: str, documents: list[Tokens], whole: bool, training: list[Tokens], draw: Draw
) -> HeldOutWindows:
    """`draw.count` windows of the documents; ValueError where too few are clean of training.

    `whole` packs whole documents, else windows are cut from their stream. `training` are all
    training shards of the dataset.
    """
    if whole:
        candidates, owner, _ = pack_whole(documents, draw.context, draw.end_token)
    else:
        flat, starts = stream(documents, draw.end_token)
        candidates = cut_windows(flat, draw.context)
        first = np.arange(candidates.shape[0]) * draw.context
        owner = np.searchsorted(starts, first, side="right") - 1
    if candidates.shape[0] < draw.count:
        raise ValueError(
            f"source {source}: its held-out text gives {candidates.shape[0]:,} windows, "
            f"not {draw.count:,}\nadd text, or lower heldout_windows or context"
        )
    raw = np.random.Philox(key=draw.seed).random_raw(candidates.shape[0])
    order = np.argsort(np.asarray(raw, dtype=np.uint64), kind="stable")
    shares = overlaps(candidates, training)
    clean = order if draw.limit is None else order[shares[order] <= draw.limit]
    if clean.size < draw.count:
        raise ValueError(
            f"source {source}: only {clean.size:,} of {order.size:,} held-out windows share at "
            f"most {draw.limit:.1%} of their 13-grams with training; {draw.count:,} are needed\n"
            "remove repeated text from the corpus, or raise heldout_overlap"
        )
    chosen = clean[: draw.count]
    return HeldOutWindows(
        windows=candidates[chosen],
        documents=owner[chosen].astype(np.int32),
        overlap=float(shares[chosen].mean()),
        overlap_raw=float(shares[order[: draw.count]].mean()),
    )
