"""The process that runs allowed code: started by exec, limited, fed with batches over a pipe.

Run as a script. A request is one JSON line {"items", "steps", "cpu_seconds"}; the reply is one
line [index, passed, reason] an item, written as soon as it is known, so that the item that kills
this process is the first without one. Requests to stop or to save are for others: they are ignored.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a cluster signals every process; our parent decides
    # started without a search path
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from model.evaluation.allow_list import SAFE_BUILTINS, check_tree, parse
from model.evaluation.guards import TooLarge
from model.evaluation.step_budget import Meter, StepBudgetExceeded, instrument

_LONGEST_REASON = 200  # characters


def main(memory_bytes: int) -> None:
    """Serve requests until the pipe closes."""
    replies = os.dup(1)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    limit(memory_bytes)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _allow_processor_time(request["cpu_seconds"] * len(request["items"]))
        for index, item in enumerate(request["items"]):
            # By default SIGPROF ends the process, even inside a long call into C.
            signal.setitimer(signal.ITIMER_PROF, request["cpu_seconds"])
            reason = grade(item, request["steps"])
            os.write(replies, json.dumps([index, reason is None, reason or "passed"]).encode())
            os.write(replies, b"\n")
        signal.setitimer(signal.ITIMER_PROF, 0)


def limit(memory_bytes: int) -> None:
    """No files, no processes, no core, bounded memory: whatever the allow-list might miss."""
    fixed = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, value in fixed.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def grade(item: dict[str, Any], steps: int) -> str | None:
    """None if the sample passes all its tests, else why not."""
    meter = Meter(steps)
    names: dict[str, Any] = {}
    try:
        reason = _load(item["source"], meter, names, frozenset())
        if reason is not None:
            return reason
        function = names.get(item["entry"])
        if function is None:
            return f"the sample defines no {item['entry']!r}"
        if "asserts" in item:
            return _run_asserts(item["asserts"], meter, names, function)
        return _run_pairs(item["pairs"], function)
    except StepBudgetExceeded:
        return f"more than {steps} steps"
    except TooLarge:
        return "a value beyond the size bounds"
    except BaseException as error:
        return describe(error)
    finally:
        names.clear()  # functions and their globals refer to each other


def describe(error: BaseException) -> str:
    """One short line that names the error."""
    said = error.args[0] if error.args and isinstance(error.args[0], str) else ""
    return f"{type(error).__name__}: {said}"[:_LONGEST_REASON].rstrip(": ")


def _load(source: str, meter: Meter, names: dict[str, Any], known: frozenset[str]) -> str | None:
    """Run checked and instrumented source; `names` receives what it defines."""
    tree = parse(source)
    if isinstance(tree, str):
        return tree
    reason, bound = check_tree(tree, known)
    if reason is not None:
        return reason
    code = compile(instrument(tree, bound), "<sample>", "exec", dont_inherit=True)
    names.update(meter.names() | names)
    exec(code, names)
    return None


def _run_pairs(pairs: list[list[Any]], function: Any) -> str | None:
    for number, (given, expected) in enumerate(pairs):
        got = function(given)
        if type(got) is not type(expected) or repr(got) != repr(expected):
            return f"test {number}: wrong output"
    return None


def _run_asserts(asserts: str, meter: Meter, names: dict[str, Any], function: Any) -> str | None:
    """Tests run with names of their own: what a sample calls `abs` or `check` is not theirs."""
    defined = {
        name: value
        for name, value in names.items()
        if not name.startswith("__") and name not in SAFE_BUILTINS and name != "check"
    }
    tests = dict(defined)
    reason = _load(asserts, meter, tests, frozenset(defined))
    if reason is not None:
        return f"tests: {reason}"
    if "check" in tests:
        tests["check"](function)
    return None


def _allow_processor_time(seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(usage.ru_utime + usage.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
