"""The three parts of the check on a CUDA device; with device "cpu" the same in small."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.measured import Row, machine
from benchmarks.sweep_times import finished
from benchmarks.training_speed import Size, Speed, free, measure, size
from model.records import read_json
from model.training.device import cited_peak, device_name, measure_peak, versions
from model.training.execution import choose_execution
from model.training.result import RunResult
from model.training.spec import Execution
from sweeps.planned import load_plan
from sweeps.sweep_file import load_sweep
from workbench.errors import Failure
from workbench.output import console, progress
from workbench.pipeline import read_wall, run_sweep

SWEEP_SECONDS = 540.0
SECONDS = 3.0  # for each model
# Only the model room touches a device; the others need not be importable there.
TESTS = {"cuda": "tests/model", "cpu": "tests/model/architecture/test_attention.py"}


class TimeLimit(Exception):
    """The sweep took longer than it may."""


def place_of(device: str, part: str) -> dict[str, Any]:
    """What is measured on; `part` tells apart files that hold a part only."""
    name = device_name(device)
    if part:
        name = f"{name} {part}"
    return machine(name, versions=versions())


def run_tests(root: Path, device: str) -> list[Row]:
    """Failures and passes of the tests marked `gpu`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
        status = subprocess.run(
            [*command, f"--junitxml={report}", TESTS[device]], cwd=root, check=False
        ).returncode
        if not report.is_file():
            reason = f"pytest ended with status {status} and no report"
            return [Row(what="GPU tests that failed", measured=None, detail=reason)]
        suite = ElementTree.parse(report).getroot().find("testsuite")
    counts = {} if suite is None else suite.attrib
    total, failed, errors, skipped = (
        int(counts.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
    )
    passed = total - failed - errors - skipped
    return [
        Row(what="GPU tests that failed", measured=failed + errors, at_most=0),
        Row(
            what="GPU tests that passed",
            measured=passed,
            at_least=1 if device == "cuda" else None,
            detail=f"{skipped} skipped",
        ),
    ]


def sizes(device: str) -> tuple[Size, ...]:
    """About 1M, 10M and 100M active parameters, windows of 1,024; on a CPU one tiny model."""
    if device == "cpu":
        return (size("0.03M", 4, width=32, layers=2, head_dim=16, vocab=256, context=64),)
    return (
        size("1M", 64, width=128, layers=4, head_dim=64, vocab=2048, context=1024),
        size("10M", 64, width=384, layers=5, head_dim=64, vocab=2048, context=1024),
        size("100M", 32, width=1024, layers=8, head_dim=128, vocab=4096, context=1024),
    )


def speed_rows(device: str) -> list[Row]:
    """Utilisation of the dense twin and of the experts at each size, against the cited peak."""
    dtype = "bfloat16" if device == "cuda" else "float32"
    base: dict[str, Any] = {"device": device, "dtype": dtype}
    cited, spot = cited_peak(device_name(device), dtype), measure_peak(Execution(**base))
    against = "nothing is cited for it" if cited is None else f"{cited / 1e12:.4g} cited"
    rows = [
        Row(
            what="matmul peak",
            measured=spot / 1e12,
            unit="TFLOP/s",
            detail=f"{dtype}, measured; {against}",
        )
    ]
    models = sizes(device)
    with progress() as bars:
        task = bars.add_task("training speed", total=len(models))
        for number, model in enumerate(models):
            bars.update(task, completed=number, description=f"training speed, {model.name}")
            rows += _size_rows(model, base, cited, spot)
    return rows


def _size_rows(model: Size, base: dict[str, Any], cited: float | None, spot: float) -> list[Row]:
    rows = []
    twin = model.shape.dense_twin()
    chosen = choose_execution(1, twin, **base)
    for name, shape in (("dense twin", twin), ("experts", model.shape)):
        what = f"MFU, {name}, {model.name}"
        try:
            speed = measure(shape, chosen, model.sequences, SECONDS if cited else 0.1)
            rows.append(_mfu_row(what, speed, chosen, cited or spot, spot))
        except RuntimeError as error:  # of memory, on a device with less of it
            rows.append(Row(what=what, measured=None, detail=str(error).splitlines()[0][:120]))
            free(chosen.device)
    return rows


def _mfu_row(what: str, speed: Speed, chosen: Execution, peak: float, spot: float) -> Row:
    return Row(
        what=what,
        measured=speed.flops_per_second / peak,
        detail=(
            f"{speed.n_active / 1e6:.4g}M of {speed.n_total / 1e6:.4g}M parameters, "
            f"{speed.flops_per_second / 1e12:.4g} TFLOP/s, {speed.flops_per_second / spot:.3f} of "
            f"the measured peak, {speed.tokens_per_second:,.0f} tokens/s, "
            f"{speed.peak_memory_bytes / 1e9:.3g} GB, attention {chosen.attention}"
        ),
    )


def sweep_rows(path: Path, runs: Path, limit: float = SWEEP_SECONDS) -> list[Row]:
    """The sweep taken the whole way within `limit` seconds: its time, its target, its verdict.

    A sweep that an earlier call began goes on; its earlier time counts.
    """
    folder = runs / load_sweep(path).name
    spent = sum(read_wall(folder).values())
    tell = console(stderr=True).print
    what, start = f"{folder.name}: wall time", time.monotonic()
    try:
        with time_limit(max(limit - spent, 1.0)):
            done = run_sweep(path, runs, tell)
    except (TimeLimit, Failure, ValueError, OSError, RuntimeError) as error:
        took = spent + time.monotonic() - start
        reason = str(error).splitlines()[0]
        return [Row(what=what, measured=None, detail=f"after {took:.0f} s: {reason}")]
    took = spent + time.monotonic() - start
    stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in read_wall(folder).items())
    planned = load_plan(folder)
    results = finished(planned, folder)
    target = results[str(planned.target.run_id)]
    for line in (*done.verdict, f"report: {done.files.shown}"):
        tell(line)
    return [
        Row(what=what, measured=took, unit="s", at_most=limit, detail=f"by stage: {stages}"),
        _trained_row(f"{folder.name}: target's MFU", target),
        _loss_row(f"{folder.name}: target's loss", read_json(done.files.json), done.verdict[0]),
    ]


def _trained_row(what: str, target: RunResult) -> Row:
    return Row(
        what=what,
        measured=target.mfu,
        detail=(
            f"{target.flops:.3g} FLOPs in {target.seconds.train:.0f} s of training, "
            f"{target.tokens_per_second:,.0f} tokens/s, {target.peak_memory_bytes / 1e9:.3g} GB"
        ),
    )


def _loss_row(what: str, report: dict[str, Any], verdict: str) -> Row:
    return Row(what=what, measured=report["loss"]["actual"], unit="nats", detail=verdict)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in the main thread after so many seconds; workers save and end first."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeLimit(f"stopped after {seconds:.0f} s; the same command goes on from there")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
