"""A user's own text, and what is said when it cannot be read."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from model.data.files import fingerprint, read_files, read_hugging_face


def test_reads_three_formats_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n\n{"text": "two", "id": 1}\n')
    (tmp_path / "a.txt").write_bytes("\ufeffplain\r\ntext é".encode())
    pd.DataFrame({"text": ["x", "y"], "other": [1, 2]}).to_parquet(tmp_path / "c.parquet")
    assert list(read_files(str(tmp_path))) == [
        ("a.txt", "plain\ntext é"),
        ("b.jsonl:1", "one"),
        ("b.jsonl:3", "two"),
        ("c.parquet:1", "x"),
        ("c.parquet:2", "y"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good \xff bad", r"a\.txt: byte 5 is not UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a\.jsonl, line 2: no JSON object"),
        ("a.jsonl", b'{"body": "x"}', r"line 1: no JSON object with a string 'text'"),
        ("a.parquet", b"no parquet", r"a\.parquet: not a readable Parquet file"),
        ("a.pdf", b"x", r"no \.txt, \.jsonl, \.parquet file in this folder"),
    ],
)
def test_says_what_and_what_to_do(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        list(read_files(str(tmp_path)))
    assert len(str(caught.value).splitlines()) == 2


def test_parquet_without_the_column(tmp_path: Path) -> None:
    pd.DataFrame({"body": ["x"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column 'text' among body"):
        list(read_files(str(tmp_path)))


def test_missing_folder() -> None:
    with pytest.raises(ValueError, match="no such folder"):
        list(read_files("/nowhere/at/all"))


def test_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    before = fingerprint(str(tmp_path))
    assert fingerprint(str(tmp_path)) == before
    (tmp_path / "a.txt").write_text("three")
    assert fingerprint(str(tmp_path)) != before


def test_hugging_face_missing_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install datasets"):
        list(read_hugging_face("hf:some/name", None))


def test_hugging_face_streams_until_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"body": f"text {number}"} for number in range(100)]
    asked = []

    def load_dataset(name: str, **options: object) -> list[dict[str, str]]:
        asked.append((name, json.dumps(options)))
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    read = list(read_hugging_face("hf:some/name:body", 13))
    assert read == [("0", "text 0"), ("1", "text 1"), ("2", "text 2")]
    assert asked == [("some/name", '{"split": "train", "streaming": true}')]
    with pytest.raises(ValueError, match="no text column 'text' among body"):
        list(read_hugging_face("hf:some/name", None))
