"""What a plan says of one's own text: too little of it, or the same again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workbench.tiny import write_sweep
from workbench.prepare import preview


def cautions(path: Path) -> list[str]:
    return [text for text in preview(path, path.parent / "runs")[1].warnings if "text: " in text]


def test_text_that_goes_far_enough_is_no_caution(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    for copy in range(400):
        lines = [f"Line {number} of book {copy} says {copy * number}." for number in range(400)]
        (tmp_path / "books" / f"more-{copy}.txt").write_text("\n".join(lines))
    assert cautions(path) == []


def test_text_that_repeats_itself_or_runs_out_is_named(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    before = cautions(path)
    assert not any("repeats" in text for text in before)
    books = sorted((tmp_path / "books").glob("*.txt"))
    for book in books:
        (tmp_path / "books" / f"again-{book.name}").write_text(book.read_text())
    repeated, *rest = cautions(path)
    assert repeated.startswith("text: 50% of the text repeats what came before")
    assert [text.split(" (")[0] for text in rest] == [text.split(" (")[0] for text in before]
    for book in books[1:]:
        book.unlink()
        (tmp_path / "books" / f"again-{book.name}").unlink()
    assert any("too little text" in text and "add text" in text for text in cautions(path))


def test_runs_that_want_more_than_there_is_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sweep(tmp_path)
    monkeypatch.setattr("workbench.own_text.READ_AT_MOST", 0)  # by its size alone
    for book in sorted((tmp_path / "books").glob("*.txt"))[4:]:
        book.unlink()
    (said,) = cautions(path)
    assert "the target among them" in said and "allow more epochs" in said
