"""Count models: a case by hand, and order on real structure."""

import math

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from model.data.dataset import Dataset
from model.data.ngrams import count_losses, ngram_losses


def test_by_hand() -> None:
    # Targets 1, 2, 1, 1: unigram (1, 3 + 1, 1 + 1, 1) / 8 with four ids. Pairs 0→1, 1→2, 2→1, 1→1
    # are each seen once, so the discount is 4 / (4 + 0) = 1 and all falls to the shorter model.
    train = np.array([[0, 1, 2, 1, 1]])
    scored = np.ones((1, 4), dtype=bool)
    bigram, trigram = count_losses(train, scored, train, scored, vocab=4)
    expected = -(3 * math.log(4 / 8) + math.log(2 / 8)) / 4
    assert bigram == pytest.approx(expected)
    assert trigram == pytest.approx(expected)


def test_by_hand_with_repeats() -> None:
    # Pairs 0→1 twice and 1→0 once: discount 1 / (1 + 2) = 1/3. Unigram (0: 2, 1: 3, 2: 1) / 6.
    train = np.array([[0, 1, 0, 1]])
    heldout = np.array([[0, 1, 2]])
    bigram, trigram = count_losses(
        train, np.ones((1, 3), bool), heldout, np.ones((1, 2), bool), vocab=3
    )
    after_zero = (2 - 1 / 3) / 2 + (1 / 3) * 1 / 2 * (3 / 6)
    after_one = (1 / 3) * 1 / 1 * (1 / 6)
    assert bigram == pytest.approx(-(math.log(after_zero) + math.log(after_one)) / 2)
    # Triples (0, 1)→0 and (1, 0)→1 once each: discount 1, so the trigram equals the bigram.
    assert trigram == pytest.approx(bigram)


def test_deterministic_sequence_is_learnt_by_its_order() -> None:
    train = np.tile([0, 1, 0, 2], (50, 10))
    scored = np.ones((50, 39), dtype=bool)
    bigram, trigram = count_losses(train, scored, train, scored, vocab=3)
    # After 0 come 1 and 2 equally often, after a pair only one id; a third of the first targets
    # of the windows has no pair.
    assert bigram == pytest.approx(0.5 * math.log(2), rel=0.05)
    assert trigram < 0.1 * bigram


def test_scored_targets_only() -> None:
    train = np.array([[0, 1, 0, 1, 3, 3, 3]])
    scored = np.array([[True, True, True, False, False, False]])
    cut = count_losses(train[:, :4], scored[:, :3], train[:, :4], scored[:, :3], vocab=4)
    assert count_losses(train, scored, train, scored, vocab=4) == pytest.approx(cut)


def test_order_on_a_dataset(dataset: Dataset) -> None:
    tokens = dataset.manifest.sources["prose"].tokens_train
    bigram, trigram = ngram_losses(dataset, "prose", tokens)
    targets = dataset.heldout("prose").tokens[:, 1:]
    unigram = -float(dataset.log_unigram()[targets].mean())
    assert trigram < bigram < unigram - 0.5
    less = ngram_losses(dataset, "prose", tokens // 20)
    assert less[1] > trigram
    assert ngram_losses(dataset, "prose", 10**9) == (bigram, trigram)
    with pytest.raises(ValueError, match="tokens = 0"):
        ngram_losses(dataset, "prose", 0)
