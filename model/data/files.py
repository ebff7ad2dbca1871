"""A user's own text: a folder or file of .txt, .jsonl or .parquet, or a Hugging Face dataset."""

import hashlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path

Texts = Iterator[tuple[str, str]]
SUFFIXES = (".txt", ".jsonl", ".parquet")
COLUMN = "text"  # the key or column that holds the text
DEFAULT_HF_BYTES = 200_000_000  # read from a Hugging Face dataset where no max_bytes is given


def text_files(origin: str) -> list[Path]:
    """The readable files at a path, sorted; ValueError where there is none."""
    root = Path(origin).expanduser()
    if not root.exists():
        raise ValueError(
            f"origin {origin!r}: no such folder or file\n"
            "name an existing path, a packaged corpus or hf:NAME"
        )
    if root.is_file():
        if root.suffix not in SUFFIXES:
            raise ValueError(
                f"{root}: the ending {root.suffix!r} is not one of {', '.join(SUFFIXES)}\n"
                "convert the file or name another"
            )
        return [root]
    files = sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise ValueError(
            f"{root}: no {', '.join(SUFFIXES)} file in this folder\nput text there or name another"
        )
    return files


def fingerprint(origin: str) -> str:
    """Hash of the names and contents of the files at a path; where they lie does not matter."""
    root = Path(origin).expanduser()
    digest = hashlib.sha256()
    for path in text_files(origin):
        name = path.name if root.is_file() else path.relative_to(root).as_posix()
        with path.open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def read_files(origin: str) -> Texts:
    """(unit, text): a .txt file is one unit, a .jsonl or .parquet file one unit per row."""
    root = Path(origin).expanduser()
    for path in text_files(origin):
        name = path.name if root.is_file() else path.relative_to(root).as_posix()
        if path.suffix == ".txt":
            yield name, _decode(path.read_bytes(), str(path))
        elif path.suffix == ".jsonl":
            yield from _jsonl(path, name)
        else:
            yield from _parquet(path, name)


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: byte {error.start} is not UTF-8\nconvert it to UTF-8 or take it out"
        ) from None


def _jsonl(path: Path, name: str) -> Texts:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = _decode(raw, f"{path}, line {number}").strip()
            if not line:
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                row = None
            if not isinstance(row, dict) or not isinstance(row.get(COLUMN), str):
                raise ValueError(
                    f"{path}, line {number}: no JSON object with a string {COLUMN!r}\n"
                    f"write one object a line, its text under {COLUMN!r}"
                )
            yield f"{name}:{number}", row[COLUMN]


def _parquet(path: Path, name: str) -> Texts:
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise ValueError(f"{path}: not a readable Parquet file ({error})\nreplace it") from None
    if COLUMN not in file.schema_arrow.names:
        raise ValueError(
            f"{path}: no column {COLUMN!r} among {', '.join(file.schema_arrow.names)}\n"
            f"rename the column that holds the text to {COLUMN!r}"
        )
    number = 0
    for group in file.iter_batches(columns=[COLUMN]):
        for text in group.column(0).to_pylist():
            number += 1
            if text:
                yield f"{name}:{number}", text


def read_hugging_face(origin: str, max_bytes: int | None) -> Texts:
    """(unit, text) of `hf:NAME[:column]`, its train split streamed until max_bytes; needs network.

    A unit is a row. Without max_bytes, 200 MB are read.
    """
    name, _, column = origin.removeprefix("hf:").partition(":")
    try:
        datasets = importlib.import_module("datasets")
    except ModuleNotFoundError:
        raise ValueError(
            f"origin {origin!r}: the package 'datasets' is not installed\n"
            "install it with: pip install datasets"
        ) from None
    column = column or COLUMN
    left = max_bytes or DEFAULT_HF_BYTES
    for number, row in enumerate(datasets.load_dataset(name, split="train", streaming=True)):
        if not isinstance(row.get(column), str):
            raise ValueError(
                f"origin {origin!r}: no text column {column!r} among {', '.join(row)}\n"
                "name the column as hf:NAME:column"
            )
        yield f"{number}", row[column]
        left -= len(row[column].encode())
        if left <= 0:
            return
