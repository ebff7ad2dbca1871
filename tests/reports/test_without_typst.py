"""Without typst the numbers are written all the same, and what is missing is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from reports.build import write_report
from reports.inputs import ReportInputs


def test_numbers_need_no_typst(
    demo: ReportInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.pdf").write_bytes(b"of an earlier report")
    monkeypatch.setitem(sys.modules, "typst", None)
    files = write_report(demo, tmp_path)
    assert files.pdf is None and "needs the package typst" in files.shown
    assert json.loads(files.json.read_text())["loss"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
