"""The local backend: persistent single-threaded workers, the longest run first.

A run is done when its folder has a valid `result.json`, whatever a worker said. A worker that dies
is replaced and its run tried again; a run that fails leaves `failed.json` and is tried again by the
next call. Interrupted, the workers save checkpoints, and the next call goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Literal

from model.records import to_json, write_atomic
from model.training.result import load_result
from sweeps.cost import longest_first
from sweeps.layout import FAILED_NAME, RUN_LOCK_NAME, SPEC_NAME, run_folder
from sweeps.lock import hold, is_held
from sweeps.planned import PlannedRun
from sweeps.worker_process import WORKER_COMMAND, Message, WorkerProcess

RETRIES = 2  # of a run whose worker died
GRACE_SECONDS = 30.0  # for a worker to save its checkpoint
POLL_SECONDS = 1.0  # while another process still holds a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one run."""

    kind: Literal["skipped", "started", "progress", "done", "retried", "failed"]
    run: PlannedRun
    worker: int | None = None
    step: int = 0
    loss: float | None = None  # nats per token; the held-out loss when done
    eta: float | None = None  # seconds of training left in this run
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the runs stand after a call; `failed` says why, by run id."""

    done: tuple[str, ...]
    failed: dict[str, str]


def train_runs(
    planned: Sequence[PlannedRun],
    *,
    data_folder: Path,
    folder: Path,
    workers: int,
    ledger_head: str | None = None,
    listen: Callable[[Event], None] | None = None,
    command: Sequence[str] = WORKER_COMMAND,
    retries: int = RETRIES,
) -> Outcome:
    """Train every run that is not done, `workers` at a time, each in `folder`/<run id>.

    Raises SweepBusy where another process trains this sweep, ValueError where a run has no spec or
    a result file is corrupt. On KeyboardInterrupt and SIGTERM the workers save and end first.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    for run in planned:
        if run.spec is None:
            raise ValueError(f"run {run.name} has no spec: plan again with manifest and execution")
    folder = folder.resolve()
    with hold(folder), _sigterm_ends():
        job = {"data_folder": str(data_folder.resolve()), "ledger_head": ledger_head}
        pool = _Pool(folder, job, listen or _ignore, tuple(command), retries)
        for run in longest_first(planned):
            pool.add(run)
        try:
            pool.train(workers)
        except BaseException:
            pool.stop(now=True)
            raise
        pool.stop(now=False)
        return Outcome(done=tuple(pool.done), failed=pool.failed)


def _ignore(event: Event) -> None:
    """The listener of those who do not listen."""


class _Pool:
    """Runs that wait, workers that train, and what became of both."""

    def __init__(
        self,
        folder: Path,
        job: dict[str, Any],
        listen: Callable[[Event], None],
        command: tuple[str, ...],
        retries: int,
    ) -> None:
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self._folder, self._job, self._listen = folder, job, listen
        self._command, self._retries = command, retries
        self._waiting: deque[PlannedRun] = deque()
        self._attempts: dict[str, int] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._busy: dict[int, PlannedRun] = {}
        self._inbox: SimpleQueue[Message] = SimpleQueue()

    def add(self, run: PlannedRun) -> None:
        """Queue a run, or tell that it is done."""
        if not self._is_done(run, "skipped"):
            self._waiting.append(run)

    def train(self, workers: int) -> None:
        """Until nothing waits and nobody is busy."""
        while self._waiting or self._busy:
            for number in range(workers):
                if number not in self._busy and not self._assign(number):
                    break
            try:
                message = self._inbox.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            if message.worker is self._workers.get(message.worker.number):
                self._receive(message)

    def stop(self, *, now: bool) -> None:
        """End all workers: after closing their input, or by SIGTERM where it must be now."""
        for worker in self._workers.values():
            if now:
                worker.terminate()
            worker.close()
        limit = time.monotonic() + GRACE_SECONDS
        for worker in self._workers.values():
            worker.wait(max(0.1, limit - time.monotonic()))

    def _assign(self, number: int) -> bool:
        """Give the next run that nobody else holds to a worker; False where there is none."""
        for _ in range(len(self._waiting)):
            run = self._waiting.popleft()
            home = self._home(run)
            if is_held(home / RUN_LOCK_NAME):  # a worker that outlived its parent trains it
                self._waiting.append(run)
            elif not self._is_done(run, "done"):
                self._start(number, run, home)
                return True
        return False

    def _start(self, number: int, run: PlannedRun, home: Path) -> None:
        assert run.spec is not None
        (home / FAILED_NAME).unlink(missing_ok=True)
        if not (home / SPEC_NAME).exists():
            write_atomic(home / SPEC_NAME, json.dumps(to_json(run.spec), indent=1) + "\n")
        worker = self._workers.get(number)
        threads = run.spec.execution.threads
        if worker is not None and worker.threads != threads:
            worker.wait(GRACE_SECONDS)
            worker = None
        if worker is None:
            worker = self._workers[number] = WorkerProcess(
                number,
                self._command,
                threads=threads,
                log=self._folder / "workers" / f"{number}.log",
                inbox=self._inbox,
            )
        self._busy[number] = run
        worker.send({"spec": str(home / SPEC_NAME), "run_folder": str(home), **self._job})
        self._listen(Event(kind="started", run=run, worker=number))

    def _receive(self, message: Message) -> None:
        number, content = message.worker.number, message.content
        if content is None:
            self._ended(message.worker)
            return
        run = self._busy.get(number)
        if run is None or content.get("run_id") not in (None, run.run_id):
            return
        if content.get("event") == "progress":
            step, loss, eta = content.get("step") or 0, content.get("loss"), content.get("eta")
            self._listen(
                Event(kind="progress", run=run, worker=number, step=step, loss=loss, eta=eta)
            )
        elif content.get("event") in ("done", "failed"):
            del self._busy[number]
            said = content.get("message") or ""
            if content["event"] == "failed":
                self._fail(run, number, said or "failed without a message", message.worker.tail())
            elif not self._is_done(run, "done", number):
                self._fail(run, number, "told it was done without a result", message.worker.tail())

    def _ended(self, worker: WorkerProcess) -> None:
        """A worker died: forget it, and try its run again or give it up."""
        del self._workers[worker.number]
        status = worker.wait(GRACE_SECONDS)
        run = self._busy.pop(worker.number, None)
        if run is None or self._is_done(run, "done", worker.number):
            return
        assert run.run_id is not None
        attempts = self._attempts[run.run_id] = self._attempts.get(run.run_id, 0) + 1
        died = f"worker died (exit status {status})"
        if attempts > self._retries:
            self._fail(run, worker.number, f"{died}, {attempts} times", worker.tail())
        else:
            self._waiting.appendleft(run)
            self._listen(Event(kind="retried", run=run, worker=worker.number, message=died))

    def _fail(self, run: PlannedRun, number: int, message: str, tail: str) -> None:
        assert run.run_id is not None
        self.failed[run.run_id] = message
        record = {"message": message, "log": tail, "unix_time": time.time()}
        with contextlib.suppress(OSError):  # a full disk is often why; the outcome still tells
            write_atomic(self._home(run) / FAILED_NAME, json.dumps(record, indent=1) + "\n")
        self._listen(Event(kind="failed", run=run, worker=number, message=message))

    def _is_done(
        self, run: PlannedRun, kind: Literal["skipped", "done"], number: int | None = None
    ) -> bool:
        """Whether the run has a result; if so it is counted and told."""
        result = load_result(self._home(run))
        if result is None:
            return False
        assert run.run_id is not None
        self.done.append(run.run_id)
        self._listen(
            Event(
                kind=kind,
                run=run,
                worker=number,
                step=result.steps,
                loss=result.loss,
                message=str(result.status),
            )
        )
        return True

    def _home(self, run: PlannedRun) -> Path:
        assert run.run_id is not None
        return run_folder(self._folder, run.run_id)


@contextlib.contextmanager
def _sigterm_ends() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that the workers are stopped in order."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
