"""Bars for people: one for the whole sweep, weighted by FLOPs, and one a worker."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sweeps.planned import PlannedRun
from sweeps.pool import Event

FIRST_ETA_SECONDS = 5.0  # before that the pace is not known


class SweepProgress:
    """Shows what `train_runs` tells: `with SweepProgress(runs) as bars: train_runs(listen=bars)`.

    Where the console is no terminal, every run that ends prints one line instead.
    """

    def __init__(self, runs: Iterable[PlannedRun], console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._total = {run.name: run.flops for run in runs}
        self._done: dict[str, float] = {}  # FLOPs by run, those of earlier calls apart
        self._skipped = 0.0
        self._started = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            refresh_per_second=2,  # drawing takes CPU from the runs
        )
        self._overall = self._bars.add_task("sweep", total=1.0, note="")
        self._workers: dict[int, TaskID] = {}

    def __enter__(self) -> SweepProgress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        name, run = event.run.name, event.run
        if event.kind == "skipped":
            self._skipped += run.flops
        elif event.kind == "progress":
            self._done[name] = run.flops * event.step / max(1, run.steps)
        elif event.kind in ("done", "failed"):
            self._done[name] = run.flops
        if event.worker is not None:
            self._show_worker(event.worker, event)
        self._show_overall()
        if event.kind in ("done", "failed", "retried"):
            self._console.print(self._line(event), highlight=False)

    def eta(self) -> float | None:
        """Seconds left at the pace in FLOPs so far; None while it is not known."""
        spent, done = time.monotonic() - self._started, sum(self._done.values())
        left = sum(self._total.values()) - self._skipped - done
        if spent < FIRST_ETA_SECONDS or not done:
            return None
        return max(0.0, left / done * spent)

    def share(self) -> float:
        """Part of the sweep's FLOPs that is trained, 0 to 1."""
        total = sum(self._total.values())
        return min(1.0, (self._skipped + sum(self._done.values())) / total) if total else 1.0

    def _show_worker(self, number: int, event: Event) -> None:
        if number not in self._workers:
            self._workers[number] = self._bars.add_task("", note="")
        note = f"step {event.step}/{event.run.steps}"
        note += f"  loss {event.loss:.3f}" if event.loss is not None else ""
        note += f"  {clock(event.eta)} left" if event.eta else ""
        task = self._workers[number]
        if event.kind == "started":
            self._bars.reset(task)
        self._bars.update(
            task,
            description=event.run.name,
            total=event.run.steps,
            completed=event.step,
            note=note if event.kind == "progress" else event.kind,
        )

    def _show_overall(self) -> None:
        left = self.eta()
        note = f"{clock(left)} left" if left is not None else ""
        self._bars.update(self._overall, completed=self.share(), note=note)

    def _line(self, event: Event) -> str:
        words = [f"{self.share():4.0%}", event.run.name, event.message or event.kind]
        if event.kind == "done" and event.loss is not None:
            words.append(f"loss {event.loss:.4f}")
        return "  ".join(words)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    tail = f"{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
    return f"{hours}:{tail}" if hours else tail
