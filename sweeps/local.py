"""The local backend: single-threaded workers on this machine, one training process a sweep.

A run that fails is tried again by the next call. Interrupted, the workers save checkpoints, and the
next call goes on from there.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from model.training.result import load_result
from sweeps.layout import run_folder
from sweeps.lock import hold
from sweeps.planned import PlannedRun
from sweeps.pool import RETRIES, Event, Place, Pool
from sweeps.worker_process import WORKER_COMMAND


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
        load_result(run_folder(folder, str(run.run_id)))  # a corrupt one before hours of training
    folder = folder.resolve()
    place = Place(
        folder=folder,
        data_folder=data_folder,
        logs=folder / "workers",
        ledger_head=ledger_head,
        command=tuple(command),
        retries=retries,
        listen=listen or (lambda event: None),
    )
    with hold(folder), _sigterm_ends():
        pool = Pool(place)
        pool.add(planned)
        try:
            pool.train(workers)
        except BaseException:
            pool.stop(now=True)
            raise
        pool.stop(now=False)
        return Outcome(done=tuple(pool.done), failed=pool.failed)


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
