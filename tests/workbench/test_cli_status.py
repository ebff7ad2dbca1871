"""`workbench status`: what a person sees of a sweep fits a terminal, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.status import COLUMNS, SweepStatus
from workbench.cli import main


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"run_id": "0123456789abcdef", "name": "r07-d104-s1", "role": "ladder", "rung": 7,
            "seed": 3007, "state": "finished", "step": 1081, "steps": 1081, "loss": 3.93412,
            "eta_seconds": 0.0, "restarts": 0, "flops": 9.999e9, "message": "", "job": "",
            "log": "", "device": None, "hours_used": None, "hours_planned": None}  # fmt: skip
    made = [
        base,
        base | {"name": "r08-d104-s1", "state": "interrupted", "step": 40, "restarts": 2,
                "eta_seconds": 3725.0, "message": "killed by signal 9, " + "long " * 30},
        base | {"name": "target", "run_id": None, "state": "unplanned", "step": 0,
                "loss": None, "eta_seconds": 61.0, "restarts": None},
    ]  # fmt: skip
    found = SweepStatus(runs=made, chain=[], reasons={}, problems=[], going=False)
    monkeypatch.setattr("sweeps.status.sweep_status", lambda folder: found)


def test_the_table_fits_a_hundred_columns(rows: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "runs/demo"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if not line.startswith("r08-d104-s1: ")]
    assert max(map(len, lines)) <= 100
    assert "1081/1081" in out and "40/1081" in out
    assert "1:02:05" in out and "1:01" in out  # what is left, as a clock
    assert "r08-d104-s1: 2 restart(s); killed by signal 9, long" in out
    assert "3 runs: 1 finished, 1 interrupted, 1 unplanned" in out
    assert "loss: held-out where a run has ended, else of its last training step" in out


def test_programs_get_every_column(rows: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "runs/demo", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["folder"]) == Path("runs/demo")
    assert set(document["runs"][0]) == set(COLUMNS)
    assert document["runs"][2]["run_id"] is None
