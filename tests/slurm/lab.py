"""A real Slurm on this machine, started by `lab.sh`: its clients, its daemons, its nodes.

Its nodes are three slurmd of one host; what they cannot show is several hosts and cgroups.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
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

from tests.slurm.processes import kill, parent, with_environment
from tests.workbench.tiny import ROOT

LAB_SCRIPT = Path(__file__).parent / "lab.sh"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "slurmdbd", "mariadbd")


@dataclass(frozen=True)
class Lab:
    """A running cluster."""

    place: Path
    environment: dict[str, str]

    def client(self, *words: str, check: bool = True) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(words, capture_output=True, text=True, env=self.environment)
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def queue(self) -> dict[str, str]:
        """State by job id, of what is in the queue."""
        lines = self.client("squeue", "--array", "-h", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def node_state(self, node: str) -> str:
        """Slurm's word for a node, such as "idle" or "down*"."""
        return self.client("sinfo", "-h", "-p", "main", "-n", node, "-o", "%t").strip()

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """One command line, as a user of the cluster gives it."""
        return subprocess.Popen(
            [sys.executable, "-m", "workbench", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self.environment,
        )

    def told(self, *words: str | Path) -> Any:
        """What a command prints for programs; it must succeed."""
        with self.start(*words, "--json") as process:
            out, errors = process.communicate()
        assert process.returncode == 0, errors
        return json.loads(out)

    def wait(self, condition: Callable[[], object], seconds: float = 240.0) -> None:
        """Until the condition holds; the queue is told where it does not in time."""
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, "waited too long\n" + self.client("squeue", "-l")
            time.sleep(0.3)

    def empty(self) -> None:
        """Cancel everything, and wait until it is gone and every node is there."""
        ids = {name.partition("_")[0] for name in self.queue()}
        if ids:
            self.client("scancel", *ids)
        self.wait(lambda: not self.queue(), 60)
        self.wait(self.resumed, 60)

    def resumed(self) -> bool:
        """Whether every node is idle; one that a fault has drained is put back."""
        told = self.client("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t").splitlines()
        states = dict(line.split() for line in told)
        for node in [name for name, state in states.items() if state.startswith("drain")]:
            self.client("scontrol", "update", f"nodename={node}", "state=resume")
        return set(states.values()) == {"idle"}

    @contextlib.contextmanager
    def without(self, daemon: str, how: str = "kill") -> Iterator[None]:
        """No slurmctld, slurmdbd or slurmd.n1 … for the block.

        `how`: "kill" by SIGKILL, or "down", in order and with its state saved.
        """
        self.script(how, daemon)
        try:
            yield
        finally:
            self.script("up", daemon)

    def kill_jobs(self, node: str) -> None:
        """Kill all that runs for jobs on a node whose slurmd is dead, as a power cut does.

        Slurm's own step daemons go first, or they would tell the controller how the job ended.
        """
        inside = self.inside(node)
        assert inside, f"no job runs on {node}"
        kill(*{parent(pid) for pid in inside} - {*inside, 1})
        kill(*inside)

    def inside(self, node: str) -> set[int]:
        """What runs for jobs on a node."""
        conf = self.environment["SLURM_CONF"]
        return set(with_environment((f"SLURM_CONF={conf}", f"SLURMD_NODENAME={node}")))

    def freeze_jobs(self) -> None:
        """Stop all that runs for jobs until Slurm ends them."""
        for pid in set.union(*(self.inside(node) for node in self.nodes())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def nodes(self) -> list[str]:
        """The names of its nodes."""
        return self.client("sinfo", "-h", "-N", "-p", "main", "-o", "%N").split()

    def steps(self) -> list[int]:
        """Slurm's own step daemons, which outlive by a little what they ran."""
        found = []
        for pid in with_environment((f"SLURM_CONF={self.environment['SLURM_CONF']}",)):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("slurmstepd"):
                    found.append(pid)
        return found

    def script(self, *words: str) -> None:
        """`lab.sh` with these words."""
        done = subprocess.run(
            [str(LAB_SCRIPT), *words], env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def running_lab(**settings: str) -> Iterator[Lab]:
    """A cluster for the block; skipped with the reason where its packages are absent."""
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
    environment |= {"GPUS": "2" if _can_make_devices(place) else "0", **settings}
    found = Lab(place, environment)
    try:
        found.script("start")
        yield found
    finally:
        subprocess.run([str(LAB_SCRIPT), "stop"], env=environment, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


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
