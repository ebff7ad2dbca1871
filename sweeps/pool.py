"""The pool: persistent workers that train the runs they are given, the longest first.

A run is done when its folder has a valid `result.json`, whatever a worker said. A worker that dies
is replaced and its run tried again; a run that fails, or whose result cannot be read, leaves
`failed.json`, and the others go on. A run that somebody else trains is waited for, and left where
nothing else is to do for too long. Stopped, the workers save checkpoints and end.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

from model.records import to_json, write_atomic
from model.training.lock import LOCK_NAME
from model.training.result import load_result
from sweeps.cost import longest_first
from sweeps.layout import FAILED_NAME, SPEC_NAME, run_folder
from sweeps.lock import is_trained
from sweeps.planned import PlannedRun
from sweeps.worker_process import WORKER_COMMAND, Message, WorkerProcess

RETRIES = 2  # of a run whose worker died
GRACE_SECONDS = 30.0  # for a worker to save its checkpoint
POLL_SECONDS = 1.0  # while another process still holds a run
LOCKED_SECONDS = 10.0  # before a run that another process held is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one run."""

    kind: Literal["skipped", "started", "progress", "done", "retried", "locked", "failed", "left"]
    run: PlannedRun
    worker: int | None = None
    step: int = 0
    loss: float | None = None  # nats per token; the held-out loss when done
    eta: float | None = None  # seconds of training left in this run
    message: str = ""


def _ignore(event: Event) -> None:
    """The listener of those who do not listen."""


def _nothing(run: PlannedRun) -> str:
    """Nothing against any run."""
    return ""


def _no_settings(number: int) -> tuple[str, ...]:
    """No environment of a worker's own."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a pool works, and with what."""

    folder: Path  # of the sweep
    data_folder: Path
    logs: Path  # of the workers' standard error
    ledger_head: str | None = None
    command: tuple[str, ...] = WORKER_COMMAND
    retries: int = RETRIES
    grace: float = GRACE_SECONDS
    listen: Callable[[Event], None] = _ignore
    unwanted: Callable[[PlannedRun], str] = _nothing  # why to leave a run; asked all the time
    refuses: Callable[[PlannedRun], str] = _nothing  # why to fail it; asked before each start
    settings: Callable[[int], tuple[str, ...]] = _no_settings  # NAME=value for a worker, by number
    patience: float = math.inf  # seconds that only runs which others train are waited for

    @property
    def job(self) -> dict[str, Any]:
        """What every worker is told beside its run."""
        return {"data_folder": str(self.data_folder.resolve()), "ledger_head": self.ledger_head}


class Pool:
    """Runs that wait, workers that train, and what became of both."""

    def __init__(self, place: Place) -> None:
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self._place = place
        self._waiting: deque[PlannedRun] = deque()
        self._attempts: dict[str, int] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._busy: dict[int, PlannedRun] = {}
        self._not_before: dict[str, float] = {}
        self._held: dict[str, str] = {}  # who trains the runs that are waited for
        self._moved = time.monotonic()  # when a run last went on here
        self._inbox: SimpleQueue[Message] = SimpleQueue()

    def add(self, runs: Iterable[PlannedRun]) -> None:
        """Queue runs, the longest first, or tell that they are over."""
        for run in longest_first(runs):
            if not self._is_over(run, "skipped"):
                self._waiting.append(run)

    def train(self, workers: int) -> None:
        """Until nothing waits and nobody is busy."""
        looked = time.monotonic()
        while self._waiting or self._busy:
            if time.monotonic() - looked > POLL_SECONDS:
                self._leave_unwanted()
                looked = time.monotonic()
            for number in range(workers):
                if number not in self._busy and not self._assign(number):
                    break
            if not self._busy and time.monotonic() - self._moved > self._place.patience:
                self._leave_held()
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
        limit = time.monotonic() + self._place.grace
        for worker in self._workers.values():
            worker.wait(max(0.1, limit - time.monotonic()))

    def _assign(self, number: int) -> bool:
        """Give the next run that nobody else holds to a worker; False where there is none."""
        for _ in range(len(self._waiting)):
            run = self._waiting.popleft()
            home = self._home(run)
            early = time.monotonic() < self._not_before.get(str(run.run_id), 0.0)
            if early or is_trained(home):  # a worker that outlived its parent trains it
                self._waiting.append(run)
                self._tell_held(run, home)
            elif not (self._is_over(run, "done") or self._is_left(run) or self._is_refused(run)):
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
            worker.wait(self._place.grace)
            worker = None
        if worker is None:
            worker = self._workers[number] = WorkerProcess(
                number,
                self._place.command,
                threads=threads,
                log=self._place.logs / f"{number}.log",
                inbox=self._inbox,
                more=self._place.settings(number),
            )
        self._busy[number] = run
        worker.send({"spec": str(home / SPEC_NAME), "run_folder": str(home), **self._place.job})
        self._place.listen(Event(kind="started", run=run, worker=number))

    def _receive(self, message: Message) -> None:
        number, content = message.worker.number, message.content
        if content is None:
            self._ended(message.worker)
            return
        run = self._busy.get(number)
        if run is None or content.get("run_id") not in (None, run.run_id):
            return
        if content.get("event") != "locked":
            self._moved = time.monotonic()
        if content.get("event") == "progress":
            step, loss, eta = content.get("step") or 0, content.get("loss"), content.get("eta")
            self._place.listen(
                Event(kind="progress", run=run, worker=number, step=step, loss=loss, eta=eta)
            )
        elif content.get("event") in ("done", "failed"):
            del self._busy[number]
            said = content.get("message") or ""
            if content["event"] == "failed":
                self._fail(run, said or "failed without a message", message.worker)
            elif not self._is_over(run, "done", number):
                self._fail(run, "told it was done without a result", message.worker)
        elif content.get("event") == "locked":  # by a process that was not seen from here
            del self._busy[number]
            said = (content.get("message") or "").partition("\n")[0]
            self._place.listen(Event(kind="locked", run=run, worker=number, message=said))
            self._held[str(run.run_id)] = said
            self._not_before[str(run.run_id)] = time.monotonic() + LOCKED_SECONDS
            self._waiting.append(run)

    def _ended(self, worker: WorkerProcess) -> None:
        """A worker died: forget it, and try its run again or give it up."""
        del self._workers[worker.number]
        status = worker.wait(self._place.grace)
        self._moved = time.monotonic()
        run = self._busy.pop(worker.number, None)
        if run is None or self._is_over(run, "done", worker.number):
            return
        if self._is_left(run):
            return
        assert run.run_id is not None
        attempts = self._attempts[run.run_id] = self._attempts.get(run.run_id, 0) + 1
        died = f"worker died (exit status {status})"
        if attempts > self._place.retries:
            self._fail(run, f"{died}, {attempts} times", worker)
        else:
            self._waiting.appendleft(run)
            self._place.listen(Event(kind="retried", run=run, worker=worker.number, message=died))

    def _fail(self, run: PlannedRun, message: str, worker: WorkerProcess | None = None) -> None:
        assert run.run_id is not None
        self.failed[run.run_id] = message
        number, tail = (worker.number, worker.tail()) if worker else (None, "")
        record = {"message": message, "log": tail, "unix_time": time.time()}
        with contextlib.suppress(OSError):  # a full disk is often why; the outcome still tells
            write_atomic(self._home(run) / FAILED_NAME, json.dumps(record, indent=1) + "\n")
        self._place.listen(Event(kind="failed", run=run, worker=number, message=message))

    def _is_over(
        self, run: PlannedRun, kind: Literal["skipped", "done"], number: int | None = None
    ) -> bool:
        """Whether the run has a result; if so it is counted and told, as failed if unreadable."""
        try:
            result = load_result(self._home(run))
        except ValueError as error:
            self._fail(run, str(error))
            return True
        if result is None:
            return False
        assert run.run_id is not None
        self.done.append(run.run_id)
        self._place.listen(
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

    def _is_left(self, run: PlannedRun) -> bool:
        """Whether the run is not wanted (any more); if so that is noted and told."""
        reason = self._place.unwanted(run)
        if reason:
            self._leave(run, reason)
        return bool(reason)

    def _leave(self, run: PlannedRun, reason: str) -> None:
        self.left[str(run.run_id)] = reason
        self._place.listen(Event(kind="left", run=run, message=reason))

    def _is_refused(self, run: PlannedRun) -> bool:
        """Whether there is something against starting the run; if so it has failed."""
        reason = self._place.refuses(run)
        if reason:
            self._fail(run, reason)
        return bool(reason)

    def _leave_unwanted(self) -> None:
        """Stop the workers whose runs are not wanted any more; they save and end."""
        for number, run in self._busy.items():
            if self._place.unwanted(run):
                self._workers[number].terminate()

    def _tell_held(self, run: PlannedRun, home: Path) -> None:
        """Say once who trains a run that is waited for."""
        if str(run.run_id) not in self._held:
            with contextlib.suppress(OSError):
                holder = (home / LOCK_NAME).read_text(encoding="utf-8", errors="replace").strip()
                said = self._held[str(run.run_id)] = f"being worked on by {holder}"
                self._place.listen(Event(kind="locked", run=run, message=said))

    def _leave_held(self) -> None:
        """Leave what others train: nothing else is to do here."""
        for run in self._waiting:
            self._leave(run, self._held.get(str(run.run_id), "being worked on by another process"))
        self._waiting.clear()

    def _home(self, run: PlannedRun) -> Path:
        assert run.run_id is not None
        return run_folder(self._place.folder, run.run_id)
