"""One process a folder: a kernel lock, and a heartbeat where that lock does not reach.

A requeued job can overlap the copy that Slurm believes dead, and two terminals can start one sweep.
The second refuses and names the first. The kernel releases `lock` when its holder dies, but not
every shared file system carries it between hosts, and some have none. So the holder also touches
`heartbeat.json`, which bears a token of its own: another host's fresh beat means held (without a
kernel lock, any host's), an old one is taken over, and a holder that finds another token there has
lost the folder and must not write. Without a kernel lock two may look at once and both find
nobody, so there each looks again a moment after its own beat: the last to write stays. What
cannot be read for a moment proves nothing. Ages are differences of times that the file system
gave, so that clocks of hosts do not matter.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from model.records import write_atomic

LOCK_NAME, HEARTBEAT_NAME = "lock", "heartbeat.json"
NO_KERNEL_LOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)

PATIENCE = 0.5  # seconds
LOOKS = 3  # that must miss the heartbeat, PATIENCE apart, before it counts as gone
BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0  # without a beat: dead


class RunLocked(Exception):
    """Another process works in this folder."""


@dataclass(frozen=True, slots=True)
class RunLock:
    """The right to write into a run's folder, as long as `check` does not raise."""

    heartbeat: Path
    token: str
    _lost: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def check(self, *, quick: bool = False) -> None:
        """Raise RunLocked where another process took the folder over; `quick`: as last seen."""
        if self._lost.is_set() or (not quick and self._is_taken()):
            self._lost.set()
            raise RunLocked(
                f"{self.heartbeat.parent}: taken over by another process while this one gave no "
                "sign of life\nnothing more was written here; the other one goes on"
            )

    def _is_taken(self) -> bool:
        """Whether another's token stands there, or several looks found no heartbeat at all."""
        for _ in range(LOOKS):
            try:
                token = _read(self.heartbeat).get("token", self.token)
            except FileNotFoundError:
                self._over.wait(PATIENCE)
            except OSError:
                return False
            else:
                return token != self.token
        return True

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            if self._is_taken():
                self._lost.set()
                return
            with contextlib.suppress(OSError):
                os.utime(self.heartbeat)

    def _release(self) -> None:
        """Remove the heartbeat where it is surely the own one."""
        with contextlib.suppress(OSError):
            if _read(self.heartbeat).get("token") == self.token:
                self.heartbeat.unlink()


@contextlib.contextmanager
def hold_lock(
    folder: Path,
    lock: str = LOCK_NAME,
    heartbeat: str = HEARTBEAT_NAME,
    patience: float = PATIENCE,
) -> Iterator[RunLock]:
    """Hold the folder's lock for the length of the block; RunLocked where another has it.

    Tries for `patience` seconds: whoever only looks whether it is held may hold it for a moment.
    """
    beat, end = folder / heartbeat, time.monotonic() + patience
    descriptor = os.open(folder / lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while isinstance(found := _claim(descriptor, beat), str):
            if time.monotonic() >= end:
                raise RunLocked(
                    f"{folder}: being worked on by {found}\nwait until it has ended, or stop it"
                )
            time.sleep(PATIENCE / 5)
        with _beating(found):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
            yield found
    finally:
        os.close(descriptor)  # releases the lock; so does the death of the process


def try_lock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool | None:
    """Whether the kernel lock of an open file could be had at once; None where there is none."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_KERNEL_LOCK:
            return None
        raise
    return True


def living(heartbeat: Path, *, own_host: bool) -> str:
    """Who touched the heartbeat within STALE_SECONDS, in words; empty where nobody did.

    Without `own_host` the own host's is not asked: there the kernel lock has already told.
    """
    try:
        found, touched = _read(heartbeat), heartbeat.stat().st_mtime
        if found.get("host") == socket.gethostname() and not own_host:
            return ""
        age = _now(heartbeat.parent) - touched
    except FileNotFoundError:
        return ""  # released this moment
    except OSError as error:
        return f"a process whose heartbeat cannot be read ({error})"
    if age >= STALE_SECONDS:
        return ""
    return (
        f"pid {found.get('pid')} on {found.get('host')}, which gave a sign of life "
        f"{max(0.0, age):.0f} s ago (free {STALE_SECONDS:.0f} s after its last)"
    )


@contextlib.contextmanager
def _beating(lock: RunLock) -> Iterator[None]:
    """Keep the lock's heartbeat fresh for the block, and remove it after."""
    thread = threading.Thread(target=lock._beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        lock._over.set()
        thread.join()
        lock._release()


def _claim(descriptor: int, heartbeat: Path) -> RunLock | str:
    """The lock, its heartbeat written; or, in words, who keeps us from it."""
    had = try_lock(descriptor)
    if had is False:
        return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
    if holder := living(heartbeat, own_host=had is None):
        return holder
    lock = RunLock(heartbeat, uuid.uuid4().hex)
    own = {"host": socket.gethostname(), "pid": os.getpid(), "unix_time": time.time()}
    write_atomic(heartbeat, json.dumps({**own, "token": lock.token}) + "\n")
    if had is None:
        time.sleep(PATIENCE)  # whoever looked before that beat has written its own by now
        if lock._is_taken():
            return living(heartbeat, own_host=True) or "another process"
    return lock


def _now(folder: Path) -> float:
    """The time on the clock of the folder's file system; this host's where it may not write."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


def _read(heartbeat: Path) -> dict[str, object]:
    """What a heartbeat holds; nothing where it is no JSON. OSError is passed on."""
    try:
        found = json.loads(heartbeat.read_bytes())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
