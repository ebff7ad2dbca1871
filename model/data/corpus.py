"""The documents of a source: read, cleaned, deduplicated and capped, in a fixed order.

`packages.py`, `files.py` and `model/tasks` supply the text; this file decides whom to ask and makes
the result independent of the order of the file system. Images are not documents: see `digits.py`.
"""

import hashlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.data import files, packages
from model.data.dedup import filter_of
from model.data.spec import SourceSpec

DEFAULT_PROGRAM_BYTES = 8_000_000
_BYTES_PER_PROGRAM_TOKEN = 3
_FEWEST_UNITS = 20  # below this, documents are cut into blocks that count as units
_BLOCKS = 60
# A capped corpus still holds at least this many units: none may give more than cap / 20.
_UNITS_IN_CAP = 20


@dataclass(frozen=True, slots=True)
class Document:
    """Text that stays together: a unit is wholly training or wholly held out."""

    unit: str
    text: str


def read_documents(source: SourceSpec, seed: int = 0) -> list[Document]:
    """All documents of a source that is not `digits`; ValueError where there is no text.

    The order depends on the units' names and the seed only.
    """
    keep_new = filter_of(source.kind)
    documents: list[Document] = []
    left = source.max_bytes
    for unit, raw in _texts(source, seed):
        text = keep_new(raw).strip("\n")
        if left is not None and source.max_bytes is not None:
            text = _cut(text, min(left, max(source.max_bytes // _UNITS_IN_CAP, 1)))
            left -= len(text.encode())
        if text.strip():
            documents.append(Document(unit, text))
        if left is not None and left <= 0:
            break
    if not documents:
        raise ValueError(
            f"source {source.name}: no text in {source.origin!r}\nname an origin that holds text"
        )
    if len({document.unit for document in documents}) < _FEWEST_UNITS:
        return _blocks(documents)
    return documents


def read_heldout_programs(seed: int, tokens: int) -> list[Document]:
    """Programs of behaviours that no training program has, about twice `tokens` of them."""
    from model.tasks.documents import program_documents

    wanted = 2 * _BYTES_PER_PROGRAM_TOKEN * tokens
    return [Document(unit, text) for unit, text in program_documents(seed, wanted, heldout=True)]


def origin_version(source: SourceSpec) -> str:
    """What identifies the origin's content before it is read; ValueError where it is missing."""
    if source.origin in packages.PACKAGES or source.origin == "stdlib":
        return packages.package_version(source.origin)
    if source.origin == "programs":
        return folder_hash(Path(__file__).parent.parent / "tasks")
    if source.origin == "digits":
        return str(importlib.import_module("sklearn").__version__)
    if source.origin.startswith("hf:"):
        return "stream"
    return files.fingerprint(source.origin)


def origin_licence(source: SourceSpec) -> str:
    """SPDX name of the licence, or whose business it is."""
    if source.origin in packages.PACKAGES or source.origin == "stdlib":
        return packages.package_licence(source.origin)
    return {"programs": "Apache-2.0", "digits": "CC-BY-4.0"}.get(source.origin, "user's own")


def folder_hash(folder: Path) -> str:
    """Hash of the Python files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def unit_rank(seed: int, unit: str) -> str:
    """A sort key that puts units in random but fixed order."""
    return hashlib.sha256(f"{seed}:{unit}".encode()).hexdigest()


def _texts(source: SourceSpec, seed: int) -> Iterator[tuple[str, str]]:
    if source.origin in packages.PACKAGES or source.origin == "stdlib":
        return packages.read_package(source.origin, lambda unit: unit_rank(seed, unit))
    if source.origin == "programs":
        from model.tasks.documents import program_documents

        return program_documents(seed, source.max_bytes or DEFAULT_PROGRAM_BYTES)
    if source.origin.startswith("hf:"):
        return files.read_hugging_face(source.origin, source.max_bytes)
    if not Path(source.origin).expanduser().exists():
        raise ValueError(
            f"source {source.name}: unknown origin {source.origin!r}\n"
            f"name a folder or file, hf:NAME, or one of {', '.join(_known())}"
        )
    return files.read_files(source.origin)


def _known() -> tuple[str, ...]:
    return (*packages.PACKAGES, "stdlib", "programs", "digits")


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of text, ending at a line where there is one."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    short = raw[:limit].decode(errors="ignore")
    return short[: short.rfind("\n")] if "\n" in short else short


def _blocks(documents: list[Document]) -> list[Document]:
    """Few documents, cut at line ends into about 60 blocks, each a unit of its own."""
    size = max(sum(len(document.text) for document in documents) // _BLOCKS, 200)
    blocks = []
    for document in documents:
        lines: list[str] = []
        length = part = 0
        for line in document.text.split("\n"):
            lines.append(line)
            length += len(line) + 1
            if length >= size:
                blocks.append(Document(f"{document.unit}#{part}", "\n".join(lines)))
                lines, length, part = [], 0, part + 1
        if lines:
            blocks.append(Document(f"{document.unit}#{part}", "\n".join(lines)))
    return [block for block in blocks if block.text.strip()]
