"""A built dataset, read: batches that depend on (manifest, seed, step) only, held-out windows.

Sequence number i of a run comes from the source that `mixture.py` gives it, and is that source's
k-th sequence, k counting from 0. It reads window permutation[k modulo windows] of epoch
k // windows; each epoch has its own permutation, keyed by seed, source and epoch. So batches do not
depend on workers, on earlier batches or on the batch size, and within an epoch no window repeats.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.digits import Floats, Integers, StripsEval, StripWriter, patch_table, strips_eval
from model.data.manifest import Manifest, check_hashes, read_manifest
from model.data.mixture import source_counts
from model.data.shards import Rows, Shard, StreamShard, StripShard, WindowShard
from model.data.tokenizer import Tokenizer, read_tokenizer

TOKENIZER = "tokenizer.json"
LOG_UNIGRAM = "log_unigram.npy"
DIGIT_IMAGES = "digits.images.npy"
DIGIT_LABELS = "digits.labels.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Sequences of one step. Rows without images come first."""

    tokens: Integers  # (B, T + 1)
    loss_weight: Floats  # (B, T), of the targets tokens[:, 1:]
    source: Integers  # (B,), index into Dataset.names
    patches: Floats | None  # (images in the batch, patches, pixels), row by row
    image_ids: Integers | None  # (rows with images, T): 0 text, k the k-th image of that row


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The fixed windows of one source that losses are measured on."""

    tokens: Integers  # (n, T + 1)
    loss_weight: Floats  # (n, T)
    documents: Integers  # (n,) number of the document a window starts in, for clustered errors
    patches: Floats | None  # (n * images_per_window, patches, pixels)
    image_ids: Integers | None  # (n, T)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset in a folder. Only `Dataset.open` makes one."""

    folder: Path
    manifest: Manifest
    mixture: dict[str, float]
    shards: dict[str, Shard]
    heldout_shards: dict[str, Shard]
    tokenizer: Tokenizer
    # Permutations of the epochs in use, one a source; a cache that changes no result.
    permutations: dict[str, tuple[tuple[int, int], Integers]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @staticmethod
    def open(folder: Path, mixture: Mapping[str, float] | None = None) -> "Dataset":
        """The dataset in `folder`; `mixture` replaces the manifest's, over some of its sources.

        Checks the manifest's hash and the files' sizes (`check` reads them whole); ValueError
        naming the file where one is wrong.
        """
        manifest = read_manifest(folder)
        chosen = dict(mixture) if mixture is not None else manifest.mixture
        for name in chosen:
            if name not in manifest.sources:
                raise ValueError(
                    f"mixture names {name!r}; the sources are {', '.join(manifest.sources)}"
                )
        tokenizer = read_tokenizer(folder / TOKENIZER)
        reader = _Reader(folder, manifest, tokenizer)
        return Dataset(
            folder=folder,
            manifest=manifest,
            mixture=chosen,
            shards={name: reader.shard(name, "train") for name in manifest.sources},
            heldout_shards={name: reader.shard(name, "heldout") for name in manifest.sources},
            tokenizer=tokenizer,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Sources as `Batch.source` numbers them: by name."""
        return tuple(sorted(self.manifest.sources))

    def check(self) -> None:
        """Read every file and compare its SHA-256; ValueError naming the first that differs."""
        check_hashes(self.folder, self.manifest)

    def epochs(self, source: str, n_sequences: int) -> float:
        """Epochs of a source in a run of n_sequences sequences; 0 if the mixture leaves it out."""
        self._known(source)
        count = source_counts(self.mixture, n_sequences).get(source, 0)
        return count / self.shards[source].count

    def batch(self, seed: int, step: int, batch: int) -> Batch:
        """The `batch` sequences of step `step` (from 0) of a run with this seed."""
        if batch < 1 or step < 0 or seed < 0:
            raise ValueError(f"batch = {batch} must be >= 1, step = {step} and seed = {seed} >= 0")
        before = source_counts(self.mixture, step * batch)
        after = source_counts(self.mixture, (step + 1) * batch)
        parts: list[Rows] = []
        sources: list[int] = []
        for number, name in sorted(
            enumerate(self.names), key=lambda item: self._is_vision(item[1])
        ):
            first, last = before.get(name, 0), after.get(name, 0)
            if first < last:
                parts.append(self.shards[name].rows(self.windows(seed, name, first, last)))
                sources += [number] * (last - first)
        patches = [part.patches for part in parts if part.patches is not None]
        image_ids = [part.image_ids for part in parts if part.image_ids is not None]
        return Batch(
            tokens=np.concatenate([part.tokens for part in parts]),
            loss_weight=np.concatenate([part.loss_weight for part in parts]),
            source=np.array(sources, dtype=np.int64),
            patches=np.concatenate(patches) if patches else None,
            image_ids=np.concatenate(image_ids) if image_ids else None,
        )

    def windows(self, seed: int, source: str, first: int, last: int) -> Integers:
        """Window numbers of a source's sequences first … last-1 in a run with this seed."""
        self._known(source)
        count = self.shards[source].count
        epochs = range(first // count, (last - 1) // count + 1)
        pieces = [
            self._permutation(seed, source, epoch)[
                max(first - epoch * count, 0) : min(last - epoch * count, count)
            ]
            for epoch in epochs
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def heldout(self, source: str) -> HeldOut:
        """The held-out windows of a source, always the same and in the same order."""
        self._known(source)
        shard = self.heldout_shards[source]
        rows = shard.rows(np.arange(shard.count))
        return HeldOut(
            tokens=rows.tokens,
            loss_weight=rows.loss_weight,
            documents=np.load(self.folder / f"{source}.documents.npy").astype(np.int64),
            patches=rows.patches,
            image_ids=rows.image_ids,
        )

    def strips_eval(self, n: int, seed: int = 0) -> StripsEval:
        """n strips of held-out digits with their answers; ValueError without a vision source."""
        names = [name for name in self.names if self._is_vision(name)]
        if not names:
            raise ValueError(f"{self.folder}: no vision source, so there are no strips")
        heldout = np.load(self.folder / f"{names[0]}.heldout.npy")
        return strips_eval(
            n,
            images=np.load(self.folder / DIGIT_IMAGES),
            labels=np.load(self.folder / DIGIT_LABELS),
            pool=np.unique(heldout[heldout >= 0]).astype(np.int64),
            seed=seed,
        )

    def log_unigram(self) -> Floats:
        """Log frequency of each id among the training targets by mixture, one added: (vocab,)."""
        counts: NDArray[np.float64] = np.load(self.folder / LOG_UNIGRAM)
        names = sorted(self.manifest.sources)
        shares = np.array([self.mixture.get(name, 0.0) for name in names])
        windows = np.array([self.manifest.sources[name].windows_train for name in names])
        by_window = counts / np.maximum(windows, 1)[:, None]  # a strip window scores fewer targets
        smooth = shares @ by_window
        smooth = smooth / smooth.sum() * counts[shares > 0].sum() + 1
        logs: Floats = np.log(smooth / smooth.sum()).astype(np.float32)
        return logs

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        return self.tokenizer.encode(text)

    def decode(self, ids: list[int]) -> str:
        """Text of token ids, special tokens left out."""
        return self.tokenizer.decode(ids)

    def _is_vision(self, name: str) -> bool:
        return self.manifest.sources[name].kind == "vision"

    def _known(self, source: str) -> None:
        if source not in self.manifest.sources:
            raise ValueError(f"source {source!r} is not one of {', '.join(self.names)}")

    def _permutation(self, seed: int, source: str, epoch: int) -> Integers:
        cached = self.permutations.get(source)
        if cached is None or cached[0] != (seed, epoch):
            order = permutation(self.shards[source].count, f"{seed}:{source}:{epoch}")
            cached = ((seed, epoch), order)
            self.permutations[source] = cached
        return cached[1]


def permutation(count: int, key: str) -> Integers:
    """A random order of 0 … count-1 that depends on `key` only, not on numpy's version."""
    digest = hashlib.sha256(key.encode()).digest()
    raw = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)
    return np.argsort(np.asarray(raw, dtype=np.uint64), kind="stable")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Opens shards as memory maps."""

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer

    def shard(self, name: str, part: str) -> Shard:
        stored = _mapped(self.folder / f"{name}.{part}.npy")
        if self.manifest.sources[name].kind == "vision":
            writer = StripWriter(
                labels=np.load(self.folder / DIGIT_LABELS),
                digit_tokens=self.tokenizer.digit_tokens,
                image_token=self.manifest.image_token,
                end_token=self.manifest.end_token,
                context=self.manifest.context,
            )
            return StripShard(stored, writer, patch_table(np.load(self.folder / DIGIT_IMAGES)))
        if stored.ndim == 1:
            return StreamShard(stored, self.manifest.context)
        return WindowShard(stored, self.manifest.end_token)


def _mapped(path: Path) -> Any:
    """The array in a file, read where it is touched; a plain array, whose indexing is faster."""
    return np.load(path, mmap_mode="r").view(np.ndarray)
