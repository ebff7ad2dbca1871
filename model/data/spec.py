"""What a dataset is made of: its sources, vocabulary and window length. Imports no torch.

Beside `mixture.py` the only file of `model/data` that a plan needs; building is in `build.py`.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["text", "code", "tasks", "vision"]
KINDS: tuple[str, ...] = get_args(Kind)
PACKAGED_ORIGINS = (
    "botocore",
    "googleapiclient",
    "sympy",
    "stdlib",
    "torch",
    "programs",
    "digits",
)
NGRAM = 13  # length, in tokens, of the overlap rule between held-out windows and training
SPECIAL_TOKENS = ("<|end|>", "<|image|>")
SMALLEST_VOCAB = 256 + len(SPECIAL_TOKENS)
LARGEST_VOCAB = 2**16  # shards are uint16


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One source of windows. Its kind names the loss part it is scored under.

    `origin`: a packaged corpus (`PACKAGED_ORIGINS`), `hf:NAME[:column]`, or a path to a folder or
    file of `.txt`, `.jsonl` or `.parquet`. `weight`: share of sequences, relative to the other
    sources. `max_epochs`: repetitions a run may make before the caller must complain.
    `max_bytes`: cap on the cleaned text; for `programs` the amount that is generated, for `digits`
    the pixels (256 a strip) of the generated training strips.
    """

    name: str
    kind: Kind
    origin: str
    weight: float
    max_epochs: float = 1.0
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"source name {self.name!r}: must match [a-z][a-z0-9_]*")
        if self.kind not in KINDS:
            raise ValueError(
                f"source {self.name}: kind {self.kind!r} is not one of {', '.join(KINDS)}"
            )
        if not self.origin:
            raise ValueError(f"source {self.name}: origin is empty")
        if (self.origin == "digits") != (self.kind == "vision"):
            raise ValueError(
                f"source {self.name}: kind {self.kind!r} with origin {self.origin!r}; "
                "vision sources, and only they, have origin 'digits'"
            )
        if self.origin == "programs" and self.kind != "tasks":
            raise ValueError(
                f"source {self.name}: origin 'programs' has kind 'tasks', not {self.kind!r}"
            )
        for name in ("weight", "max_epochs"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"source {self.name}: {name} = {value} must be finite and > 0")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"source {self.name}: max_bytes = {self.max_bytes} must be >= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """A tokenised, split, packed dataset; the same spec and package versions give the same bytes.

    `heldout_windows`: fixed windows each source is scored on. `heldout_overlap`: largest share
    of their 13-grams (tokens) that may occur in the same source's training shard. `seed` decides
    which units are held out and which windows are drawn from them, not the order of training.
    """

    vocab: int
    context: int
    sources: tuple[SourceSpec, ...]
    heldout_windows: int = 320
    heldout_overlap: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if not SMALLEST_VOCAB <= self.vocab <= LARGEST_VOCAB:
            raise ValueError(f"vocab = {self.vocab} is outside [{SMALLEST_VOCAB}, {LARGEST_VOCAB}]")
        if not 16 <= self.context <= 2**16:
            raise ValueError(f"context = {self.context} is outside [16, {2**16}]")
        if not self.sources:
            raise ValueError("sources is empty: at least one source is needed")
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"source name {name!r} is used {names.count(name)} times")
        if self.heldout_windows < 1:
            raise ValueError(f"heldout_windows = {self.heldout_windows} must be >= 1")
        if not 0 <= self.heldout_overlap <= 1:
            raise ValueError(f"heldout_overlap = {self.heldout_overlap} is outside [0, 1]")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed} must be >= 0")

    @property
    def mixture(self) -> dict[str, float]:
        """Weight of every source by name, summing to one."""
        total = sum(source.weight for source in self.sources)
        return {source.name: source.weight / total for source in self.sources}
