"""Metrics survive death at any byte and never hold a step twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.training.metrics import MetricsWriter, read_metrics, truncate_metrics


def written(path: Path) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = [{"kind": "start", "run_id": "r"}]
    lines += [{"kind": "train", "step": step, "loss": 5.0 - step} for step in (1, 2, 3)]
    with MetricsWriter(path) as metrics:
        for line in lines:
            metrics.append(line)
    return lines


def test_reads_what_was_written_even_when_torn_at_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = written(path)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert read_metrics(path) == lines[: whole[:size].count(b"\n")]


def test_truncation_drops_later_steps_final_lines_and_the_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = written(path)
    with path.open("a") as file:
        file.write('{"kind":"heldout","final":true,"step":2}\n{"kind":"tr')
    truncate_metrics(path, 2)
    assert read_metrics(path) == lines[:3]
    assert path.read_bytes().endswith(b"}\n")


def test_missing_file_is_empty(tmp_path: Path) -> None:
    truncate_metrics(tmp_path / "none.jsonl", 3)
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1}\nrubbish\n{"step":2}\n{"step":3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2 is not a JSON object"):
        read_metrics(path)


def test_not_finite_becomes_null_and_lines_wait_for_the_flush(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path, interval=60.0) as metrics:
        metrics.append({"loss": float("nan"), "norm": float("inf"), "step": 1})
        assert path.read_text() == ""
        metrics.flush(sync=True)
        assert json.loads(path.read_text()) == {"loss": None, "norm": None, "step": 1}
