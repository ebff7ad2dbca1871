import json
from pathlib import Path

import pytest

from model.evaluation.grade_file import grade_file

PROMPT = "def add(a,b):\n"
CHECK = "METADATA = {'author': 'a'}\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n"


def written(folder: Path, *rows: object) -> Path:
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_verdict_for_each_line(tmp_path: Path) -> None:
    human_eval = {"task_id": "H/0", "prompt": PROMPT, "test": CHECK, "entry_point": "add"}
    path = written(
        tmp_path,
        human_eval | {"completion": " return a+b\n"},
        human_eval | {"completion": " return a-b\n"},
        {"prompt": "def f(x):", "completion": " return x", "tests": [[1, 1], ["a", "a"]]},
        {"prompt": "def f(x):", "completion": " import os", "tests": [[1, 1]]},
    )
    found = grade_file(path, tmp_path / "out.jsonl")
    assert [row["passed"] for row in found] == [True, False, True, False]
    assert [row["task_id"] for row in found] == ["H/0", "H/0", 3, 4]
    assert found[3]["reason"].startswith("refused")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == found


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ([], "JSON object"),
        ({"prompt": "a", "completion": "b"}, "needs tests"),
        ({"prompt": "a", "completion": "b", "tests": [[1]]}, "pairs"),
        ({"prompt": "a", "completion": 3, "tests": [[1, 1]]}, "completion must be text"),
    ],
)
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, row: object, named: str) -> None:
    with pytest.raises(ValueError, match=f"samples.jsonl:1.*{named}"):
        grade_file(written(tmp_path, row))
