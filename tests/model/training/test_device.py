"""The machine is described as it is, and the choice of execution is valid for it."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from model.architecture.shape import Shape  # noqa: E402
from model.training.device import (  # noqa: E402
    best_dtype,
    cited_peak,
    lacks,
    measure_peak,
    peak_memory_bytes,
    reset_peak_memory,
    thread_count,
    versions,
)
from model.training.execution import choose_execution  # noqa: E402
from model.training.spec import Execution  # noqa: E402

TINY = Shape(
    layers=1,
    width=16,
    heads=2,
    kv_heads=1,
    head_dim=8,
    experts=2,
    top_k=1,
    expert_hidden=16,
    vocab=64,
    context=16,
)


def test_the_choice_runs_here() -> None:
    execution = choose_execution(1, TINY)
    assert execution.threads == 1 and not execution.compile
    if not torch.cuda.is_available():
        assert execution.device == "cpu" and execution.dtype == best_dtype("cpu")


def test_measured_peak_is_a_plausible_rate() -> None:
    peak = measure_peak(Execution(), seconds=0.05)
    assert 1e9 < peak < 1e13  # one core multiplies at 1e10 to 5e11


def test_cited_peaks() -> None:
    assert cited_peak("NVIDIA H200", "bfloat16") == 989e12
    assert cited_peak("AMD EPYC", "bfloat16") is None


def test_thread_count_is_put_back() -> None:
    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_peak_memory_forgets_after_a_reset() -> None:
    big = torch.ones(50_000_000)
    high = peak_memory_bytes("cpu")
    del big
    reset_peak_memory("cpu")
    assert 10_000_000 < peak_memory_bytes("cpu") < high - 100_000_000


def test_versions_name_what_computes() -> None:
    assert versions()["torch"] == torch.__version__


def test_a_cpu_that_only_emulates_bfloat16_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    half = Execution(dtype="bfloat16")
    for native in (False, True):
        for instructions in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, instructions, lambda native=native: native)
        assert ("only emulates" in lacks(half, 8)) == (not native)


def test_a_machine_names_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Execution()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert lacks(plain, 8) == "" and lacks(replace(plain, threads=2), 8) == ""
    assert (
        lacks(replace(plain, threads=3), 8) == "threads = 3, and 2 cores are given to this process"
    )
    if not torch.cuda.is_available():
        for attention in ("flash_attn", "sdpa"):
            cuda = replace(plain, device="cuda", attention=attention)
            assert "no CUDA device is visible" in lacks(cuda, 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: False)
    gpu = replace(plain, device="cuda", attention="sdpa")
    assert lacks(gpu, 8) == ""
    assert "'bfloat16', which Old GPU only emulates" in lacks(replace(gpu, dtype="bfloat16"), 8)
    assert "attention = 'flash_attn'" in lacks(replace(gpu, attention="flash_attn"), 8)
