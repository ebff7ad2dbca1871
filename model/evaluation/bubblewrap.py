"""Runs code beyond the allow-list, one process a sample, inside bubblewrap's namespaces.

No network, no process but its own, the interpreter's files read-only, an empty /tmp. For tests
given as pairs, expected outputs never enter the sandbox, so a verdict cannot be forged. Tests given
as asserts run beside the code they test and trust it not to cheat: printing or exiting does not
forge a verdict, but code that reaches into its caller's frame, or returns an object that equals
everything, passes.
"""

import functools
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

REFUSED = "refused: needs bubblewrap (install the package `bubblewrap`)"
_MOST_REPLY = 1 << 20  # bytes
_GRACE_SECONDS = 5.0  # from the end of the output to the end of the process


class ForeignLimits(Protocol):
    """The limits that apply here."""

    @property
    def cpu_seconds(self) -> float: ...
    @property
    def wall_seconds(self) -> float: ...
    @property
    def memory_bytes(self) -> int: ...


def grade(request: dict[str, Any], limits: ForeignLimits) -> tuple[bool, str]:
    """Whether the sample passes, and the reason if not."""
    if not available():
        return False, REFUSED
    secret = secrets.token_hex(16)
    message = {
        "source": request["source"],
        "entry": request["entry"],
        "asserts": request.get("asserts"),
        "inputs": [given for given, _ in request.get("pairs", ())],
        "secret": secret,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
    }
    reply, problem = _exchange(json.dumps(message).encode(), limits.wall_seconds)
    if problem is not None:
        return False, problem
    try:
        said = json.loads(reply)
    except (ValueError, RecursionError):
        return False, "ended without a verdict"
    if not isinstance(said, dict):
        return False, "ended without a verdict"
    if "error" in said:
        return False, str(said["error"])[:200]
    if "asserts" in request:
        passed = said.get("secret") == secret
        return passed, "passed" if passed else "ended without a verdict"
    if said.get("outputs") == [repr(expected) for _, expected in request["pairs"]]:
        return True, "passed"
    return False, "wrong output"


@functools.cache
def available() -> bool:
    """Whether bubblewrap is installed and may make namespaces here."""
    if shutil.which("bwrap") is None:
        return False
    trial = [*_command()[:-1], "-c", ""]
    done = subprocess.run(trial, capture_output=True, check=False, timeout=60)
    return done.returncode == 0


def _command() -> list[str]:
    interpreter = os.path.realpath(sys.executable)
    script = Path(__file__).with_name("foreign_worker.py")
    read_only = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"]
    if not sys.base_prefix.startswith("/usr/"):
        read_only.append(sys.base_prefix)
    binds = [word for path in read_only for word in ("--ro-bind-try", path, path)]
    isolation = "--unshare-all --die-with-parent --new-session --clearenv --cap-drop ALL"
    return [
        *("bwrap", *isolation.split()),
        *binds,
        *("--ro-bind", str(script), "/worker.py"),
        *("--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"),
        *(interpreter, "-I", "-S", "-B", "/worker.py"),
    ]


def _exchange(message: bytes, wall_seconds: float) -> tuple[bytes, str | None]:
    """The reply, or why there is none. Reads no more than 1 MB."""
    process = subprocess.Popen(
        _command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None and process.stdout is not None
    deadline = time.monotonic() + wall_seconds
    reply = b""
    try:
        try:
            process.stdin.write(message)
            process.stdin.close()
        except BrokenPipeError:
            return b"", "ended without a verdict"
        while len(reply) <= _MOST_REPLY:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([process.stdout], [], [], left)[0]:
                return b"", f"last resort: no verdict within {wall_seconds:g} s of wall time"
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return reply, _death(process)
            reply += chunk
        return b"", "output above 1 MB"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _death(process: subprocess.Popen[bytes]) -> str | None:
    """Why the sandbox ended, if a limit ended it; bubblewrap reports signals as a shell does."""
    try:
        status = process.wait(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return "closed its output and went on"
    return "used up its processor time" if status == 128 + signal.SIGXCPU else None
