"""One persistent worker: a child process that trains one run after the other.

It takes a JSON line a job on its standard input, answers with JSON lines on its standard output and
ends when its input closes. Its standard error goes to a log file. What else it prints is ignored.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

WORKER_COMMAND = (sys.executable, "-m", "model.training.worker")
WORKER_FOLDER = Path(__file__).resolve().parents[1]  # so that the worker finds `model`
TAIL_LINES, TAIL_BYTES = 20, 16384


class Message(NamedTuple):
    """What a worker's reader found; `content` is None when the worker has ended."""

    worker: WorkerProcess
    content: dict[str, Any] | None


def settings(threads: int) -> tuple[str, ...]:
    """Environment of a worker: so many threads, no more.

    The wait policy stays the library's own. Threads that sleep between small products
    (OMP_WAIT_POLICY=PASSIVE) took 83 ms a step where the default took 39, at width 88 on two idle
    cores. The default collapses beside other busy processes, so only the target gets more than one
    thread, once the ladder is idle.
    """
    return (f"OMP_NUM_THREADS={threads}", f"MKL_NUM_THREADS={threads}")


class WorkerProcess:
    """A started worker. Its messages go into `inbox`, from a thread of its own."""

    def __init__(
        self,
        number: int,
        command: Sequence[str],
        *,
        threads: int,
        log: Path,
        inbox: SimpleQueue[Message],
        more: Sequence[str] = (),  # environment of this worker, NAME=value
    ) -> None:
        self.number = number
        self.threads = threads
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._log_start = errors.tell()
            self._process = subprocess.Popen(
                ["env", *settings(threads), *more, *command],  # env execs: same pid
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=WORKER_FOLDER,
                bufsize=1,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the workers in order
            )
        threading.Thread(target=self._read, args=(inbox,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def send(self, job: dict[str, Any]) -> None:
        """Hand over one job; a dead worker shows by its closing message, not here."""
        assert self._process.stdin is not None
        self._log_start = self.log.stat().st_size
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()

    def tail(self) -> str:
        """The last lines the worker logged since it took its job."""
        with self.log.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(self._log_start, end - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-TAIL_LINES:])

    def close(self) -> None:
        """Close the worker's input: it ends after the job at hand."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def terminate(self) -> None:
        """Ask the worker to save a checkpoint and end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """The exit status once it has ended; it is killed after `seconds`."""
        self.close()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _read(self, inbox: SimpleQueue[Message]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    content = json.loads(line)
                    if isinstance(content, dict):
                        inbox.put(Message(self, content))
        inbox.put(Message(self, None))
