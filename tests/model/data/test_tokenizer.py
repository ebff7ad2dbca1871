"""Digits stand alone, everything round-trips, training is repeatable."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from hypothesis import given
from hypothesis import strategies as st

from model.data.tokenizer import Tokenizer, read_tokenizer, train_tokenizer

TEXTS = ["def f(x):\n    return x + 12\n" * 50, "the cat sat on the mat in 2024. " * 50]


@cache
def trained() -> Tokenizer:
    return train_tokenizer(TEXTS, 320)


@given(st.text())
def test_round_trip(text: str) -> None:
    assert trained().decode(trained().encode(text)) == text


@given(st.text("0123456789 ab\n+", max_size=40))
def test_every_digit_is_one_token(text: str) -> None:
    digits = set(trained().digit_tokens)
    ids = trained().encode(text)
    assert sum(token in digits for token in ids) == sum(letter.isdigit() for letter in text)


def test_special_tokens_in_text_are_text() -> None:
    ids = trained().encode("a <|image|> and <|end|>")
    assert trained().image_token not in ids
    assert trained().end_token not in ids
    assert trained().decode(ids) == "a <|image|> and <|end|>"


@given(st.lists(st.text("ab 1\n\té", max_size=30), min_size=1, max_size=5), st.integers(1, 20))
def test_documents_are_encoded_like_texts(texts: list[str], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.data.tokenizer._CHUNK", chunk)
        patch.setattr("model.data.tokenizer._AT_ONCE", chunk)
        encoded = trained().encode_documents(texts)
    assert [ids.tolist() for ids in encoded] == [trained().encode(text) for text in texts]


def test_training_is_repeatable_and_survives_saving(tmp_path: Path) -> None:
    again = train_tokenizer(TEXTS, 320)
    assert again.hash == trained().hash
    assert train_tokenizer(TEXTS, 270).hash != again.hash
    path = tmp_path / "tokenizer.json"
    path.write_text(again.to_text())
    read = read_tokenizer(path)
    assert (read.hash, read.encode("<|end|> 12")) == (again.hash, again.encode("<|end|> 12"))


def test_bytes_of_tokens() -> None:
    text = "the cat é 12 ✓"
    sizes = trained().bytes_of_tokens(400)
    assert sizes[trained().encode(text)].sum() == len(text.encode())
    assert sizes[trained().end_token] == 0
    assert not sizes[trained().vocab :].any()


def test_learns_merges() -> None:
    assert len(trained().encode(TEXTS[1])) < len(TEXTS[1]) / 2
    assert 258 < trained().vocab <= 320


def test_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a tokenizer"):
        read_tokenizer(path)


def test_vocab_range() -> None:
    with pytest.raises(ValueError, match="vocab = 100"):
        train_tokenizer(TEXTS, 100)
    assert np.unique(trained().digit_tokens).size == 10
