"""Speed of training steps on random tokens: forward, backward, clipping, AdamW; no data, no disk.

The same step as in a run (`model.training.step`). Rates are of the fastest step, as the peak they
are compared with is that of the fastest product; the median stands beside it.
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from model.architecture.accounting import flops_per_sequence, n_active, n_total
from model.architecture.shape import Parametrisation, RouterSpec, Shape
from model.data.dataset import Batch
from model.training.device import peak_memory_bytes, reset_peak_memory, thread_count
from model.training.inputs import to_inputs
from model.training.spec import Execution, OptimiserSpec, RunSpec, ScheduleSpec
from model.training.state import begin
from model.training.step import train_step

STEPS_A_READING = {"cpu": 1, "cuda": 10}  # a CUDA queue should not run dry between two readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model to be timed, and the sequences of one step."""

    name: str
    shape: Shape  # with experts; its dense twin has equal active FLOPs
    sequences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Steps of one shape, timed."""

    n_active: int
    n_total: int
    tokens: int  # a step
    flops: float  # a step
    fastest: float  # seconds
    median: float
    readings: int
    peak_memory_bytes: int

    @property
    def flops_per_second(self) -> float:
        """Of the fastest step."""
        return self.flops / self.fastest

    @property
    def tokens_per_second(self) -> float:
        """Of the fastest step."""
        return self.tokens / self.fastest


def size(
    name: str, sequences: int, *, width: int, layers: int, head_dim: int, vocab: int, context: int
) -> Size:
    """Experts 8, top 2, each 1.5 widths wide; half as many key heads as heads, or one."""
    heads = max(1, width // head_dim)
    shape = Shape(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=max(1, heads // 2),
        head_dim=head_dim,
        experts=8,
        top_k=2,
        expert_hidden=3 * width // 2,
        vocab=vocab,
        context=context,
    )
    return Size(name=name, shape=shape, sequences=sequences)


class Timer:
    """A model in training, whose steps are timed."""

    def __init__(self, shape: Shape, execution: Execution, sequences: int) -> None:
        reset_peak_memory(execution.device)
        self._execution = execution
        spec = _spec(shape, execution, sequences)
        self._state = begin(spec, _random_tokens(shape))
        rng = np.random.default_rng(0)
        tokens = rng.integers(0, shape.vocab, (sequences, shape.context + 1))
        self._batch = Batch(
            tokens=tokens,
            loss_weight=np.ones((sequences, shape.context), dtype=np.float32),
            source=np.zeros(sequences, dtype=np.int64),
            patches=None,
            image_ids=None,
        )
        self._inputs = to_inputs(tokens, self._batch.loss_weight, None, None, execution.device)
        self._times: list[float] = []

    def run(self, seconds: float, at_least: int) -> None:
        """Take readings for so many seconds; the first of a timer is thrown away."""
        with thread_count(self._execution.threads):
            if not self._times:
                self._reading()
            taken, start = 0, time.perf_counter()
            while taken < at_least or time.perf_counter() - start < seconds:
                self._times.append(self._reading())
                taken += 1

    def speed(self) -> Speed:
        """What was read so far. Raises ValueError where training went wrong on the way."""
        if not bool(torch.isfinite(self._state.sums.loss).all()):
            raise ValueError("the loss of the timed steps is not finite")
        shape, sequences = self._state.spec.shape, self._state.spec.batch
        return Speed(
            n_active=n_active(shape),
            n_total=n_total(shape),
            tokens=sequences * shape.context,
            flops=float(sequences * flops_per_sequence(shape)),
            fastest=min(self._times),
            median=statistics.median(self._times),
            readings=len(self._times),
            peak_memory_bytes=peak_memory_bytes(self._execution.device),
        )

    def _reading(self) -> float:
        """Seconds a step."""
        device = self._execution.device
        steps, start = STEPS_A_READING[device], time.perf_counter()
        for _ in range(steps):
            train_step(self._state, self._batch, self._inputs)
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / steps


def measure(
    shape: Shape, execution: Execution, sequences: int, seconds: float, at_least: int = 3
) -> Speed:
    """The speed of one shape on its own; what it held is freed again."""
    timer = Timer(shape, execution, sequences)
    timer.run(seconds, at_least)
    speed = timer.speed()
    del timer
    free(execution.device)
    return speed


def free(device: str) -> None:
    """Hand back what earlier models held."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def _spec(shape: Shape, execution: Execution, sequences: int) -> RunSpec:
    return RunSpec(
        shape=shape,
        parametrisation=Parametrisation(),
        router=RouterSpec(),
        data="random tokens",
        tokenizer="random tokens",
        mixture={"random": 1.0},
        loss_weights={"text": 1.0},
        batch=sequences,
        steps=1_000_000,
        optimiser=OptimiserSpec(learning_rate=1e-3),
        schedule=ScheduleSpec(),
        execution=execution,
        model_source="benchmark",
    )


def _random_tokens(shape: Shape) -> Any:
    """As much of a dataset as the beginning of a run asks for."""
    sources = {"random": SimpleNamespace(kind="text")}
    return SimpleNamespace(
        names=("random",),
        manifest=SimpleNamespace(sources=sources, image_token=0),
        log_unigram=lambda: np.full(shape.vocab, -np.log(shape.vocab), dtype=np.float32),
    )
