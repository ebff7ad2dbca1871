"""One process a sweep, and one a run: the lock of a run's folder, on other names."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from model.training.lock import (
    HEARTBEAT_NAME,
    LOCK_NAME,
    RunLocked,
    hold_lock,
    living,
    try_lock,
)


class SweepBusy(RuntimeError):
    """Another process works on this sweep; the message names it and says what to do."""


@contextlib.contextmanager
def hold(folder: Path, name: str = "workers.lock", patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file of the sweep's folder for the block.

    SweepBusy where another holds it, and still does after `patience` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(folder, name, f"{name}.{HEARTBEAT_NAME}", patience))
        except RunLocked as held:
            raise SweepBusy(str(held)) from None
        yield


def is_trained(home: Path) -> bool:
    """Whether a living process trains in a run's folder, here or on another host.

    Another host's kernel lock may not be seen from here; its heartbeat is.
    """
    held = _kernel_held(home / LOCK_NAME)
    return held or bool(living(home / HEARTBEAT_NAME, own_host=held is None))


def is_held(path: Path) -> bool:
    """Whether a living process holds the kernel lock of the file at `path`."""
    return bool(_kernel_held(path))


def _kernel_held(path: Path) -> bool | None:
    """`is_held`, or None where the file system has no such locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look do not see each other.
        had = try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
    return None if had is None else not had
