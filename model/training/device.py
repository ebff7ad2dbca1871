"""The machine: how to run on it, what it can do at most, and how much memory a run took.

`choose_execution` measures and is called once, when a sweep is planned; its answer is part of the
spec, so a resumed run never chooses again.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from model.architecture.attention import available_attention
from model.training.spec import Execution

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Dense matrix peaks in FLOP/s, from the makers' data sheets; float32 as TF32 is off here.
CITED_PEAKS = {
    ("H200", "bfloat16"): 989e12,
    ("H100", "bfloat16"): 989e12,  # SXM
    ("A100", "bfloat16"): 312e12,
    ("B200", "bfloat16"): 2250e12,
    ("H200", "float32"): 67e12,
    ("H100", "float32"): 67e12,
    ("A100", "float32"): 19.5e12,
}


def best_device() -> str:
    """ "cuda" where a CUDA device is at hand, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def best_dtype(device: str) -> str:
    """bfloat16 where the hardware multiplies it natively, else float32.

    Emulated bfloat16 on a CPU is slower than float32, and dtype changes the loss.
    """
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"


def lacks(execution: Execution, head_dim: int) -> str:
    """What this machine has not got of what the execution asks for; empty where it has all.

    Less would train something else under the same id, or at another's pace.
    """
    device, dtype, attention = execution.device, execution.dtype, execution.attention
    cores = len(os.sched_getaffinity(0))
    if device == "cuda" and not torch.cuda.is_available():
        return "device = 'cuda', and no CUDA device is visible"
    if dtype == "bfloat16" and best_dtype(device) != dtype:
        return f"dtype = 'bfloat16', which {device_name(device)} only emulates"
    if attention not in available_attention(device, DTYPES[dtype], head_dim):
        return f"attention = {attention!r}, which does not run on its {device} in {dtype}"
    if execution.threads > cores:
        return f"threads = {execution.threads}, and {cores} cores are given to this process"
    return ""


def device_name(device: str) -> str:
    """The processor's or accelerator's own name."""
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of what computes."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("numpy", "tokenizers", "safetensors", "flash-attn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def cited_peak(name: str, dtype: str) -> float | None:
    """The data sheet's dense peak for a known device, FLOP/s."""
    for (known, known_dtype), peak in CITED_PEAKS.items():
        if known in name and known_dtype == dtype:
            return peak
    return None


def peak_flops(execution: Execution) -> float:
    """What MFU is measured against: the cited peak of a known device, else a measured one."""
    if execution.device == "cuda":
        cited = cited_peak(device_name("cuda"), execution.dtype)
        if cited is not None:
            return cited
    return measure_peak(execution)


def measure_peak(execution: Execution, seconds: float = 0.3) -> float:
    """FLOP/s of the best square matrix product found within about `seconds`.

    For this dtype and thread count, now: a loaded machine gives less.
    """
    size = 8192 if execution.device == "cuda" else 768
    with thread_count(execution.threads):
        kind = DTYPES[execution.dtype]
        # random: a GPU multiplies constants with less power, hence faster than anything real
        left = torch.rand(size, size, device=execution.device, dtype=kind)
        out = torch.empty_like(left)
        torch.mm(left, left, out=out)  # the first call sets kernels up
        best, start = float("inf"), time.perf_counter()
        while time.perf_counter() - start < seconds:
            before = _now(execution.device)
            torch.mm(left, left, out=out)
            best = min(best, _now(execution.device) - before)
    return float(2 * size**3 / best)


def precision(execution: Execution) -> contextlib.AbstractContextManager[object]:
    """The context in which the model computes: autocast to bfloat16, or plain float32."""
    if execution.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(execution.device, dtype=DTYPES[execution.dtype])


@contextlib.contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Use so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reset_peak_memory(device: str) -> None:
    """Begin a new measurement of the peak; what earlier runs freed is handed back first."""
    if device == "cuda":
        torch.cuda.current_device()  # sets CUDA up: before that there are no statistics to reset
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with contextlib.suppress(OSError):  # Linux: 5 resets the high-water mark of this process
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes(device: str) -> int:
    """Most memory held since the last reset: the accelerator's, or this process's."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def keep_freed_memory() -> None:
    """Tell glibc to hand freed blocks back to us, not to the kernel: 9–17 % faster training.

    Large activations are otherwise mapped and unmapped at every step. Elsewhere a no-op.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: never map a block of its own
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never shrink the heap


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
