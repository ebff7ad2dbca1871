"""Processes of this machine, by /proc: whose they are, and how they die."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path


def kill(*pids: int) -> None:
    """SIGKILL, and the processes are gone when this returns."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while left := [pid for pid in pids if _lives(pid)]:
        assert time.monotonic() < end, f"processes {left} do not die"
        time.sleep(0.02)


def parent(pid: int) -> int:
    """The parent of a process."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    return int(after_name.split()[1])


def with_environment(wanted: Iterable[str]) -> Iterator[int]:
    """Processes that were started with all of these NAME=value."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if set(wanted) <= set(path.read_bytes().decode(errors="replace").split("\0")):
                yield int(path.parent.name)


def _lives(pid: int) -> bool:
    """Whether it is there, and no zombie that nobody has waited for yet."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
