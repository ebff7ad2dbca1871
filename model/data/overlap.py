"""How much of a held-out window occurs in training, by hashes of 13 consecutive tokens."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from model.data.spec import NGRAM

Tokens = NDArray[np.uint16]
Hashes = NDArray[np.uint64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_FILTER_BITS = 24
_CHUNK = 1 << 20  # tokens hashed at once


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(int(_MULTIPLIER), exponent, 1 << 64))


def ngram_hashes(tokens: Tokens) -> Hashes:
    """Hash of each run of 13 tokens along the last axis, which shrinks by 12.

    A polynomial in the multiplier over random 64-bit values of the tokens, built by doubling; two
    different runs collide with a chance of about 2**-64.
    """
    values = _token_values()[tokens]

    def join(first: Hashes, length: int, second: Hashes) -> Hashes:
        """Hash of `length` tokens followed by what `second` covers."""
        later = second[..., length:]
        joined: Hashes = first[..., : later.shape[-1]] + _power(length) * later
        return joined

    pairs = join(values, 1, values)
    fours = join(pairs, 2, pairs)
    eights = join(fours, 4, fours)
    twelves = join(eights, 8, fours)
    return join(twelves, NGRAM - 1, values)


def _token_values() -> Hashes:
    raw = np.random.Philox(key=NGRAM).random_raw(2**16)
    return np.asarray(raw, dtype=np.uint64)


def overlaps(candidates: Tokens, training: Iterable[Tokens]) -> NDArray[np.float64]:
    """For each candidate window (n, length), the share of its 13-grams found in `training`.

    `training` are streams (1-D) or windows (2-D). Memory grows with the candidates only.
    """
    hashes = ngram_hashes(candidates)
    wanted, place = np.unique(hashes, return_inverse=True)
    found = np.zeros(wanted.size, dtype=bool)
    shift = np.uint64(64 - _FILTER_BITS)
    filtered = np.zeros(1 << _FILTER_BITS, dtype=bool)
    filtered[wanted >> shift] = True
    for block in _blocks(training):
        seen = ngram_hashes(block).ravel()
        seen = seen[filtered[seen >> shift]]  # drops nearly all before the exact search
        at = np.minimum(np.searchsorted(wanted, seen), wanted.size - 1)
        found[at[wanted[at] == seen]] = True
    share: NDArray[np.float64] = found[place].reshape(hashes.shape).mean(axis=1)
    return share


def _blocks(training: Iterable[Tokens]) -> Iterable[Tokens]:
    """Pieces of bounded size that together hold every 13-gram once."""
    for tokens in training:
        if tokens.ndim == 1:
            for first in range(0, max(tokens.size - NGRAM + 1, 0), _CHUNK):
                yield tokens[first : first + _CHUNK + NGRAM - 1]
        else:
            rows = max(_CHUNK // tokens.shape[1], 1)
            for first in range(0, tokens.shape[0], rows):
                yield tokens[first : first + rows]
