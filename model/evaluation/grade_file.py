"""Grades a file of samples, JSON lines in and out."""

import json
from pathlib import Path
from typing import Any

from model.evaluation.sandbox import GradeItem, Limits, Sandbox, grade_batch
from model.records import write_atomic


def grade_file(
    path_in: Path,
    path_out: Path | None = None,
    *,
    sandbox: Sandbox = "allow-list",
    limits: Limits | None = None,
) -> list[dict[str, Any]]:
    """One {"task_id", "passed", "reason"} for each line, also written to `path_out` if given.

    A line holds `prompt`, `completion` and either `tests` ([input, output] pairs or asserts) or
    `test` (asserts, or HumanEval's `check(candidate)`); the function under test is `entry_point`
    or `entry`, else f. Raises ValueError naming the first line that is no sample.
    """
    items, names = [], []
    for number, line in enumerate(path_in.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            where = f"{path_in}:{number}"
            row = _row(line, where)
            items.append(item_of(row, where))
            names.append(row.get("task_id", number))
    verdicts = grade_batch(items, sandbox=sandbox, limits=limits)
    found = [
        {"task_id": name, "passed": verdict.passed, "reason": verdict.reason}
        for name, verdict in zip(names, verdicts, strict=True)
    ]
    if path_out is not None:
        write_atomic(path_out, "".join(json.dumps(row) + "\n" for row in found))
    return found


def item_of(row: dict[str, Any], where: str) -> GradeItem:
    """The sample in a decoded line; ValueError beginning with `where` if it is none."""
    tests = row.get("tests", row.get("test"))
    if isinstance(tests, list):
        if not tests or not all(isinstance(pair, list) and len(pair) == 2 for pair in tests):
            raise ValueError(f"{where}: tests must be [input, output] pairs or asserts")
        tests = tuple((given, expected) for given, expected in tests)
    elif not isinstance(tests, str) or not tests.strip():
        raise ValueError(f"{where}: needs tests ([input, output] pairs or asserts)")
    return GradeItem(
        _text(row.get("prompt"), f"{where}: prompt"),
        _text(row.get("completion"), f"{where}: completion"),
        tests,
        _text(row.get("entry_point", row.get("entry", "f")), f"{where}: entry_point"),
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text, not {value!r}")
    return value


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: no JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: must be a JSON object")
    return row
