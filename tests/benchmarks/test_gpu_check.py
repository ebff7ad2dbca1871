"""The check of a GPU, as far as a CPU can try it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytest.importorskip("sklearn")

import benchmarks.gpu_check as gpu_check  # noqa: E402
from benchmarks.gpu_parts import TimeLimit, time_limit  # noqa: E402
from benchmarks.sweep_times import sweep_rows  # noqa: E402

SCRIPT = [sys.executable, str(gpu_check.ROOT / "benchmarks" / "gpu_check.py")]


@pytest.mark.slow
def test_the_rehearsal_goes_the_whole_way(tmp_path: Path) -> None:
    command = [*SCRIPT, "--rehearse", "--only", "speed", "--only", "sweep", "--runs", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = tmp_path / "rehearsal"
    assert "corpus unpacked into" in ended.stdout
    assert [path.name[:7] for path in (folder / "data").iterdir()] == ["packed-"]  # none was built
    (path,) = (folder / "results").iterdir()
    record = json.loads(path.read_text())
    rows = {row["what"]: row for row in record["rows"]}
    assert record["kind"] == "gpu-check"
    assert rows["rehearsal: wall time"]["met"] is True
    assert 0 < rows["rehearsal: target's MFU"]["measured"] < 1
    assert 0 < rows["MFU, experts, 0.03M"]["measured"] < 1
    assert (folder / "rehearsal" / "report.json").is_file()
    times = {row.what: row for row in sweep_rows(folder, "rehearsal")}
    outside = times["wall time outside training"].measured
    assert outside is not None and 0.25 < outside < 1  # runs of a second: mostly their start
    assert times["a run beside training: evaluate"].measured is not None
    assert times["writing the report"].met is True


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is at hand")
def test_without_a_device_it_says_so_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main([]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "no CUDA device" in line and "nothing was tested" in line


def test_without_torch_it_says_so_and_stops(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert gpu_check.main([]) == 0
    assert "torch is not installed" in capsys.readouterr().out


def test_a_sweep_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(TimeLimit, match="goes on from there"), time_limit(0.05):
        while True:
            pass
    with time_limit(60):
        pass  # and the alarm is off again
