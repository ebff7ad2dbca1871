"""What a run tells while it goes: where it is, and where its time went. Needs no torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from model.training.result import StageSeconds

STAGES = ("start", "train", "evaluate", "save")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One message from a run."""

    run_id: str
    stage: str  # "train" or "evaluate"
    step: int
    steps: int
    loss: float | None  # nats per token of the last finished stretch, None before the first
    eta: float | None  # seconds of training left, None before it is known


Report = Callable[[Progress], None]


@dataclass(slots=True)
class Stopwatch:
    """Seconds by stage; stages do not overlap: an inner one stops the clock of the outer."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    _stack: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge the block's time to `name`."""
        self._charge()
        self._stack.append(name)
        try:
            yield
        finally:
            self._charge()
            self._stack.pop()

    def read(self, name: str) -> float:
        """Seconds of a stage up to now."""
        self._charge()
        return self.seconds[name]

    def total(self) -> StageSeconds:
        """All stages up to now."""
        self._charge()
        return StageSeconds(**self.seconds)

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now


class Reporter:
    """Passes progress on, at most `rate` times a second."""

    def __init__(self, report: Report | None, run_id: str, steps: int, rate: float = 4.0) -> None:
        self._report = report
        self._run_id, self._steps = run_id, steps
        self._gap = 1.0 / rate
        self._last = float("-inf")
        self._first: tuple[int, float] | None = None

    def train(self, step: int, loss: float | None) -> None:
        """Tell the step, where the last message is old enough."""
        now = time.perf_counter()
        if self._report is None or (now - self._last < self._gap and step < self._steps):
            return
        self._last = now
        if self._first is None:
            self._first = (step, now)
        done = step - self._first[0]
        left = (now - self._first[1]) / done * (self._steps - step) if done else None
        self._send("train", step, loss, left)

    def evaluate(self, loss: float | None) -> None:
        """Tell that training is over and the evaluation goes on."""
        if self._report is not None:
            self._send("evaluate", self._steps, loss, 0.0)

    def _send(self, stage: str, step: int, loss: float | None, eta: float | None) -> None:
        assert self._report is not None
        self._report(
            Progress(
                run_id=self._run_id, stage=stage, step=step, steps=self._steps, loss=loss, eta=eta
            )
        )
