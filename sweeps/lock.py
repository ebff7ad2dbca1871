"""One training process a sweep: a lock that the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from model.training.lock import HEARTBEAT_NAME, LOCK_NAME, STALE_SECONDS


class SweepBusy(RuntimeError):
    """Another process works on this sweep; the message names it and says what to do."""


@contextlib.contextmanager
def hold(folder: Path, name: str = "workers.lock", patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file of the sweep's folder for the block.

    SweepBusy where another holds it, and still does after `patience` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    end = time.monotonic() + patience
    try:
        while not _locked(descriptor):
            if time.monotonic() >= end:
                holder = os.read(descriptor, 200).decode(errors="replace").strip()
                raise SweepBusy(
                    f"{folder}: already being worked on by {holder or 'another process'}\n"
                    "wait until it ends, or stop it"
                )
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(descriptor)  # releases the lock


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_trained(home: Path) -> bool:
    """Whether a living process trains in a run's folder, here or on another host.

    Another host's kernel lock may not be seen from here; its heartbeat is.
    """
    if is_held(home / LOCK_NAME):
        return True
    path = home / HEARTBEAT_NAME
    try:
        age = time.time() - path.stat().st_mtime
        host = json.loads(path.read_bytes()).get("host")
    except (OSError, ValueError, AttributeError):
        return False
    return age < STALE_SECONDS and host != socket.gethostname()


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
