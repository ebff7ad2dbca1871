"""One process a run folder: a lock that the kernel releases when its holder dies.

A requeued job can overlap the copy that Slurm believes dead, and two terminals can start one sweep.
The second refuses and names the first. The lock file itself stays; only holding it means anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_NAME = "lock"

PATIENCE = 0.5  # seconds


class RunLocked(Exception):
    """Another process is training in this folder."""


@contextlib.contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock for the length of the block; RunLocked where another has it.

    Tries for PATIENCE seconds: whoever only looks whether it is held may hold it for a moment.
    """
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _locked(descriptor):
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise RunLocked(
                f"{folder}: being trained by {holder}\nwait until it has ended, or stop it"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(descriptor)  # releases the lock; so does the death of the process


def _locked(descriptor: int) -> bool:
    """Whether the lock could be had in time."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(PATIENCE / 20)
        else:
            return True
