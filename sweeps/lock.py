"""One training process a sweep: a lock that the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path


class SweepBusy(RuntimeError):
    """Another process works on this sweep; the message names it and says what to do."""


@contextlib.contextmanager
def hold(folder: Path, name: str = "workers.lock") -> Iterator[None]:
    """Hold a lock file of the sweep's folder for the block; SweepBusy where another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise SweepBusy(
                f"{folder}: already being worked on by {holder}\nwait until it ends, or stop it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(descriptor)  # releases the lock


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file at `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
