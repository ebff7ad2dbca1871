"""The commands for a cluster where there is none: the dry run works, the others say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workbench.tiny import ROOT, Finished, two_lines, write_sweep
from workbench.cli import main

pytest.importorskip("submitit")


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No client of Slurm on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    status = main([*map(str, words)])
    return (status, *two_lines(capsys.readouterr().err))


@pytest.mark.parametrize("profile", ["cpu", "one-node-8-gpu", "multi-node"])
def test_dry_run_prints_scripts_map_and_cost_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: str
) -> None:
    shipped = (ROOT / "sweeps" / "profiles" / f"{profile}.toml").read_text()
    few = tmp_path / f"{profile}.toml"  # a tiny batch is too small for sixteen tasks
    few.write_text(
        shipped.replace("nodes = 2\ntasks_per_node = 8", "nodes = 2\ntasks_per_node = 1")
    )
    sweep = write_sweep(tmp_path, ('device = "cpu"', ""), ('dtype = "float32"', ""))
    words = ("submit", sweep, "--profile", few, "--dry-run", "--runs", tmp_path / "runs")
    assert main([*map(str, words), "--json"]) == 0
    would = json.loads(capsys.readouterr().out)
    assert list(would["scripts"]) == ["ladder-0", "seal", "target-0", "report"]
    assert would["built"] is False and would["limits"]["source"] == "Slurm's default"
    (row, target) = would["arrays"]
    assert (row["runs"], row["at_once"]) == (4, 4) and target["names"].startswith("target-d")
    assert sum(row["runs"] for row in would["cost"]) == 5
    gpu = profile != "cpu"
    assert {row["device"] for row in would["cost"]} == {"gpu" if gpu else "core"}
    assert all(("price" in row) == gpu for row in would["cost"])
    assert ("--gpus-per-node=8" in would["scripts"]["ladder-0"]) == gpu
    assert main([*map(str, words)]) == 0
    shown = capsys.readouterr().out
    assert "#SBATCH --array=0-0%1" in shown and "ladder-0: 1 job(s) hold" in shown
    assert not (tmp_path / "runs").exists()


def test_submit_needs_a_cluster_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path)
    status, what, remedy = told(capsys, "submit", sweep, "--profile", "cpu")
    assert status == 1 and "sbatch is not installed" in what and "--dry-run" in remedy
    status, what, remedy = told(capsys, "submit", sweep, "--profile", "mine")
    assert status == 2 and "mine: no such profile" in what and "cpu" in remedy
    status, what, _ = told(capsys, "submit", sweep)
    assert status == 2 and "--profile" in what


@pytest.mark.slow
def test_runs_are_found_by_name_or_id_and_local_ones_have_no_job(
    own: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "r02-d16-s0"
    assert main(["logs", name, "--runs", str(own.runs)]) == 0
    by_name = capsys.readouterr().out
    home = next(path for path in own.folder.iterdir() if f"/{path.name}/log.txt" in by_name)
    assert "start at step 0" in by_name and main(["logs", str(home)]) == 0
    assert capsys.readouterr().out == by_name
    status, what, remedy = told(capsys, "logs", "r99", "--runs", own.runs)
    assert status == 2 and "r99: no such run" in what and "status" in remedy
    status, what, remedy = told(capsys, "cancel", own.folder / name)
    assert status == 1 and "nothing of it was submitted" in what and "Ctrl-C" in remedy
    assert told(capsys, "cancel", "--all", own.folder)[0] == 1
