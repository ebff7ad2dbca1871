"""What the Slurm benchmark puts into a cluster's queue, and how it times and counts commands."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.data.build import build_dataset
from sweeps.sweep_file import load_sweep
from tests.slurm.lab import Lab

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ("sbatch", "squeue", "sacct", "scontrol", "sacctmgr", "scancel", "sinfo")
DOWN = "low"  # a partition that takes jobs and starts none
DATA = """
vocab = 320
context = 48
heldout_windows = 8
heldout_overlap = 1.0
[[data.sources]]
name = "stdlib"
kind = "code"
origin = "stdlib"
weight = 0.7
max_bytes = 300000
[[data.sources]]
name = "programs"
kind = "tasks"
origin = "programs"
weight = 0.3
max_bytes = 200000
"""
SWEEP = """
[target]
flops = {target}
[ladder]
{ladder}
ratios = [30]
tokens_per_param = 2
minimum_steps = 20
[family]
head_dim = 4
width_step = 8
layers = 2
experts = 2
top_k = 1
conv = true
[data]
{data}
[loss]
code = 0.8
tasks = 0.2
[evaluation]
points = 2
subset = 4
problems = 12
samples = 2
temperature = 1.0
[execution]
device = "cpu"
dtype = "float32"
"""
PROFILE = """
pack_minutes = {minutes}
throttle = {throttle}
[ladder]
partition = "{partition}"
cpus = {cpus}
memory = "{megabytes}M"
time = "0:05:00"
[target]
partition = "{down}"
time = "0:05:00"
[service]
partition = "{down}"
time = "0:05:00"
[execution]
device = "cpu"
dtype = "float32"
attention = "eager"
"""


@dataclass(frozen=True, slots=True)
class Timed:
    """One command line, as a user gives it."""

    seconds: float
    cpu_seconds: float  # of the command and the clients that it called
    calls: Counter[str]  # of Slurm's clients, by name


@dataclass(frozen=True, slots=True)
class Trial:
    """A cluster, and a folder for sweeps, profiles and runs."""

    lab: Lab
    place: Path

    @classmethod
    def begin(cls, lab: Lab, place: Path) -> Trial:
        """With the data set built and the partition DOWN that it names."""
        lab.client("scontrol", "update", f"PartitionName={DOWN}", "State=DOWN")
        trial = cls(lab, place)
        sweep = load_sweep(trial.sweep("first", "budgets = [1e9]", 3e10))
        build_dataset(sweep.data.spec(), trial.runs / "data")
        return trial

    @property
    def runs(self) -> Path:
        """The folder of all sweeps."""
        return self.place / "runs"

    def sweep(self, name: str, ladder: str, target: float) -> Path:
        """Write a sweep file: `ladder` holds lines of its [ladder], `target` is in FLOPs."""
        path = self.place / f"{name}.toml"
        path.write_text(SWEEP.format(target=target, ladder=ladder, data=DATA))
        return path

    def profile(
        self, *, partition: str, cpus: int = 1, minutes: float = 0, throttle: int = 256
    ) -> Path:
        """Write a profile; what follows the ladder waits in a partition that starts nothing."""
        path = self.place / f"{partition}-{cpus}-{minutes:g}-{throttle}.toml"
        path.write_text(
            PROFILE.format(
                partition=partition,
                cpus=cpus,
                megabytes=1500 * cpus,
                minutes=minutes,
                throttle=throttle,
                down=DOWN,
            )
        )
        return path

    def submit(self, sweep: Path, profile: Path) -> Timed:
        """`workbench submit`."""
        return self.timed(
            "-m", "workbench", "submit", sweep, "--profile", profile, "--runs", self.runs
        )

    def timed(self, *words: str | Path) -> Timed:
        """Python with these words; Slurm's clients are counted on their way."""
        log = self.place / "calls"
        log.write_text("")
        folder = self.place / "clients"
        if not folder.exists():
            count_clients(folder, log, self.lab.environment["PATH"])
        found = f"{folder}:{self.lab.environment['PATH']}"
        used, begun = _children(), time.perf_counter()
        run_python(words, {**self.lab.environment, "PATH": found})
        seconds = time.perf_counter() - begun
        return Timed(seconds, _children() - used, Counter(log.read_text().split()))


def count_clients(folder: Path, log: Path, path: str) -> None:
    """Scripts in `folder` that add a client's name to `log` and then are that client on `path`."""
    folder.mkdir()
    for name in CLIENTS:
        real = shutil.which(name, path=path)
        script = folder / name
        script.write_text(f'#!/bin/sh\necho {name} >>"{log}"\nexec "{real}" "$@"\n')
        script.chmod(0o755)


def run_python(words: tuple[str | Path, ...], environment: Mapping[str, str]) -> None:
    """One process to its end; RuntimeError with its words where it fails."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env=dict(environment),
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
