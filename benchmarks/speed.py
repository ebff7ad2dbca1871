"""`make bench`: the speed of training, of a run's other stages, and of the report, as ratios.

Everything is measured in one run on the machine at hand, so that its load and its clock cancel
out. What needs a finished demo (`make demo`) is said to be missing where there is none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]

if TYPE_CHECKING:
    from benchmarks.measured import Row
    from benchmarks.training_speed import Size, Speed
    from model.training.spec import Execution

# Least share of the matmul peak by size, for bfloat16; float32 must reach it the more.
MFU = {"0.13M": 0.10, "1.2M": 0.17, "11M": 0.25}
MOE_OVER_DENSE = 0.45  # tokens per second at equal active FLOPs
ROUNDS = 3  # in which peak, experts and dense twin take turns


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the results file; 0 also where a bound was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of all sweeps")
    parser.add_argument("--sweep", default="demo", help="finished sweep under it to look at")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model and round")
    wanted = parser.parse_args(arguments)
    if str(ROOT) not in sys.path:  # where the project is not installed
        sys.path.insert(0, str(ROOT))
    from benchmarks.measured import machine, save, show
    from benchmarks.sweep_times import sweep_rows
    from model.training.device import best_dtype, device_name, keep_freed_memory, versions
    from model.training.spec import Execution
    from workbench.output import progress

    keep_freed_memory()  # as every worker does
    dtype: Any = best_dtype("cpu")
    execution = Execution(dtype=dtype)
    rows: list[Row] = []
    models = sizes()
    with progress() as bars:
        task = bars.add_task("training speed", total=len(models) + 1)
        for number, model in enumerate(models):
            bars.update(task, completed=number, description=f"training speed, {model.name}")
            rows += training_rows(model, execution, wanted.seconds)
        bars.update(task, completed=len(models), description=f"the sweep {wanted.sweep}")
        rows += sweep_rows(wanted.runs, wanted.sweep)
    place = machine(device_name("cpu"), dtype=dtype, threads=1, versions=versions())
    held = "" if dtype == "bfloat16" else " (the bounds on MFU were set for bfloat16)"
    show(f"speed of one core of {place['device']} in {dtype}{held}", rows)
    path = save(wanted.results, "speed", place, rows)
    print(f"written to {path}")
    return 0


def sizes() -> tuple[Size, ...]:
    """About 0.13M, 1.2M and 11M active parameters, windows of 256."""
    from benchmarks.training_speed import size

    return (
        size("0.13M", 16, width=64, layers=2, head_dim=32, vocab=512, context=256),
        size("1.2M", 16, width=128, layers=5, head_dim=32, vocab=1536, context=256),
        size("11M", 8, width=384, layers=6, head_dim=64, vocab=1024, context=256),
    )


def training_rows(model: Size, execution: Execution, seconds: float) -> list[Row]:
    """Utilisation, experts against the dense twin, and memory, of one size."""
    from benchmarks.measured import Row
    from benchmarks.training_speed import Timer, free
    from model.training.device import measure_peak

    experts = Timer(model.shape, execution, model.sequences)
    experts.run(0.0, 1)
    memory = experts.speed().peak_memory_bytes  # before the twin is there
    dense = Timer(model.shape.dense_twin(), execution, model.sequences)
    peak = 0.0
    for _ in range(ROUNDS):
        peak = max(peak, measure_peak(execution))
        experts.run(seconds, 1)
        dense.run(seconds, 1)
    sparse, twin = experts.speed(), dense.speed()
    del experts, dense
    free(execution.device)
    ratio = sparse.tokens_per_second / twin.tokens_per_second
    return [
        _mfu_row(f"MFU, experts, {model.name}", sparse, peak, MFU.get(model.name)),
        _mfu_row(f"MFU, dense twin, {model.name}", twin, peak, None),
        Row(
            what=f"experts / dense, {model.name}",
            measured=ratio,
            at_least=MOE_OVER_DENSE,
            detail=f"{sparse.tokens_per_second:,.0f} and {twin.tokens_per_second:,.0f} tokens/s",
        ),
        Row(
            what=f"peak memory, {model.name}",
            measured=memory / 1e6,
            unit="MB",
            detail=f"of the process, {sparse.tokens} tokens a step, experts",
        ),
    ]


def _mfu_row(what: str, speed: Speed, peak: float, at_least: float | None) -> Row:
    from benchmarks.measured import Row

    return Row(
        what=what,
        measured=speed.flops_per_second / peak,
        at_least=at_least,
        detail=(
            f"{speed.n_active / 1e6:.2f}M of {speed.n_total / 1e6:.2f}M parameters, "
            f"{speed.flops_per_second / 1e9:.1f} of {peak / 1e9:.1f} GFLOP/s; "
            f"median step {speed.median / speed.fastest:.2f}x the fastest of {speed.readings}"
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
