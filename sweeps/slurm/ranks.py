"""One run over all tasks of a job: which rank this process is, and where rank 0 listens.

srun starts one process for each task. The first runs the job as ever, with one worker; the others
become workers themselves and follow it. They end when it does, or where one of them dies, since
its connections close; the first then asks for a requeue, so srun must not kill it with the others,
and `--wait` ends what is left behind.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sweeps.slurm.client import call
from sweeps.worker_process import WORKER_COMMAND, WORKER_FOLDER, settings

SRUN = ("--kill-on-bad-exit=0", "--wait=900")  # longer than a silent controller is asked (turns.py)
PORTS = range(20_000, 32_000)  # below those that systems hand out


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """This process among the tasks of its step."""

    rank: int = 0
    local: int = 0  # on its node
    size: int = 1

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Rank:
        """From Slurm's variables; the only one where they are not set."""
        return cls(
            rank=int(environment.get("SLURM_PROCID", "0")),
            local=int(environment.get("SLURM_LOCALID", "0")),
            size=int(environment.get("SLURM_NTASKS", "1")),
        )

    def words(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """For the command line of its worker; none where it is the only one."""
        if self.size == 1:
            return ()
        where = master(environment)
        return ("--rank", str(self.rank), "--size", str(self.size), "--master", where)


def master(environment: Mapping[str, str]) -> str:
    """HOST:PORT of rank 0, the same in all tasks.

    The host is the job's first node by its name; where that does not resolve, by the address that
    srun gives of the node it was started on, which is the first. The port follows from the job's
    name, id and start, so that jobs that share a node do not meet.
    """
    nodes = environment["SLURM_JOB_NODELIST"]
    done = call("scontrol", "show", "hostnames", nodes)
    host = (done.stdout.split() or [nodes])[0]
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        host = environment["SLURM_LAUNCH_NODE_IPADDR"]
    names = ("SLURM_JOB_NAME", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    start = ":".join(environment.get(name, "") for name in names)
    number = int.from_bytes(hashlib.sha256(start.encode()).digest()[:8], "big")
    return f"{host}:{PORTS[number % len(PORTS)]}"


def become_worker(
    words: Sequence[str], *, threads: int, more: Sequence[str], log: Path
) -> NoReturn:
    """Turn this process into a worker, which then hears Slurm's signals itself."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(WORKER_FOLDER)
    os.execvp("env", ["env", *settings(threads), *more, *WORKER_COMMAND, *words])
