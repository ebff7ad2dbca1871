"""What a model that only counts would score: the marks a ladder must pass to be worth fitting.

Interpolated absolute discounting (Ney, Essen and Kneser 1994): of each seen n-gram a count d is
taken, d = n1 / (n1 + 2 n2) from the n-grams seen once and twice, and what was taken is given to the
next shorter model; the unigram has one added to each id.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.dataset import Dataset

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Counts of (context, next id): sorted keys of both, and totals by context."""

    keys: Integers
    counts: Floats
    contexts: Integers
    totals: Floats
    kinds: Floats  # distinct next ids after each context
    discount: float
    vocab: int

    @staticmethod
    def of(contexts: Integers, targets: Integers, vocab: int) -> "_Counts":
        keys, counts = np.unique(contexts * vocab + targets, return_counts=True)
        own, first = np.unique(keys // vocab, return_index=True)
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        return _Counts(
            keys=keys,
            counts=counts.astype(np.float64),
            contexts=own,
            totals=np.add.reduceat(counts, first).astype(np.float64),
            kinds=np.diff(np.append(first, keys.size)).astype(np.float64),
            discount=once / (once + 2 * twice) if once else 0.0,
            vocab=vocab,
        )

    def probability(self, contexts: Integers, targets: Integers, shorter: Floats) -> Floats:
        """Of each target after its context; where the context is new, the shorter model's."""
        count = _looked_up(self.keys, self.counts, contexts * self.vocab + targets)
        total = _looked_up(self.contexts, self.totals, contexts)
        kinds = _looked_up(self.contexts, self.kinds, contexts)
        known = total > 0
        safe = np.where(known, total, 1.0)
        seen = np.maximum(count - self.discount, 0) / safe
        result: Floats = np.where(known, seen + self.discount * kinds / safe * shorter, shorter)
        return result


def _looked_up(keys: Integers, values: Floats, wanted: Integers) -> Floats:
    """values where keys equal `wanted`, else 0; keys sorted."""
    at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    found: Floats = np.where(keys[at] == wanted, values[at], 0.0)
    return found


def ngram_losses(dataset: Dataset, source: str, tokens: int, seed: int = 0) -> tuple[float, float]:
    """(bigram, trigram) loss in nats per scored token on the source's held-out windows.

    Counted on the first `tokens` training tokens (at least a window, at most one epoch) that a run
    with this seed reads from the source. N-grams do not cross windows; the second token of a
    window has only a bigram context.
    """
    if tokens < 1:
        raise ValueError(f"tokens = {tokens} must be >= 1")
    shard = dataset.shards[source]
    count = min(max(tokens // dataset.manifest.context, 1), shard.count)
    rows = shard.rows(np.sort(dataset.windows(seed, source, 0, count)))
    heldout = dataset.heldout(source)
    return count_losses(
        rows.tokens,
        rows.loss_weight > 0,
        heldout.tokens,
        heldout.loss_weight > 0,
        dataset.manifest.vocab,
    )


def count_losses(
    train: Integers,
    train_scored: NDArray[np.bool_],
    heldout: Integers,
    heldout_scored: NDArray[np.bool_],
    vocab: int,
) -> tuple[float, float]:
    """(bigram, trigram) loss of windows (n, T + 1) given windows; scored marks targets (n, T)."""
    seen = np.bincount(train[:, 1:][train_scored], minlength=vocab).astype(np.float64) + 1
    unigram: Floats = seen / np.float64(seen.sum())
    pairs = _Counts.of(train[:, :-1][train_scored], train[:, 1:][train_scored], vocab)
    scored = train_scored[:, 1:]
    before = train[:, :-2] * vocab + train[:, 1:-1]
    triples = _Counts.of(before[scored], train[:, 2:][scored], vocab)
    targets = heldout[:, 1:]
    bigram = pairs.probability(heldout[:, :-1], targets, unigram[targets])
    trigram = bigram.copy()
    trigram[:, 1:] = triples.probability(
        heldout[:, :-2] * vocab + heldout[:, 1:-1], targets[:, 1:], bigram[:, 1:]
    )
    return (
        float(-np.log(bigram[heldout_scored]).mean()),
        float(-np.log(trigram[heldout_scored]).mean()),
    )
