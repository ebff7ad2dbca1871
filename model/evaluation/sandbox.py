"""Grades generated programs: allowed code in a limited worker process, other code in bubblewrap.

`grade_batch` is for code that passes the allow-list (thousands a second); what does not pass is
refused. With `sandbox="bubblewrap"` any code runs, each sample in namespaces of its own (about
fifty a second); without bubblewrap all of it is refused. Verdicts follow from counted steps and
sizes; processor time, then wall time, are last resorts and are named in the verdict.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from model.evaluation import bubblewrap

Sandbox = Literal["allow-list", "bubblewrap"]
Tests = str | Sequence[tuple[Any, Any]]
_BATCH = 256  # samples a request
# What a sample can end its process by; any other signal came from outside.
_OWN = {signal.SIGPROF, signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}
_OWN |= {signal.SIGFPE, signal.SIGILL}
_MOST_KILLS = 3  # from outside, in a row, with the same sample first


@dataclass(frozen=True, slots=True)
class GradeItem:
    """A prompt with a sampled completion, and what decides whether it passes.

    `tests` are (input, output) pairs of JSON values, equal when their `repr` is, or Python asserts
    that may define `check(candidate)`.
    """

    prompt: str
    completion: str
    tests: Tests
    entry: str = "f"  # the function under test


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a sample passed; otherwise `reason` says why not."""

    passed: bool
    reason: str = "passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one sample may use."""

    steps: int = 50_000  # loop turns and calls; not counted in bubblewrap
    cpu_seconds: float = 5.0
    wall_seconds: float = 60.0  # last resort
    memory_bytes: int = 512 << 20

    def __post_init__(self) -> None:
        for name in ("steps", "cpu_seconds", "wall_seconds", "memory_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")


def grade_batch(
    items: Sequence[GradeItem],
    *,
    sandbox: Sandbox = "allow-list",
    limits: Limits | None = None,
) -> list[Verdict]:
    """A verdict for each item, in order; identical items are run once."""
    if sandbox not in ("allow-list", "bubblewrap"):
        raise ValueError(f"sandbox={sandbox!r}: must be 'allow-list' or 'bubblewrap'")
    limits = limits or Limits()
    requests = [request(item) for item in items]
    keys = [json.dumps(one) for one in requests]
    unique = dict(zip(keys, requests, strict=True))
    if sandbox == "bubblewrap":
        found = [Verdict(*bubblewrap.grade(one, limits)) for one in unique.values()]
    else:
        with Worker(limits) as worker:
            found = worker.grade(list(unique.values()))
    verdicts = dict(zip(unique, found, strict=True))
    return [verdicts[key] for key in keys]


def request(item: GradeItem) -> dict[str, Any]:
    """What a worker is told about an item."""
    tests: dict[str, Any] = (
        {"asserts": item.tests}
        if isinstance(item.tests, str)
        else {"pairs": [[given, expected] for given, expected in item.tests]}
    )
    return {"source": item.prompt + item.completion, "entry": item.entry, **tests}


class Worker:
    """A persistent process that grades; started anew when a sample kills it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_by = 0  # the signal that ended the last process

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def grade(self, requests: Sequence[dict[str, Any]]) -> list[Verdict]:
        """A verdict for each request; one that ends the process fails, the others are retried.

        Retried are all, too, where something else ended it. A sample at which SIGKILL always does
        fails (the kernel kills so when memory is short); RuntimeError for other signals.
        """
        verdicts: list[Verdict] = []
        kills: list[int] = []
        while len(verdicts) < len(requests):
            batch = requests[len(verdicts) : len(verdicts) + _BATCH]
            found = self._replies(self._started(), batch)
            kills = [] if found else [*kills, self._ended_by]
            if len(kills) == _MOST_KILLS:
                told = f"killed from outside {_MOST_KILLS} times"
                if set(kills) != {signal.SIGKILL}:
                    raise RuntimeError(f"the grading process was {told} (signals {kills})")
                found, kills = [Verdict(False, f"{told} by SIGKILL (out of memory?)")], []
            verdicts += found
        return verdicts

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            script = Path(__file__).with_name("sandbox_worker.py")
            # -I and a fixed hash seed exclude each other; an empty environment makes up for -E.
            flags = ["-s", "-P", "-S", "-B"]
            self._process = subprocess.Popen(
                [sys.executable, *flags, str(script), str(self._limits.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONHASHSEED": "0"},
                cwd="/",
                start_new_session=True,
            )
        return self._process

    def _replies(
        self, process: subprocess.Popen[bytes], batch: Sequence[dict[str, Any]]
    ) -> list[Verdict]:
        """Verdicts in order, up to all of the batch or the first item that ended the process.

        Where something else ended it, up to the item at hand.
        """
        assert process.stdin is not None and process.stdout is not None
        limits = self._limits
        message = {"items": batch, "steps": limits.steps, "cpu_seconds": limits.cpu_seconds}
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            if self._ended(process, timeout=False) is None:
                return []
            raise RuntimeError("the grading process does not start") from None
        verdicts: list[Verdict] = []
        buffer = b""
        while len(verdicts) < len(batch):
            chunk = _read(process.stdout.fileno(), time.monotonic() + limits.wall_seconds)
            if not chunk:
                reason = self._ended(process, timeout=chunk is None)
                if reason is not None:
                    verdicts.append(Verdict(False, reason))
                break
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                _, passed, reason = json.loads(line)
                verdicts.append(Verdict(passed, reason))
        return verdicts

    def _ended(self, process: subprocess.Popen[bytes], timeout: bool) -> str | None:
        """What of the sample kept the process from replying, None for nothing; it is gone."""
        if timeout:
            process.kill()
        status = process.wait()
        self._ended_by = -status
        self._stop()
        if timeout:
            return f"last resort: no verdict within {self._limits.wall_seconds:g} s of wall time"
        if -status in (signal.SIGPROF, signal.SIGXCPU):
            return f"more than {self._limits.cpu_seconds:g} s of processor time"
        if status < 0 and -status not in _OWN:
            return None
        return f"killed the worker (status {status})"

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # of what was not written any more
                    pipe.close()
        self._process = None


def _read(descriptor: int, deadline: float) -> bytes | None:
    """Some bytes, none at the end of the stream, or None at the deadline (monotonic seconds)."""
    ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
    return os.read(descriptor, 1 << 16) if ready else None
