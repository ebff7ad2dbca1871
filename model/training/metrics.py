"""The lines a run appends while it trains, one JSON object a line, and how they are read back.

A process may die at any byte, so a reader takes every whole line and ignores a torn last one. A
resumed run first drops the lines beyond its checkpoint, so that no step stands there twice.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from model.records import write_atomic
from model.training.lock import RunLocked

METRICS_NAME = "metrics.jsonl"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every whole line; an empty list where there is no file.

    Raises ValueError naming file and line where a line other than the last is no JSON object.
    """
    return [json.loads(line) for line in _whole_lines(path)]


def truncate_metrics(path: Path, step: int) -> None:
    """Drop a torn last line, all lines of steps beyond `step`, and what is measured at the end.

    Lines without a step stay. Lines marked "final" are written once more by every evaluation.
    """
    if not path.exists():
        return
    kept = []
    for line in _whole_lines(path):
        fields = json.loads(line)
        if fields.get("step", 0) <= step and not fields.get("final", False):
            kept.append(line + "\n")
    write_atomic(path, "".join(kept))


class MetricsWriter:
    """Appends lines, handing them to the system about once a second and at `flush`."""

    def __init__(self, path: Path, interval: float = 1.0) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._waiting: list[str] = []
        self._interval = interval
        self._last = time.monotonic()

    def append(self, line: dict[str, Any]) -> None:
        """Queue a line; floats that are not finite become null."""
        plain = {key: _finite(value) for key, value in line.items()}
        self._waiting.append(json.dumps(plain, separators=(",", ":"), allow_nan=False))
        if time.monotonic() - self._last > self._interval:
            self.flush()

    def flush(self, *, sync: bool = False) -> None:
        """Write what waits; with `sync` also wait for the disk, as before a checkpoint."""
        if self._waiting:
            text = "".join(line + "\n" for line in self._waiting)
            self._waiting.clear()
            self._file.write(text)
            self._file.flush()
        if sync:
            os.fsync(self._file.fileno())
        self._last = time.monotonic()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is RunLocked:
            self._waiting.clear()  # the file is another's now
        try:
            self.flush()
        finally:
            self._file.close()


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    whole = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            valid = isinstance(json.loads(line), dict)
        except ValueError:
            valid = False
        if valid and number < len(lines):  # the last piece has no line end: torn, even if valid
            whole.append(line)
        elif not valid and number < len(lines) - 1:
            raise ValueError(
                f"{path}: line {number} is not a JSON object. Delete the run's folder to train "
                f"it again, or the line to go on without it"
            )
    return whole


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
