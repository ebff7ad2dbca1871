"""One process a run folder: a lock that the kernel releases when its holder dies.

A requeued job can overlap the copy that Slurm believes dead, and two terminals can start one sweep.
The second refuses and names the first. The lock file itself stays; only holding it means anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LOCK_NAME = "lock"


class RunLocked(Exception):
    """Another process is training in this folder."""


@contextlib.contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock for the length of the block; RunLocked where another has it."""
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise RunLocked(
                f"{folder}: being trained by {holder}. Wait until it has ended, or stop it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(descriptor)  # releases the lock; so does the death of the process


def is_locked(folder: Path) -> bool:
    """Whether a living process holds the folder's lock."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
