"""From an outside table to the PDF in three commands, where torch cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCKER = """
import sys
from importlib.abc import MetaPathFinder

class NoTorch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "tokenizers", "safetensors", "submitit"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch())
"""


def workbench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(folder / "blocker"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "workbench", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def prepare(folder: Path) -> None:
    (folder / "blocker").mkdir()
    (folder / "blocker" / "sitecustomize.py").write_text(BLOCKER)
    lines = ['"Name","State","params","tokens_B","eval/loss"']
    for k in range(8):
        n = 1e7 * 2**k
        loss = 1.8 + 400 / n**0.34 + 1200 / (20 * n) ** 0.36
        lines.append(f'"run-{k}","finished","{n / 1e6:g}M","{20 * n / 1e9:g}","{loss!r}"')
    lines.append('"dead","crashed","1280M","1","NaN"')
    (folder / "wandb.csv").write_text("\n".join(lines) + "\n")


def test_three_commands_from_a_table_to_the_pdf(tmp_path: Path) -> None:
    prepare(tmp_path)
    for words in (
        ("import", "wandb.csv", "--out", "runs.csv"),
        ("predict", "runs.csv", "--target", "n_active=10B,tokens=200B", "--seal"),
        ("report", "runs.csv", "--out", "out"),
    ):
        done = workbench(tmp_path, *words)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.pdf").read_bytes().startswith(b"%PDF")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    loss = report["loss"]
    assert loss["lo"] < loss["predicted"] < loss["hi"]
    assert loss["lo"] < 1.8 + 400 / 1e10**0.34 + 1200 / 2e11**0.36 < loss["hi"]
    assert report["sealed_before_target"] is True


def test_a_command_that_needs_torch_says_which_extra_to_install(tmp_path: Path) -> None:
    prepare(tmp_path)
    code = "import sys; from workbench.cli import main; import workbench.commands.grade as g\n"
    code += "def command(json: bool = False) -> None:\n    import torch\n"
    code += "g.command = command; sys.exit(main(['grade']))"
    paths = os.pathsep.join([str(tmp_path / "blocker"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "scaling-workbench[train]" in done.stderr
    assert "Traceback" not in done.stderr
