"""What a built dataset is: its counts, overlaps, licences, and the hash of every file."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from model.data.spec import PACKAGED_ORIGINS, DataSpec, Kind, SourceSpec
from model.records import content_hash, from_json, read_json

MANIFEST = "manifest.json"
SCHEMA = 1
REBUILD = "delete the folder and it will be built again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """A file of the dataset's folder."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceManifest:
    """One source as built.

    `overlap` is the share of the held-out windows that also occurs in training, counted by
    `overlap_of`: 13-grams of tokens (prose, code), whole documents (tasks, whose lines must recur
    for there to be anything to learn) or source digits (vision). `overlap_raw` is the same before
    candidates were rejected. `ngram_overlap` is the 13-gram share whatever the rule, None for
    vision. `documents_*` count units: services, modules, behaviours, source digits.
    """

    kind: Kind
    origin: str
    version: str
    licence: str
    weight: float  # share of sequences; the shares of all sources sum to one
    max_epochs: float
    documents_train: int
    documents_heldout: int
    tokens_train: int  # positions a model passes in one epoch: windows_train * context
    windows_train: int
    windows_heldout: int
    overlap: float
    overlap_raw: float
    overlap_of: Literal["13-gram", "document", "digit"]
    ngram_overlap: float | None
    bytes_per_token: float  # UTF-8 bytes by scored target, on the held-out windows
    padding: float  # share of training targets that is padding
    cut_documents: int  # tasks longer than a window, cut short
    images_per_window: int
    sha256: str  # of the training shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A dataset. `hash` covers every field but itself, `key` and paths: every byte trained on.

    `key` names the folder it was built in. One's own text may move: its content stands in
    `version`, so its path stays out of the hash, and with it out of every run's id.
    """

    schema: int
    key: str
    hash: str
    spec: DataSpec
    tokenizer: str  # its hash
    vocab: int
    context: int
    image_token: int
    end_token: int
    sources: dict[str, SourceManifest]
    files: dict[str, ShardFile]

    @property
    def mixture(self) -> dict[str, float]:
        """Share of sequences by source."""
        return {name: source.weight for name, source in self.sources.items()}


def sealed(manifest: Manifest) -> Manifest:
    """The manifest with its hash filled in."""
    return dataclasses.replace(manifest, hash=_hash(manifest))


def _hash(manifest: Manifest) -> str:
    spec = dataclasses.replace(manifest.spec, sources=tuple(map(_placed, manifest.spec.sources)))
    sources = {name: _placed(source) for name, source in manifest.sources.items()}
    return content_hash(dataclasses.replace(manifest, hash="", key="", spec=spec, sources=sources))


Source = TypeVar("Source", SourceSpec, SourceManifest)


def _placed(source: Source) -> Source:
    """The source with a path in place of its origin taken out."""
    if source.origin in PACKAGED_ORIGINS or source.origin.startswith("hf:"):
        return source
    return dataclasses.replace(source, origin="own")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset whose files have their recorded sizes; else ValueError."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder}: no dataset here ({MANIFEST} is missing)\n{REBUILD}")
    manifest = from_json(Manifest, read_json(path), where=str(path))
    if manifest.schema != SCHEMA:
        raise ValueError(
            f"{path}: schema {manifest.schema}, this program reads {SCHEMA}\n{REBUILD}"
        )
    if manifest.hash != _hash(manifest):
        raise ValueError(f"{path}: was changed after it was written\n{REBUILD}")
    for name, file in manifest.files.items():
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size != file.bytes:
            found = "missing" if size is None else f"{size:,} bytes"
            raise ValueError(f"{folder / name}: {found}, not {file.bytes:,} bytes\n{REBUILD}")
    return manifest


def check_hashes(folder: Path, manifest: Manifest) -> None:
    """Read every file of the dataset; ValueError naming the first whose SHA-256 differs."""
    for name, file in manifest.files.items():
        if sha256_of(folder / name) != file.sha256:
            raise ValueError(f"{folder / name}: its SHA-256 is not the recorded one\n{REBUILD}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
