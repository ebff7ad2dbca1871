"""`workbench import`: what is written and what is kept, and what a person is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.workbench.sources.event_writer import write_events
from workbench.cli import main

ROWS = "flops,loss\n1e18,3.5\n2e18,3.3\n4e18,3.2\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "source.csv"
    path.write_text(ROWS)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    found = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    assert found == status, captured.err
    return json.loads(captured.out)


def test_without_a_name_a_table_is_written_once(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "import", source)["written"] == "new"
    kept = Path("runs.csv").read_bytes()
    assert run(capsys, "import", source)["written"] == "unchanged"
    source.write_text(ROWS + "8e18,3.1\n")
    error = run(capsys, "import", source, status=2)["error"]
    assert "runs.csv is there already" in error["what"]
    assert "--out runs.csv replaces it" in error["remedy"]
    assert Path("runs.csv").read_bytes() == kept
    assert run(capsys, "import", source, "--out", "runs.csv")["written"] == "replaced"
    assert len(pd.read_csv("runs.csv")) == 4


def test_no_usable_row_is_status_1_and_nothing_is_written(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text("flops,loss,state\n1e18,oops,finished\n2e18,3.3,crashed\n3e18,-1,\n")
    error = run(capsys, "import", source, status=1)["error"]
    assert "none of its 3 rows can be used" in error["what"]
    assert "loss, row 1: not a number ('oops')" in error["what"]
    assert "status, row 2" in error["what"]
    assert "--columns" in error["remedy"]
    assert not Path("runs.csv").exists()


def test_a_source_is_never_written_over(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--out", source), ("--hparams", source, "--out", source)):
        error = run(capsys, "import", source, *words, status=2)["error"]
        assert "is a table that is read" in error["what"]
    assert source.read_text() == ROWS


def test_people_are_told_what_was_found_and_what_comes_next(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text("params,tokens,eval/loss\n0.1,2e9,3.5\n1.3,26e9,3.2\n7,140e9,nan\n")
    assert main(["import", str(source), "--out", "r.csv"]) == 0
    out = capsys.readouterr().out
    assert out.count("row 1 is the first below the header") == 1
    assert "caution: n_active: guessed to be in billions (0.1 is 1e+08)" in out
    assert "caution: loss, row 3: not a finite number ('nan'), left empty" in out
    assert "n_active: 1.000e+08 to 7.000e+09" in out
    assert "r.csv: 3 runs, 2 of them usable" in out
    assert "next: workbench predict r.csv --target n_active=4.1B,tokens=82B --seal" in out


def test_tensorboard_with_a_table_of_sizes(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, last in (("small", 3.2), ("large", 2.9)):
        write_events(Path("logs") / name, {"eval/loss": [(500, 4.0), (1000, last)]})
    Path("sizes.csv").write_text("run,n_active,tokens\nlarge,1.3B,26B tokens\nsmall,124M,2.5B\n")
    found = run(capsys, "import", "logs", "--hparams", "sizes.csv", "--out", "tb.parquet")
    assert found["usable"] == 2
    table = pd.read_parquet("tb.parquet").set_index("run_id")
    assert table.loc["large", "n_active"] == 1.3e9
    assert table.loc["small", "loss"] == 3.2
    error = run(capsys, "import", "logs", status=2)["error"]
    assert "no column for flops" in error["what"] and "--hparams" in error["remedy"]


def test_the_form_of_the_table_is_known_before_it_is_read(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = run(capsys, "import", source, "--out", "runs.xlsx", status=2)["error"]
    assert "not a table" in error["what"]
