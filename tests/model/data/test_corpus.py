"""Documents of a source: capped, ordered, cut into units where there are few."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from model.data.corpus import (
    Document,
    origin_licence,
    origin_version,
    read_documents,
    read_heldout_programs,
)
from model.data.spec import SourceSpec


def source(folder: Path, max_bytes: int | None = None) -> SourceSpec:
    return SourceSpec(name="s", kind="text", origin=str(folder), weight=1, max_bytes=max_bytes)


def test_one_file_becomes_many_units(tmp_path: Path) -> None:
    lines = [f"Line number {number} says this." for number in range(2000)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    documents = read_documents(source(tmp_path))
    assert len({document.unit for document in documents}) >= 50
    assert "\n".join(document.text for document in documents) == "\n".join(lines)


def test_cap_leaves_many_units(tmp_path: Path) -> None:
    for number in range(60):
        lines = (f"File {number} line {line} é." for line in range(500))
        (tmp_path / f"{number:02}.txt").write_text("\n".join(lines))
    documents = read_documents(source(tmp_path, 20_000))
    size = sum(len(document.text.encode()) for document in documents)
    assert 18_000 < size <= 20_000
    assert len(documents) >= 20
    assert all(document.text.endswith("é.") for document in documents[:-1])


def test_empty_files_and_unknown_origins(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(ValueError, match="source s: no text in"):
        read_documents(source(tmp_path))
    with pytest.raises(ValueError, match=r"unknown origin 'boto'\n.*botocore, .*digits"):
        read_documents(source(Path("boto")))


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = SourceSpec(name="s", kind="text", origin="googleapiclient", weight=1)
    with pytest.raises(ValueError, match="pip install google-api-python-client"):
        origin_version(missing)


def test_programs_come_from_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    def program_documents(
        seed: int, n_bytes: int, *, heldout: bool = False
    ) -> Iterator[tuple[str, str]]:
        for number in range(30):
            yield f"id{number}", f"program {seed} {n_bytes} {heldout} {number}"

    module = ModuleType("documents")
    module.__dict__["program_documents"] = program_documents
    monkeypatch.setitem(sys.modules, "model.tasks", ModuleType("tasks"))
    monkeypatch.setitem(sys.modules, "model.tasks.documents", module)
    programs = SourceSpec(name="p", kind="tasks", origin="programs", weight=1, max_bytes=5000)
    assert read_documents(programs, 7)[0] == Document("id0", "program 7 5000 False 0")
    assert "True" in read_heldout_programs(7, 10)[0].text
    assert origin_licence(programs) == "Apache-2.0"
