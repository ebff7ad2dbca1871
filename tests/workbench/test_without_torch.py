"""From an outside table to the PDF in the README's three commands, where there is no torch."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workbench.sources.event_writer import write_events

ROOT = Path(__file__).resolve().parents[2]
BLOCKER = """
import sys
from importlib.abc import MetaPathFinder

class NoTorch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "tokenizers", "safetensors", "submitit", "tensorboard"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch())
"""


def loss_of(n: float, tokens: float) -> float:
    return 1.8 + 400 / n**0.34 + 1200 / tokens**0.36


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where commands run, with a start-up file that keeps torch from being imported."""
    (tmp_path / "blocker").mkdir()
    (tmp_path / "blocker" / "sitecustomize.py").write_text(BLOCKER)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(folder / "blocker"), str(ROOT)])
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def workbench(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def promised() -> list[list[str]]:
    """The commands of the README's first block on outside tables, without the program's name."""
    section = (ROOT / "README.md").read_text().split("## Bring your own table\n")[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    lines = [shlex.split(line) for line in block[1].splitlines()]
    assert all(words[0] == "workbench" for words in lines)
    return [words[1:] for words in lines]


def wandb_export(path: Path) -> None:
    """As Weights & Biases exports a table of runs: its own columns, config and summary keys."""
    head = ["Name", "State", "Notes", "User", "Tags", "Created", "Runtime", "Sweep", "batch_size",
            "params", "_step", "eval/loss", "train/loss", "train/tokens"]  # fmt: skip
    lines = [",".join(f'"{name}"' for name in head)]
    for k in range(8):
        n = 1e7 * 2**k
        loss = loss_of(n, 20 * n)
        row = [f"run-{k}", "finished", "-", "me", "", "2026-01-01T00:00:00.000Z", "3600", "", "256",
               f"{n:.0f}", "9999", repr(loss), repr(loss - 0.05), f"{20 * n:.0f}"]  # fmt: skip
        lines.append(",".join(f'"{cell}"' for cell in row))
    dead = [
        "dead",
        "crashed",
        "",
        "me",
        "",
        "",
        "12",
        "",
        "256",
        "1280000000",
        "20",
        "NaN",
        "",
        "1e8",
    ]
    lines.append(",".join(f'"{cell}"' for cell in dead))
    path.write_text("\n".join(lines) + "\n")


def test_the_three_commands_of_the_readme_end_in_the_pdf(folder: Path) -> None:
    commands = promised()
    assert [words[0] for words in commands] == ["import", "predict", "report"]
    wandb_export(folder / commands[0][1])
    told = [workbench(folder, *words) for words in commands]
    assert "9 runs, 8 of them usable" in told[0]
    assert "status, row 9: crashed, here failed: kept out of fits" in told[0]
    assert "sealed" in told[1]
    assert (folder / "report" / "report.pdf").read_bytes().startswith(b"%PDF")
    report = json.loads((folder / "report" / "report.json").read_text())
    loss = report["loss"]
    assert loss["lo"] < loss["predicted"] < loss["hi"]
    assert loss["lo"] < loss_of(7e9, 1.4e11) < loss["hi"]
    assert report["sealed_before_target"] is True


def test_tensorboard_runs_and_a_backtest_need_no_torch_either(folder: Path) -> None:
    words = []
    for k in range(7):
        n = 1e7 * 2**k
        last = loss_of(n, 20 * n)
        steps = round(20 * n / 524288)
        points = [(step * steps // 8, last + 0.3 * (8 - step)) for step in range(1, 9)]
        write_events(folder / "logs" / f"run-{k}", {"eval/loss": points})
        words += ["--run", f"run-{k}:n_active={n / 1e6:g}M"]
    columns = "loss=eval/loss,tokens=last_step*524288"
    workbench(folder, "import", "logs", "--columns", columns, *words, "--out", "runs.csv")
    told = workbench(folder, "backtest", "runs.csv", "--figure", "backtest.png")
    assert "forecaster" in told
    assert (folder / "backtest.png").read_bytes().startswith(b"\x89PNG")


def test_a_command_that_needs_torch_says_which_extra_to_install(folder: Path) -> None:
    code = "import sys; from workbench.cli import main; import workbench.commands.grade as g\n"
    code += "def command(json: bool = False) -> None:\n    import torch\n"
    code += "g.command = command; sys.exit(main(['grade']))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "scaling-workbench[train]" in done.stderr
    assert "Traceback" not in done.stderr
