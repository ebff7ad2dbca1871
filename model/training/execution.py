"""Choosing how to run on this machine: measured once, when a sweep is planned, then frozen.

The choice is part of every run's identity, so it must not waver: the plain reference is kept unless
another backend is clearly faster on the shape that matters.
"""

from __future__ import annotations

import math
import time
from typing import Literal, cast

import torch

from model.architecture.attention import (
    AttentionBackend,
    available_attention,
    flash_attn_importable,
)
from model.architecture.decoder import Decoder
from model.architecture.shape import Parametrisation, Shape
from model.training.device import DTYPES, best_device, best_dtype, precision, thread_count
from model.training.loss import row_losses
from model.training.spec import Execution

CLEARLY_FASTER = 0.9  # of the time of the backend it would replace
SEQUENCES = 8  # in the measured step
SECONDS = 0.4  # for each backend, about


def choose_execution(
    threads: int, shape: Shape, *, device: str = "auto", dtype: str = "auto"
) -> Execution:
    """How to train models like `shape` here, with `threads` CPU threads a run.

    A named device or dtype is taken as it is; ValueError for "cuda" where there is none.

    bfloat16 where the hardware multiplies it natively. Attention: on a CPU, plain softmax unless
    torch's kernel is clearly faster; on CUDA, flash-attn where installed, else torch's flash kernel
    unless another is clearly faster. Experts go through grouped products, which won or tied
    everywhere they were measured. Nothing is compiled: a compilation costs a minute and more a
    shape, which no small run repays.
    """
    found = best_device()
    if device == "cuda" and found != "cuda":
        raise ValueError(
            "device = 'cuda', but torch finds no CUDA device here\n"
            "run it on a machine with a GPU, or set device = 'auto'"
        )
    device = found if device == "auto" else device
    dtype = best_dtype(device) if dtype == "auto" else dtype
    base = Execution(
        device=cast(Literal["cpu", "cuda"], device),
        dtype=cast(Literal["float32", "bfloat16"], dtype),
        threads=threads,
    )
    candidates = available_attention(device, DTYPES[base.dtype], shape.head_dim)
    if device == "cuda" and flash_attn_importable() and "flash_attn" in candidates:
        return _with(base, "flash_attn")
    chosen: AttentionBackend = "eager"
    best = math.inf
    with thread_count(threads):
        for backend in candidates:
            try:
                seconds = measure_step(shape, _with(base, backend))
            except RuntimeError:  # a kernel that this shape or device does not have
                continue
            if seconds < CLEARLY_FASTER * best:
                chosen, best = backend, seconds
    return _with(base, chosen)


def measure_step(shape: Shape, execution: Execution, seconds: float = SECONDS) -> float:
    """Seconds of the fastest forward and backward pass over a few text sequences."""
    model = Decoder(
        shape,
        Parametrisation(),
        attention=execution.attention,
        experts=execution.experts,
        image_token=0,
    )
    model.initialise(torch.Generator().manual_seed(0))
    model.to(execution.device)
    tokens_BT = torch.arange(SEQUENCES * shape.context, device=execution.device) % shape.vocab
    tokens_BT = tokens_BT.view(SEQUENCES, shape.context)
    weights_BT = torch.ones(tokens_BT.shape, device=execution.device)
    best, rounds, start = float("inf"), 0, time.perf_counter()
    while rounds < 3 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        with precision(execution):
            output = model(tokens_BT)
        torch.autograd.backward(row_losses(output.logits_BTV, tokens_BT, weights_BT).sum())
        if execution.device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
        rounds += 1
    return best


def _with(base: Execution, attention: AttentionBackend) -> Execution:
    return Execution(
        device=base.device, dtype=base.dtype, threads=base.threads, attention=attention
    )
