"""Samples files and their verdicts: the joint between `workbench grade` and the sandbox."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model.evaluation.sandbox import GradeItem, grade_batch
from workbench.errors import InputError
from workbench.table_files import read_objects

CHUNK = 1024  # samples between two steps of the progress bar


@dataclass(frozen=True, slots=True, kw_only=True)
class LineVerdict:
    """The verdict on one line of a samples file."""

    line: int  # the object's place in the file, from 1
    passed: bool
    reason: str


def read_items(path: Path) -> list[GradeItem]:
    """The samples of a JSON lines file; InputError naming the line that is not one."""
    return [_item(path, number, row) for number, row in enumerate(read_objects(path), start=1)]


def grade_items(
    items: list[GradeItem],
    sandbox: Literal["allow-list", "bubblewrap"],
    step: Callable[[int], None],
) -> list[LineVerdict]:
    """A verdict for each item, in order; `step` hears how many are done."""
    verdicts: list[LineVerdict] = []
    for start in range(0, len(items), CHUNK):
        found = grade_batch(items[start : start + CHUNK], sandbox=sandbox)
        for number, verdict in enumerate(found, start=start + 1):
            verdicts.append(LineVerdict(line=number, passed=verdict.passed, reason=verdict.reason))
        step(len(verdicts))
    return verdicts


def _item(path: Path, number: int, row: Mapping[str, Any]) -> GradeItem:
    remedy = 'a line is {"prompt": …, "completion": …, "tests": [[input, output], …] or asserts}'
    where = f"{path}: sample {number}"
    for key in ("prompt", "completion", "tests"):
        if key not in row:
            raise InputError(f"{where} has no {key!r}", remedy)
    texts = [row["prompt"], row["completion"], row.get("entry", "f")]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{where}: prompt, completion and entry must be text", remedy)
    tests = row["tests"]
    if isinstance(tests, list):
        if not tests or not all(isinstance(pair, list) and len(pair) == 2 for pair in tests):
            raise InputError(f"{where}: tests must be pairs of input and output", remedy)
        tests = tuple((given, expected) for given, expected in tests)
    elif not isinstance(tests, str) or not tests.strip():
        raise InputError(f"{where}: tests must be pairs or Python asserts", remedy)
    return GradeItem(prompt=texts[0], completion=texts[1], tests=tests, entry=texts[2])
