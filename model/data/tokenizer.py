"""A byte-level BPE tokenizer: any text round-trips, every digit is a token of its own.

Trained on the training split only and frozen for a whole ladder. A newline and the indentation
after it make one token, so that code is cheap and a prompt may end anywhere but after a newline.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers, trainers

from model.data.spec import LARGEST_VOCAB, SMALLEST_VOCAB, SPECIAL_TOKENS

# A word or a run of punctuation with the space before it; one digit; a newline with its indent;
# other blanks, leaving the last one to the word that follows. A new piece starts at each newline.
_PIECES = r" ?\p{L}+| ?[^\s\p{L}\p{N}]+|\p{N}|\n[ \t]*|[^\S\n]+(?!\S)|[^\S\n]+"
_CHUNK = 40_000  # characters; long documents are cut before newlines to share the cores
_AT_ONCE = 4_000_000  # characters; bounds the memory of the encodings that the library builds


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Text to token ids and back; `hash` identifies it."""

    rust: tokenizers.Tokenizer
    hash: str

    @property
    def vocab(self) -> int:
        """Number of ids in use; at most the vocabulary asked for."""
        return int(self.rust.get_vocab_size())

    @property
    def end_token(self) -> int:
        """Closes every document."""
        return self.id_of(SPECIAL_TOKENS[0])

    @property
    def image_token(self) -> int:
        """Stands where one patch of an image stands."""
        return self.id_of(SPECIAL_TOKENS[1])

    @property
    def digit_tokens(self) -> tuple[int, ...]:
        """Ids of "0" … "9"."""
        return tuple(self.encode(str(digit))[0] for digit in range(10))

    def id_of(self, token: str) -> int:
        """Id of a token by its text; ValueError where it has none."""
        found = self.rust.token_to_id(token)
        if found is None:
            raise ValueError(f"tokenizer {self.hash} has no token {token!r}")
        return int(found)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; special tokens written out in it are plain text."""
        return list(self.rust.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out."""
        return str(self.rust.decode([int(token) for token in ids], skip_special_tokens=True))

    def encode_documents(self, texts: Sequence[str]) -> list[NDArray[np.uint16]]:
        """Token ids of each text, encoded on all cores; equal to `encode` one by one."""
        pieces: list[str] = []
        ends = []
        for text in texts:
            pieces.extend(_chunks(text))
            ends.append(len(pieces))
        encoded: list[NDArray[np.uint16]] = []
        for batch in _batches(pieces):
            for encoding in self.rust.encode_batch_fast(batch, add_special_tokens=False):
                encoded.append(np.array(encoding.ids, dtype=np.uint16))
        starts = [0, *ends[:-1]]
        return [np.concatenate(encoded[a:b]) for a, b in zip(starts, ends, strict=True)]

    def bytes_of_tokens(self, vocab: int) -> NDArray[np.int64]:
        """UTF-8 bytes each id stands for, length `vocab`; 0 for special and unused ids."""
        sizes = np.zeros(vocab, dtype=np.int64)
        for token, index in self.rust.get_vocab().items():
            if token not in SPECIAL_TOKENS:
                sizes[index] = len(token)  # byte-level tokens spell one character a byte
        return sizes

    def to_text(self) -> str:
        """The `tokenizer.json` that `read_tokenizer` reads."""
        return str(self.rust.to_str(pretty=False))


def train_tokenizer(texts: Iterable[str], vocab: int) -> Tokenizer:
    """A tokenizer of at most `vocab` ids, the same for the same texts in the same order."""
    if not SMALLEST_VOCAB <= vocab <= LARGEST_VOCAB:
        raise ValueError(f"vocab = {vocab} is outside [{SMALLEST_VOCAB}, {LARGEST_VOCAB}]")
    rust = tokenizers.Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(texts, trainer)
    return _frozen(rust)


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer saved at `path`; ValueError naming the path where it is not one."""
    try:
        rust = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(
            f"{path}: not a tokenizer ({error})\ndelete its folder to rebuild it"
        ) from None
    return _frozen(rust)


def _frozen(rust: tokenizers.Tokenizer) -> Tokenizer:
    rust.encode_special_tokens = True  # "<|image|>" in a user's text is text, not an image
    text = rust.to_str(pretty=False)
    return Tokenizer(rust, hashlib.sha256(text.encode()).hexdigest()[:16])


def _batches(pieces: list[str]) -> Iterator[list[str]]:
    """Consecutive pieces, about 4 million characters at a time."""
    batch: list[str] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _chunks(text: str) -> Iterator[str]:
    """`text` cut before newlines, where a new piece starts anyway, into at least one chunk."""
    start = 0
    while len(text) - start > _CHUNK:
        cut = text.find("\n", start + _CHUNK)
        if cut < 0:
            break
        yield text[start:cut]
        start = cut
    yield text[start:]
