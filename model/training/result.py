"""What a run leaves behind: `result.json`, whose validity alone means that the run is done.

Needs no torch. A measurement that was not made is None, or has no key; never a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from model.records import canonical, from_json, read_json, to_json, write_atomic

RESULT_NAME = "result.json"


class RunStatus(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLoss:
    """Held-out loss of one part, nats per token."""

    mean: float
    se: float  # standard error, clustered by document


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramLosses:
    """Held-out losses of count models trained on the tokens that the run saw, nats per token."""

    bigram: float
    trigram: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeconds:
    """Wall time of a run by stage, summed over its restarts."""

    start: float  # data opened, model built, checkpoint read
    train: float
    evaluate: float
    save: float  # checkpoints and the lines of the metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run, as the process that trained it wrote it."""

    schema: int = 1
    run_id: str
    status: RunStatus
    loss: float | None  # nats per token, weighted mean over the parts; None unless finished
    loss_se: float | None
    losses: dict[str, PartLoss]  # by part
    bits_per_byte: dict[str, float]  # by part
    ngrams: dict[str, NgramLosses]  # by part
    tokens: int  # positions through the decoder, image positions included
    sequences: int
    images: int
    flops: float  # training matmul FLOPs, counted from the shape
    flops_6nd: float
    epochs: dict[str, float]  # by source
    steps: int
    seconds: StageSeconds
    tokens_per_second: float
    flops_per_second: float
    mfu: float | None
    peak_flops_per_second: float | None
    peak_memory_bytes: int
    router_entropy: float | None  # share of log(experts), mean over layers, last steps
    dead_experts: int | None  # experts without a token over the last steps
    device: str
    versions: dict[str, str]
    restarts: int
    world_size: int = 1  # most processes that trained it at once
    annealed: bool  # the learning rate came all the way down
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if (self.loss is None) == (self.status is RunStatus.FINISHED):
            raise ValueError(f"run {self.run_id}: status {self.status} with loss {self.loss}")


def load_result(folder: Path) -> RunResult | None:
    """The result in a run folder, or None where the run has not ended.

    Raises ValueError naming the file, and what to do, where it cannot be read.
    """
    path = folder / RESULT_NAME
    try:
        return from_json(RunResult, read_json(path), str(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(
            f"{error}. Delete {path}: the run then goes on from its last checkpoint"
        ) from error


def save_result(folder: Path, result: RunResult) -> None:
    """Write the result whole or not at all."""
    write_atomic(folder / RESULT_NAME, canonical(to_json(result)) + "\n")
