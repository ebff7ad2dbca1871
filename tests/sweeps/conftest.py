"""What the tests of the sweeps room share: a small sweep, a manifest and finished run folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model.records import to_json
from model.training.result import (
    NgramLosses,
    PartLoss,
    RunResult,
    RunStatus,
    StageSeconds,
    save_result,
)
from model.training.spec import Execution
from sweeps.layout import SPEC_NAME, run_folder
from sweeps.plan import plan
from sweeps.planned import Plan, PlannedRun, save_plan
from sweeps.sweep_file import Sweep, load_sweep

SWEEP = """
[target]
flops = 3e12
[ladder]
budgets = [5e10, 1e11]
seeds = [2, 1]
ratios = [30]
[family]
head_dim = 8
attention_ratio = 2
kv_group = 2
width_step = 8
conv = true
[family.vision]
[data]
vocab = 512
context = 64
[[data.sources]]
name = "prose"
kind = "text"
origin = "botocore"
weight = 0.6
[[data.sources]]
name = "digits"
kind = "vision"
origin = "digits"
weight = 0.4
[loss]
text = 0.5
vision = 0.5
"""


@dataclass
class Source:
    """A source of a built data set, as far as a plan reads it."""

    windows_train: int = 100_000
    images_per_window: float = 7.0


@dataclass
class Manifest:
    """A built data set, as far as a plan reads it."""

    sources: dict[str, Source]
    hash: str = "d" * 16
    tokenizer: str = "t" * 16


@pytest.fixture
def manifest_of() -> Callable[..., Manifest]:
    """Make a manifest with so many training windows of prose."""

    def make(prose_windows: int = 100_000) -> Manifest:
        return Manifest(sources={"prose": Source(prose_windows, 0.0), "digits": Source()})

    return make


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., Path]:
    """Write the small sweep, with texts replaced, and return its path."""

    def write(*replacements: tuple[str, str]) -> Path:
        text = SWEEP
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "small.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def sweep(write_sweep: Callable[..., Path]) -> Sweep:
    return load_sweep(write_sweep())


@pytest.fixture
def resolved(sweep: Sweep, manifest_of: Callable[..., Manifest]) -> Plan:
    """A plan with specs and ids."""
    return plan(sweep, manifest_of(), Execution())


@pytest.fixture
def folder(tmp_path: Path, resolved: Plan) -> Path:
    """A sweep's folder with the plan in it."""
    home = tmp_path / "runs" / resolved.sweep
    home.mkdir(parents=True)
    save_plan(resolved, home)
    return home


def _result_of(run: PlannedRun, **changes: Any) -> RunResult:
    """A plausible result of a planned run."""
    assert run.run_id is not None
    fields: dict[str, Any] = {
        "run_id": run.run_id,
        "status": RunStatus.FINISHED,
        "loss": 3.5,
        "loss_se": 0.01,
        "losses": {
            "text": PartLoss(mean=4.0, se=0.01),
            "vision": PartLoss(mean=3.0, se=0.02),
        },
        "bits_per_byte": {"text": 2.0},
        "ngrams": {"text": NgramLosses(bigram=4.5, trigram=4.1)},
        "tokens": run.tokens,
        "sequences": run.batch * run.steps,
        "images": run.images,
        "flops": run.flops,
        "flops_6nd": run.flops * 0.9,
        "epochs": {"prose": 0.5, "digits": 0.25},
        "steps": run.steps,
        "seconds": StageSeconds(start=1.0, train=10.0, evaluate=2.0, save=0.5),
        "tokens_per_second": 1e4,
        "flops_per_second": 2e10,
        "mfu": None,
        "peak_flops_per_second": None,
        "peak_memory_bytes": 10**8,
        "router_entropy": 0.97,
        "dead_experts": 0,
        "device": "test",
        "versions": {"torch": "2.13.0"},
        "restarts": 0,
        "annealed": True,
    }
    return RunResult(**(fields | changes))


def _finish(folder: Path, run: PlannedRun, **changes: Any) -> Path:
    """Make the run's folder that of an ended run."""
    assert run.run_id is not None and run.spec is not None
    home = run_folder(folder, run.run_id)
    home.mkdir(parents=True, exist_ok=True)
    (home / SPEC_NAME).write_text(json.dumps(to_json(run.spec)))
    save_result(home, _result_of(run, **changes))
    lines = [
        {"kind": "start", "time": "2026-01-01T00:00:00Z", "run_id": run.run_id},
        {"kind": "train", "step": 10, "tokens": 640, "flops": 1e6, "loss": 5.0, "loss_text": 5.5},
        {"kind": "heldout", "step": 10, "tokens": 640, "flops": 1e6, "loss": 5.2},
        {"kind": "train", "step": 20, "tokens": 1280, "flops": 2e6, "loss": None},
    ]
    (home / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (home / "samples.csv").write_text(
        "problem,bucket,kind,n_samples,n_passed,gold_nll\n"
        "p1,d2-mid,program,4,1,3.5\n"
        "s1,strip,strip,1,0,\n"
    )
    return home


@pytest.fixture
def result_of() -> Callable[..., RunResult]:
    """Make a plausible result of a planned run."""
    return _result_of


@pytest.fixture
def finish() -> Callable[..., Path]:
    """Make a run's folder that of an ended run."""
    return _finish
