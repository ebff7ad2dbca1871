"""A sweep so small that the whole way takes half a minute, and the command line that takes it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "tiny"
LADDER_RUNS = 4
SWEEP = """
[target]
flops = 5e9
[ladder]
budgets = [1.6e8, 2.4e8, 1.2e9]
seeds = [2, 1, 1]
ratios = [3, 30]
tokens_per_param = 2
minimum_steps = 60
[family]
head_dim = 4
width_step = 8
layers = 2
experts = 2
top_k = 1
conv = true
[family.vision]
[data]
text = "books"  # stands in for the prose below
vocab = 320
context = 48
heldout_windows = 8
[[data.sources]]
name = "prose"
kind = "text"
origin = "botocore"
weight = 0.5
[[data.sources]]
name = "programs"
kind = "tasks"
origin = "programs"
weight = 0.3
max_bytes = 100_000
[[data.sources]]
name = "digits"
kind = "vision"
origin = "digits"
weight = 0.2
max_bytes = 200_000
[loss]
text = 0.6
tasks = 0.2
vision = 0.2
[evaluation]
points = 2
subset = 4
problems = 12
samples = 2
temperature = 1.0
strips = 4
[execution]
device = "cpu"
dtype = "float32"
workers = 1
target_threads = 1
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """A tiny sweep that `workbench run` took the whole way."""

    sweep: Path  # the sweep file
    runs: Path  # the folder of all sweeps, with the ledger
    seconds: float  # that it took
    out: str  # what it printed for programs
    err: str  # and for people

    @property
    def folder(self) -> Path:
        return self.runs / NAME

    @property
    def ledger(self) -> Path:
        return self.runs / "ledger.jsonl"


def write_sweep(folder: Path, *changes: tuple[str, str], name: str = NAME) -> Path:
    """The sweep file in `folder`, with texts replaced, and beside it a folder of own text."""
    text = SWEEP
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    if not (folder / "books").exists():
        write_books(folder / "books")
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def write_books(folder: Path) -> None:
    """Forty documents in a language of sixty words."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 6))) for _ in range(60)]
    weights = [1 / (rank + 1) for rank in range(60)]
    folder.mkdir(parents=True)
    for number in range(40):
        lines = [" ".join(rng.choices(words, weights=weights, k=12)) + "." for _ in range(60)]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")


def workbench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """One command line, in a process of its own."""
    return subprocess.run(_command(*words), capture_output=True, text=True, cwd=ROOT, env=_place())


@contextmanager
def started(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command line in a session of its own, so that a signal to its group reaches no other."""
    process = subprocess.Popen(
        _command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=_place(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until the condition holds, while the process still runs."""
    limit = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.02)


def two_lines(told: str) -> tuple[str, str]:
    """The end of a failed command's words: what and where, and what to do; nothing after it."""
    lines = told.rstrip().splitlines()
    assert "Traceback" not in told, told
    assert sum(line.startswith("error: ") for line in lines) == 1, told
    assert lines[-2].startswith("error: ") and lines[-1].startswith("  do: "), told
    assert len(lines[-1]) > len("  do: ") + 10, told
    return lines[-2].removeprefix("error: "), lines[-1].removeprefix("  do: ")


def _command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "workbench", *map(str, words)]


def _place() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
