"""The three ways windows are stored, read by row number.

Prose and code are one long stream, cut into windows where they are read; tasks are windows of whole
documents; vision windows are the numbers of source digits, drawn when they are read.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.digits import Floats, Integers, Strips, StripWriter, render
from model.data.packing import stream_windows, target_weights


@dataclass(frozen=True, slots=True)
class Rows:
    """Windows ready for a model; the last two are None for sources without images."""

    tokens: Integers  # (n, T + 1)
    loss_weight: Floats  # (n, T), of the targets tokens[:, 1:]
    patches: Floats | None = None  # (n * images, patches, pixels)
    image_ids: Integers | None = None  # (n, T), of the inputs tokens[:, :-1]


class Shard(Protocol):
    """Windows by number."""

    @property
    def count(self) -> int:
        """How many windows there are."""

    def rows(self, numbers: Integers) -> Rows:
        """The windows with these numbers, in their order."""


@dataclass(frozen=True, slots=True)
class StreamShard:
    """Windows of a stream: number i covers tokens i * context … (i + 1) * context."""

    tokens: NDArray[np.uint16]
    context: int

    @property
    def count(self) -> int:
        """How many windows there are."""
        return stream_windows(self.tokens.size, self.context)

    def rows(self, numbers: Integers) -> Rows:
        """The windows with these numbers, in their order."""
        places = numbers[:, None] * self.context + np.arange(self.context + 1)
        tokens = self.tokens[places].astype(np.int64)
        return Rows(tokens, np.ones((len(numbers), self.context), dtype=np.float32))


@dataclass(frozen=True, slots=True)
class WindowShard:
    """Stored windows (n, T + 1); an end token after an end token is padding."""

    windows: NDArray[np.uint16]
    end_token: int

    @property
    def count(self) -> int:
        """How many windows there are."""
        return int(self.windows.shape[0])

    def rows(self, numbers: Integers) -> Rows:
        """The windows with these numbers, in their order."""
        tokens = self.windows[numbers].astype(np.int64)
        return Rows(tokens, target_weights(tokens, self.end_token))


@dataclass(frozen=True, slots=True)
class StripShard:
    """Strips (n, images, 4) of source digits, written and drawn on reading."""

    strips: Strips
    writer: StripWriter
    table: Floats

    @property
    def count(self) -> int:
        """How many windows there are."""
        return int(self.strips.shape[0])

    def rows(self, numbers: Integers) -> Rows:
        """The windows with these numbers, in their order."""
        strips = self.strips[numbers]
        tokens, weights, ids = self.writer.windows(strips)
        return Rows(tokens, weights, render(strips.reshape(-1, strips.shape[-1]), self.table), ids)
