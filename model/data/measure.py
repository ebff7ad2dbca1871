"""What is counted of every shard, and how arrays reach the disk."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.data.corpus import origin_licence
from model.data.manifest import SourceManifest, sha256_of
from model.data.packing import target_weights
from model.data.shards import Shard
from model.data.spec import DataSpec, SourceSpec
from model.data.tokenizer import Tokenizer

_ROWS = 8192  # windows read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where and with what a dataset is built."""

    spec: DataSpec
    folder: Path
    tokenizer: Tokenizer
    versions: dict[str, str]  # of the origins, by source


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What the held-out windows share with training; see SourceManifest."""

    final: float
    raw: float
    of: Literal["13-gram", "document", "digit"]
    ngram: float | None


def describe(
    source: SourceSpec,
    site: Site,
    shard: Shard,
    heldout: Shard,
    *,
    documents: tuple[int, int],
    overlap: Overlap,
    cut_documents: int = 0,
    images_per_window: int = 0,
) -> tuple[SourceManifest, NDArray[np.float64]]:
    """The manifest of a source whose shards are written, and how often each id is a target."""
    spec, end = site.spec, site.tokenizer.end_token
    counts, padding = count_targets(shard, spec.vocab, end)
    held, _ = count_targets(heldout, spec.vocab, end)
    manifest = SourceManifest(
        kind=source.kind,
        origin=source.origin,
        version=site.versions[source.name],
        licence=origin_licence(source),
        weight=spec.mixture[source.name],
        max_epochs=source.max_epochs,
        documents_train=documents[0],
        documents_heldout=documents[1],
        tokens_train=shard.count * spec.context,
        windows_train=shard.count,
        windows_heldout=heldout.count,
        overlap=overlap.final,
        overlap_raw=overlap.raw,
        overlap_of=overlap.of,
        ngram_overlap=overlap.ngram,
        bytes_per_token=bytes_per_target(held, site.tokenizer.bytes_of_tokens(spec.vocab)),
        padding=padding,
        cut_documents=cut_documents,
        images_per_window=images_per_window,
        sha256=sha256_of(site.folder / f"{source.name}.train.npy"),
    )
    return manifest, counts


def count_targets(shard: Shard, vocab: int, end_token: int) -> tuple[NDArray[np.float64], float]:
    """How often each id is a scored target (vocab,), and the share of targets that is padding."""
    counts = np.zeros(vocab, dtype=np.float64)
    filled = total = 0.0
    for first in range(0, shard.count, _ROWS):
        rows = shard.rows(np.arange(first, min(first + _ROWS, shard.count)))
        targets = rows.tokens[:, 1:]
        counts += np.bincount(targets[rows.loss_weight > 0], minlength=vocab)
        filled += float(target_weights(rows.tokens, end_token).sum())
        total += targets.size
    return counts, 1 - filled / total


def bytes_per_target(counts: NDArray[np.float64], sizes: NDArray[np.int64]) -> float:
    """Mean UTF-8 bytes of the scored targets; the end token counts as a target of no bytes."""
    return float(counts @ sizes / counts.sum())


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write one .npy file through to the disk; OSError where it is full."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
