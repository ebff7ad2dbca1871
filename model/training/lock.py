"""One process a run folder: a kernel lock, and a heartbeat where that lock does not reach.

A requeued job can overlap the copy that Slurm believes dead, and two terminals can start one sweep.
The second refuses and names the first. The kernel releases `lock` when its holder dies, but not
every shared file system carries it between hosts. So the holder also touches `heartbeat.json`,
which bears a token of its own: another host's fresh beat means held, an old one is taken over, and
a holder that finds another token there has lost the folder and must not write. Ages are differences
of times that the file system gave, so that clocks of hosts do not matter.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from model.records import write_atomic

LOCK_NAME, HEARTBEAT_NAME = "lock", "heartbeat.json"

PATIENCE = 0.5  # seconds
BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0  # without a beat: dead


class RunLocked(Exception):
    """Another process is training in this folder."""


@dataclass(frozen=True, slots=True)
class RunLock:
    """The right to write into a run's folder, as long as `check` does not raise."""

    folder: Path
    token: str
    _lost: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def check(self, *, quick: bool = False) -> None:
        """Raise RunLocked where another process took the folder over; `quick`: as last seen."""
        if self._lost.is_set() or (not quick and not self._is_own()):
            self._lost.set()
            raise RunLocked(
                f"{self.folder}: taken over by another process while this one gave no sign of "
                "life\nnothing more was written here; the other one goes on"
            )

    def _is_own(self) -> bool:
        return _read(self.folder / HEARTBEAT_NAME).get("token") == self.token

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            if not self._is_own():
                self._lost.set()
                return
            with contextlib.suppress(OSError):
                os.utime(self.folder / HEARTBEAT_NAME)


@contextlib.contextmanager
def hold_lock(folder: Path) -> Iterator[RunLock]:
    """Hold the folder's lock for the length of the block; RunLocked where another has it.

    Tries for PATIENCE seconds: whoever only looks whether it is held may hold it for a moment.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _locked(descriptor):
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise RunLocked(
                f"{folder}: being trained by {holder}\nwait until it has ended, or stop it"
            )
        with _beating(folder) as lock:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            yield lock
    finally:
        os.close(descriptor)  # releases the lock; so does the death of the process


@contextlib.contextmanager
def _beating(folder: Path) -> Iterator[RunLock]:
    """Keep the folder's heartbeat for the block, where no other host's heart beats in it."""
    path, token = folder / HEARTBEAT_NAME, uuid.uuid4().hex
    own = {"host": socket.gethostname(), "pid": os.getpid(), "unix_time": time.time()}
    lock = RunLock(folder, token)
    _refuse_living(folder)
    write_atomic(path, json.dumps({**own, "token": token}) + "\n")
    thread = threading.Thread(target=lock._beat, daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        lock._over.set()
        thread.join()
        if lock._is_own():
            path.unlink(missing_ok=True)


def _refuse_living(folder: Path) -> None:
    """Raise RunLocked where another host touched the heartbeat within STALE_SECONDS.

    The own host's is not asked: there the kernel lock has already told.
    """
    path = folder / HEARTBEAT_NAME
    found = _read(path)
    if not found or found.get("host") == socket.gethostname():
        return
    probe = folder / f".{HEARTBEAT_NAME}.{os.getpid()}.now"
    try:
        probe.touch()
        age = probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return  # released this moment
    finally:
        probe.unlink(missing_ok=True)
    if age < STALE_SECONDS:
        raise RunLocked(
            f"{folder}: being trained by process {found.get('pid')} on {found.get('host')}, which "
            f"gave a sign of life {max(0.0, age):.0f} s ago\nif that is dead, it is free "
            f"{STALE_SECONDS:.0f} s after its last sign"
        )


def _read(path: Path) -> dict[str, object]:
    """What a heartbeat holds; nothing where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
