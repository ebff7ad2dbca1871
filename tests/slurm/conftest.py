"""A real Slurm for the length of the test session, started by `lab.sh` and stopped at its end.

Its nodes are three slurmd on this machine; what they cannot show is several hosts and cgroups.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.workbench.conftest import finished, planned  # noqa: F401  (fixtures)
from tests.workbench.tiny import ROOT

LAB_SCRIPT = Path(__file__).parent / "lab.sh"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "slurmdbd", "mariadbd")
PROFILE = """
partition = "main"
pack_minutes = 1
signal_seconds = {signal}
stalls = 10
[ladder]
cpus = 2
memory = "1200M"
time = "{time}"
[target]
cpus = 1
memory = "1200M"
time = "{time}"
[service]
memory = "1200M"
time = "0:05:00"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@dataclass(frozen=True)
class Lab:
    """The cluster, its clients and its daemons."""

    place: Path
    environment: dict[str, str]

    def daemon(self, what: str, name: str) -> None:
        """`kill` (-9) or `up` one of slurmctld, slurmdbd, slurmd.n1 …"""
        self._script(what, name)

    def client(self, *words: str, check: bool = True) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(words, capture_output=True, text=True, env=self.environment)
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def queue(self) -> dict[str, str]:
        """State by job id, of what is in the queue."""
        lines = self.client("squeue", "--array", "-h", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def workbench(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """One command line, as a user of the cluster gives it."""
        command = [sys.executable, "-m", "workbench", *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=self.environment
        )

    def told(self, *words: str | Path) -> Any:
        """What a command prints for programs; it must succeed."""
        done = self.workbench(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def wait(self, condition: Callable[[], object], seconds: float = 240.0) -> None:
        """Until the condition holds; the queue is told where it does not in time."""
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, "waited too long\n" + self.client("squeue", "-l")
            time.sleep(0.3)

    def empty(self) -> None:
        """Cancel everything, and wait until it is gone."""
        ids = {name.partition("_")[0] for name in self.queue()}
        if ids:
            self.client("scancel", *ids)
        self.wait(lambda: not self.queue(), 60)

    def _script(self, *words: str) -> None:
        done = subprocess.run(
            [str(LAB_SCRIPT), *words], env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The running cluster; skipped with the reason where its packages are absent."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(
            f"no Slurm here: {', '.join(missing)} not installed (tests/slurm/lab.sh install)"
        )
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="slurm-", dir=memory if memory.is_dir() else None))
    environment = {**os.environ, "PATH": path, "LAB": str(place), "PORT": str(_free_ports(20))}
    environment |= {"SLURM_CONF": str(place / "etc" / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    environment["GPUS"] = "2" if _can_make_devices(place) else "0"
    found = Lab(place, environment)
    try:
        found._script("start")
        yield found
    finally:
        subprocess.run([str(LAB_SCRIPT), "stop"], env=environment, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def cluster(lab: Lab) -> Iterator[Lab]:
    """The cluster with an empty queue, before and after."""
    lab.empty()
    yield lab
    lab.empty()


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., Path]:
    """Write a profile for the cluster."""

    def write(time: str = "0:05:00", signal: int = 30) -> Path:
        path = tmp_path / "lab.toml"
        path.write_text(PROFILE.format(time=time, signal=signal))
        return path

    return write


def _can_make_devices(place: Path) -> bool:
    """Fake GPUs are copies of /dev/null, which only root may make."""
    try:
        os.mknod(place / "probe", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except OSError:
        return False
    return True


def _free_ports(many: int) -> int:
    """The first of so many neighbouring ports that nobody listens at."""
    for _ in range(100):
        first = random.randrange(20_000, 32_000)
        try:
            for port in range(first, first + many):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")
