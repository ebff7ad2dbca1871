"""Token streams and windows of context + 1 tokens, of which the last is only a target."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint16]


def stream(documents: Sequence[Tokens], end_token: int) -> tuple[Tokens, NDArray[np.int64]]:
    """All documents in one row, each closed by the end token, and the start of each."""
    parts: list[Tokens] = []
    end = np.array([end_token], dtype=np.uint16)
    for tokens in documents:
        parts += [tokens, end]
    lengths = np.array([tokens.size + 1 for tokens in documents], dtype=np.int64)
    return np.concatenate(parts), np.cumsum(lengths) - lengths


def stream_windows(size: int, context: int) -> int:
    """Windows a stream of `size` tokens gives: each token but the first is a target once."""
    return max((size - 1) // context, 0)


def cut_windows(tokens: Tokens, context: int) -> Tokens:
    """Every window of a stream (n, context + 1); neighbours share one token."""
    count = stream_windows(tokens.size, context)
    starts = np.arange(count)[:, None] * context
    windows: Tokens = tokens[starts + np.arange(context + 1)]
    return windows


def pack_whole(
    documents: Sequence[Tokens], context: int, end_token: int
) -> tuple[Tokens, NDArray[np.int64], int]:
    """Windows that start with a document and hold whole documents; also the first of each, cuts.

    Best fit: the longest document left, then the longest that still fits. The rest of a window is
    filled with the end token (an end after an end is padding). Documents longer than a window are
    cut short; their number comes last. Returns (windows (n, context + 1), document of each, cuts).
    """
    length = context + 1
    waiting: list[list[int]] = [[] for _ in range(length + 1)]
    cuts = 0
    for index in reversed(range(len(documents))):
        size = documents[index].size + 1
        cuts += size > length
        waiting[min(size, length)].append(index)
    rows: list[list[int]] = []
    longest = length
    while True:
        while longest > 0 and not waiting[longest]:
            longest -= 1
        if longest == 0:
            break
        row, room, size = [waiting[longest].pop()], length - longest, longest
        while room > 0 and size > 0:
            size = min(size, room)
            while size > 0 and not waiting[size]:
                size -= 1
            if size > 0:
                row.append(waiting[size].pop())
                room -= size
        rows.append(row)
    windows = np.full((len(rows), length), end_token, dtype=np.uint16)
    for window, row in zip(windows, rows, strict=True):
        at = 0
        for index in row:
            tokens = documents[index][:length]
            window[at : at + tokens.size] = tokens
            at += tokens.size + 1
    return windows, np.array([row[0] for row in rows], dtype=np.int64), cuts


def target_weights(windows: NDArray[np.int64], end_token: int) -> NDArray[np.float32]:
    """1 for each target, 0 for padding: an end token that follows an end token."""
    ends = windows == end_token
    weights: NDArray[np.float32] = (~(ends[:, 1:] & ends[:, :-1])).astype(np.float32)
    return weights
