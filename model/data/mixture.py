"""Which source sequence number i comes from: exact quotas, in any order, at any batch size.

Sources are served by nested rounding. Of the first n sequences the first source (by name) gets
round(n * w1), of the rest the second gets its rounded share, and so on. So every prefix, and
every batch, holds each source's share to within a few sequences; counts have a closed form; and
sequence i is the same whatever the batch size, hence at every rung of a ladder. Imports no torch.
"""

import functools
import math
from collections.abc import Mapping


@functools.lru_cache
def _shares(weights: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    """(name, share of what the earlier names left); weights sorted by name."""
    if not weights:
        raise ValueError("weights is empty: at least one source is needed")
    for name, weight in weights:
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weights[{name!r}] = {weight} must be finite and > 0")
    left = [sum(weight for _, weight in weights[first:]) for first in range(len(weights))]
    return tuple((name, weight / left[k]) for k, (name, weight) in enumerate(weights))


def source_counts(weights: Mapping[str, float], n_sequences: int) -> dict[str, int]:
    """Sequences each source supplies to a run of n_sequences; they sum to n_sequences."""
    if n_sequences < 0:
        raise ValueError(f"n_sequences = {n_sequences} must be >= 0")
    left = n_sequences
    counts: dict[str, int] = {}
    for name, share in _shares(tuple(sorted(weights.items()))):  # dict order is irrelevant
        counts[name] = math.floor(left * share + 0.5)  # the last share is exactly 1
        left -= counts[name]
    return counts


def source_of(weights: Mapping[str, float], index: int) -> str:
    """Name of the source that sequence number `index` (from 0) comes from."""
    if index < 0:
        raise ValueError(f"index = {index} must be >= 0")
    before = source_counts(weights, index)
    after = source_counts(weights, index + 1)
    return next(name for name, count in after.items() if count > before[name])
