"""Runs one sample of any code; only ever started inside bubblewrap (see `bubblewrap`).

Standard library only: it is the one file of this package that the namespace holds.
"""

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from typing import Any

# System calls that start processes or reach other machines, by machine: the number that the
# kernel calls the architecture, then clone, fork, vfork, execve, execveat, clone3, ptrace, socket,
# unshare, setns, mount, io_uring_setup.
_SYSTEM_CALLS = {
    "x86_64": (0xC000003E, (56, 57, 58, 59, 322, 435, 101, 41, 272, 308, 165, 425)),
    "aarch64": (0xC00000B7, (220, 221, 281, 435, 117, 198, 97, 268, 40, 425)),
}
_NOT_PERMITTED = 0x00050000 | 1  # SECCOMP_RET_ERRNO with EPERM
_ALLOWED = 0x7FFF0000


def main() -> None:
    """Read the request, run it, write one JSON reply."""
    request = json.loads(sys.stdin.buffer.read())
    reply = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    _limit(request["cpu_seconds"], request["memory_bytes"])
    _forbid_processes()
    secret = request.pop("secret")
    try:
        answer: dict[str, Any] = _run(request)
        if request["asserts"] is not None:
            answer["secret"] = secret
    except BaseException as error:
        answer = {"error": type(error).__name__}
    os.write(reply, json.dumps(answer).encode())
    os._exit(0)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "sample"}
    exec(compile(request["source"], "<sample>", "exec", dont_inherit=True), names)
    function = names[request["entry"]]
    if request["asserts"] is None:
        return {"outputs": [repr(function(given)) for given in request["inputs"]]}
    names.pop("check", None)
    exec(compile(request["asserts"], "<tests>", "exec", dont_inherit=True), names)
    if "check" in names:
        names["check"](function)
    return {}


def _limit(cpu_seconds: float, memory_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 1,
    }
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    seconds = max(1, round(cpu_seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU, then SIGKILL


def _forbid_processes() -> None:
    """A seccomp filter: root is exempt from the limit on processes, a filter exempts nobody.

    On a machine without a table, the namespace and the wall-time limit remain.
    """
    if platform.machine() not in _SYSTEM_CALLS:
        return
    architecture, forbidden = _SYSTEM_CALLS[platform.machine()]
    last = len(forbidden)
    # Classic BPF: load the architecture, load the call's number, compare, return.
    program = [(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, _NOT_PERMITTED)]
    program += [(0x20, 0, 0, 0), (0x35, last + 1, 0, 0x40000000)]  # numbers of the x32 interface
    program += [(0x15, last - place, 0, call) for place, call in enumerate(forbidden)]
    program += [(0x06, 0, 0, _ALLOWED), (0x06, 0, 0, _NOT_PERMITTED)]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(memory))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(38, 1, 0, 0, 0) or library.prctl(22, 2, header, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter")


if __name__ == "__main__":
    main()
