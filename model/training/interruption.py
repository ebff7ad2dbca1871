"""How a run is asked to stop or to save: two flags that signals, or a caller, may set."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


class RunInterrupted(Exception):
    """The run stopped on request; everything done is in its checkpoint."""


@dataclass(slots=True)
class Interruption:
    """Read by the training loop after every step."""

    stop: bool = False  # save a checkpoint and end
    save: bool = False  # save a checkpoint and go on
    idle: bool = False  # nothing to save: a request to stop is an exception at once

    def check(self, where: str) -> None:
        """Raise RunInterrupted where a stop was asked for and nothing is left to save."""
        if self.stop:
            raise RunInterrupted(where)


@contextlib.contextmanager
def on_signals(interruption: Interruption) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGUSR2 ask to stop, SIGUSR1 to save; a second SIGINT ends at once."""

    def ask_stop(number: int, frame: FrameType | None) -> None:
        interruption.stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if interruption.idle:
            raise RunInterrupted("stopped while idle")

    def ask_save(number: int, frame: FrameType | None) -> None:
        interruption.save = True

    stops = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    before = {number: signal.signal(number, ask_stop) for number in stops}
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, ask_save)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
