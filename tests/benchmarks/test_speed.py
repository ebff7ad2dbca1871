"""The benchmark's rows: bounds, the file, and what is said where nothing can be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks.measured import Row, machine, save
from benchmarks.speed import sizes, training_rows
from benchmarks.sweep_times import sweep_rows
from benchmarks.training_speed import size
from model.architecture.accounting import n_active
from model.training.spec import Execution


@pytest.mark.parametrize(
    ("measured", "bounds", "met"),
    [
        (0.2, {"at_least": 0.1}, True),
        (0.05, {"at_least": 0.1}, False),
        (6.0, {"at_most": 5.0}, False),
        (5.0, {"at_most": 5.0}, True),
        (0.2, {}, None),
        (None, {"at_least": 0.1}, None),
    ],
)
def test_bounds(measured: float | None, bounds: dict[str, float], met: bool | None) -> None:
    assert Row(what="a", measured=measured, **bounds).met is met


def test_sizes_are_what_they_are_called() -> None:
    for found, wanted in zip(sizes(), (0.13e6, 1.2e6, 11e6), strict=True):
        assert n_active(found.shape) == pytest.approx(wanted, rel=0.05)
        assert found.name == f"{wanted / 1e6:g}M"


def test_training_is_timed() -> None:
    tiny = size("tiny", 2, width=16, layers=1, head_dim=8, vocab=64, context=32)
    rows = {row.what: row for row in training_rows(tiny, Execution(), 0.05)}
    share = rows["MFU, experts, tiny"].measured
    ratio = rows["experts / dense, tiny"].measured
    memory = rows["peak memory, tiny"].measured
    assert share is not None and 0 < share < 1
    assert ratio is not None and 0 < ratio < 3
    assert memory is not None and memory > 50


def test_a_missing_sweep_is_said_and_nothing_invented(tmp_path: Path) -> None:
    rows = sweep_rows(tmp_path, "demo")
    assert len(rows) == 5
    assert all(row.measured is None and "make demo" in row.detail for row in rows)


def test_the_file_holds_every_row(tmp_path: Path) -> None:
    rows = [Row(what="a", measured=0.5, at_least=0.4), Row(what="b", measured=None, detail="no")]
    path = save(tmp_path, "speed", machine("Some CPU (R) 9") | {"cores": 2}, rows)
    assert path.name == "some-cpu-r-9-2-cores.json"
    record = json.loads(path.read_text())
    assert record["schema"] == 1 and record["machine"]["cores"] == 2
    assert [row["met"] for row in record["rows"]] == [True, None]
    assert [path.name for path in tmp_path.iterdir()] == [path.name]  # no temporary file
