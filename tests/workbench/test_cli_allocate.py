"""`workbench allocate` and `workbench two-step`, from the command line inwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    found = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    assert found == status, captured.err
    return json.loads(captured.out)


def loss_of(n: float, tokens: float) -> float:
    return 1.8 + 480 * n**-0.35 + 2100 * tokens**-0.37


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Seven sizes at each of five computes, and one run that did not finish."""
    lines = ["name,params,tokens,flops,loss,status"]
    for flops in map(float, np.geomspace(1e19, 1e21, 5)):
        for factor in np.geomspace(0.25, 4, 7):
            n = float(0.6 * (flops / 6) ** 0.5 * factor)
            tokens = float(flops / (6 * n))
            name = f"C{flops:.2g}-n{n:.3g}"
            lines.append(f"{name},{n!r},{tokens!r},{flops!r},{loss_of(n, tokens)!r},finished")
    lines.append("lost,1e9,2e10,1.2e20,2.9,crashed")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_allocate_compares_the_approaches(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "deep" / "allocation.png"
    words = ("allocate", table, "--flops", "1e21", "--flops", "1e22", "--bootstrap", 30)
    found = run(capsys, *words, "--figure", picture)
    assert [path["approach"] for path in found["paths"]] == ["envelope", "isoflop", "parametric"]
    assert found["paths"][2]["a"]["value"] == pytest.approx(0.37 / 0.72, abs=1e-3)
    assert [row["flops"] for row in found["paths"][0]["at"]] == pytest.approx([1e21, 1e22])
    row = found["paths"][1]["at"][1]
    assert row["n_lo90"] <= row["n"] <= row["n_hi90"]
    assert 6 * row["n"] * row["tokens"] == pytest.approx(1e22)
    assert [item["flops"] for item in found["disagreement"]] == [1e21, 1e22]
    assert [row["run_id"] for row in found["left_out"]] == ["lost"]
    assert "status is failed" in found["left_out"][0]["reason"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = picture.read_bytes()
    assert run(capsys, *words, "--figure", picture) == found
    assert picture.read_bytes() == before


def test_allocate_tells_people_and_asks_up_to_a_hundred_times_the_table(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["allocate", str(table), "--bootstrap", "0"]) == 0
    out = capsys.readouterr().out
    assert "n ~ C^a" in out and "parametric" in out and "1.000e+23" in out
    assert "left out (1): status is failed" in out and "beyond the largest run" in out


def test_rows_of_one_name_are_checkpoints_of_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["run_name,n_active,tokens,loss"]
    for n in np.geomspace(1e8, 3e9, 8).tolist():
        for tokens in (n * np.geomspace(2, 100, 20)).tolist():
            lines.append(f"size-{n:.3g},{n!r},{tokens!r},{loss_of(n, tokens)!r}")
    path = tmp_path / "curves.csv"
    path.write_text("\n".join(lines) + "\n")
    found = run(capsys, "allocate", path, "--flops", "1e20", "--bootstrap", 20)
    assert found["runs"] == 8
    assert [path["approach"] for path in found["paths"]] == ["envelope", "isoflop"]
    assert found["refused"][0]["name"] == "one_line"
    assert any("checkpoints of one run (8 runs)" in text for text in found["cautions"])


def test_allocate_refuses_by_name(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    level = tmp_path / "level.csv"
    level.write_text("\n".join(table.read_text().splitlines()[:8]) + "\n")
    found = run(capsys, "allocate", level, status=1)
    assert found["error"]["kind"] == "one_compute_level"
    found = run(capsys, "allocate", table, "--flops", "much", status=2)
    assert "--flops much" in found["error"]["what"]
    found = run(capsys, "allocate", table, "--figure", "x.jpg", status=2)
    assert "not a figure" in found["error"]["what"]
    bare = tmp_path / "bare.csv"
    bare.write_text("flops,loss\n1e19,3\n1e20,2.8\n")
    found = run(capsys, "allocate", bare, status=2)
    assert "n_active and tokens" in found["error"]["what"]


@pytest.fixture
def quiz(tmp_path: Path) -> tuple[Path, Path]:
    """Final runs and checkpoints of a task under planted laws, the target among the final runs."""
    final, many = ["run,n_active,tokens,bpb_quiz"], ["run,n_active,tokens,bpb_quiz,acc_quiz"]
    for n in (2e8, 4e8, 8e8, 1.3e9, 1e10):
        for times in (20, 40, 100, 200):
            for part in np.linspace(0.2, 1, 6):
                tokens = float(times * n * part)
                bits = 0.45 + 60 * n**-0.28 + 160 * tokens**-0.3
                accuracy = 0.25 + 0.7 / (1 + np.exp(9 * (bits - 0.75)))
                row = f"{n:.2g}-{times},{n!r},{tokens!r},{bits!r}"
                many.append(f"{row},{float(accuracy)!r}")
            final.append(row)
    paths = tmp_path / "final.csv", tmp_path / "many.csv"
    for path, lines in zip(paths, (final, many), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return paths


def test_two_step_predicts_accuracy_and_leaves_out_what_is_as_large(
    quiz: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("two-step", *quiz, "--task", "quiz", "--bootstrap", 30)
    found = run(capsys, *words, "--choices", 4, "--target", "n_active=10B,tokens=200B")
    row = found["predictions"][0]
    bits = 0.45 + 60 * 1e10**-0.28 + 160 * 2e11**-0.3
    assert row["bits"] == pytest.approx(bits, rel=2e-3)
    assert row["accuracy"] == pytest.approx(0.25 + 0.7 / (1 + np.exp(9 * (bits - 0.75))), abs=0.01)
    assert row["accuracy_lo90"] <= row["accuracy_hi90"]
    assert len(found["runs_used"]) == 16 and len(found["left_out"]) == 4
    assert found["sigmoid"]["chance"] == 0.25
    assert any("not fitted" in text for text in found["cautions"])
    assert main([*map(str, words), "--target", "n_active=10B,tokens=200B"]) == 0
    assert "quiz, 16 final runs" in capsys.readouterr().out


def test_two_step_needs_sizes_and_the_tasks_columns(
    quiz: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, "two-step", *quiz, "--task", "quiz", "--target", "flops=1e23", status=2)
    assert "needs n_active and tokens" in found["error"]["what"]
    target = ("--target", "n_active=10B,tokens=200B")
    found = run(capsys, "two-step", *quiz, "--task", "chess", *target, status=2)
    assert "bpb_chess" in found["error"]["what"]
    found = run(capsys, "two-step", quiz[0], quiz[0], "--task", "quiz", *target, status=2)
    assert "acc_quiz" in found["error"]["what"]
