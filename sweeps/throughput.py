"""FLOPs per second by width, for the times that a plan expects.

Only expected times come from here, never a result.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

GUESS = "default: a guess, nothing measured on this device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Training speed of one worker by width, and the seconds a run spends beside training."""

    widths: tuple[int, ...]  # ascending
    flops_per_second: tuple[float, ...]  # of one worker with `threads` threads
    overhead_seconds: float  # start, evaluation and saving of one run
    step_seconds: float = 0.0  # of a step beside its FLOPs: dispatch of many small operations
    source: str
    threads: int = 1

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.flops_per_second):
            raise ValueError(
                f"widths and flops_per_second must be as many and not empty, "
                f"got {len(self.widths)} and {len(self.flops_per_second)}"
            )
        if min(self.flops_per_second) <= 0:
            raise ValueError(f"flops_per_second must be above 0, got {self.flops_per_second}")

    @property
    def guessed(self) -> bool:
        """Whether nobody has measured it."""
        return self.source == GUESS

    def at(self, width: int, threads: int | None = None) -> float:
        """FLOPs per second at a width: between the table's points in log-log, flat beyond."""
        return self._one(width) * thread_gain(threads or self.threads) / thread_gain(self.threads)

    def seconds(self, flops: float, *, width: int, steps: int, threads: int | None = None) -> float:
        """Expected wall seconds of one run."""
        working = flops / self.at(width, threads) + steps * self.step_seconds
        return working + self.overhead_seconds

    def _one(self, width: int) -> float:
        place = bisect.bisect_left(self.widths, width)
        if place == 0:
            return self.flops_per_second[0]
        if place == len(self.widths):
            return self.flops_per_second[-1]
        low, high = self.widths[place - 1], self.widths[place]
        share = math.log(width / low) / math.log(high / low)
        below, above = self.flops_per_second[place - 1], self.flops_per_second[place]
        return below * math.exp(share * math.log(above / below))


def thread_gain(threads: int) -> float:
    """Speed of so many CPU threads over one: 1.6 for two, measured at 0.13M parameters."""
    return 1 + 0.6 * (threads - 1)


CPU = Throughput(
    widths=(16, 24, 32, 48, 64, 96),
    flops_per_second=(5.3e9, 1.0e10, 1.5e10, 2.3e10, 2.5e10, 4.8e10),
    overhead_seconds=5.0,
    step_seconds=0.008,
    source="default: MoE E=8 top-2, 2 layers, one core shared with other work, 2026-11",
)
CUDA = Throughput(
    widths=(64, 128, 256, 512, 1024),
    flops_per_second=(4e12, 1e13, 3e13, 8e13, 2e14),
    overhead_seconds=15.0,
    step_seconds=0.010,
    source=GUESS,
)


def default_throughput(device: str) -> Throughput:
    """The shipped table for a device; that of the CPU for "auto"."""
    return CUDA if device == "cuda" else CPU
