"""What a job costs beside training: from its allocation to the first step; packed, and one each."""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measured import Row
from benchmarks.slurm_trial import Trial
from model.training.result import RESULT_NAME, load_result
from sweeps.layout import METRICS_NAME, run_folder
from sweeps.planned import load_outlines
from sweeps.slurm import attempts
from sweeps.worker_process import WORKER_COMMAND, WORKER_FOLDER

SLOTS = 2  # cores of the node, and runs at once
ALONE = "budgets = [1e9]\nseeds = [4]"  # 4 runs, one after the other
FEW = "budgets = [1e9, 2e9, 4e9]\nseeds = [4]"  # 12 runs
TARGET = 1.2e11
BARE = 4  # times that the bare imports are measured
POLL_SECONDS = 0.01
PATIENCE = 180.0
ALLOCATED = re.compile(
    r"^\[(?P<time>\S+)\] sched(?:/backfill)?: "
    r"(?:Allocate |_start_job: Started )JobId=(?P<job>[\d_]+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """A ladder that jobs of the cluster have trained; times in seconds since 1970."""

    homes: tuple[Path, ...]
    allocated: dict[Path, float]  # of the job that trained the run
    first_step: dict[Path, float]
    done: dict[Path, float]

    @property
    def wall(self) -> float:
        """Seconds from the first allocation to the last result."""
        return max(self.done.values()) - min(self.allocated.values())

    @property
    def trained(self) -> float:
        """Seconds that the runs themselves took, all of them together."""
        results = [load_result(home) for home in self.homes]
        return sum(
            result.seconds.start + result.seconds.train + result.seconds.evaluate
            for result in results
            if result is not None
        )


def job_rows(trial: Trial) -> tuple[list[Row], list[Path]]:
    """The rows, and the folders of finished runs."""
    bare = [_bare(trial) for _ in range(BARE // 2)]
    alone = _train(trial, "alone", ALONE, trial.profile(partition="main", throttle=1))
    bare += [_bare(trial) for _ in range(BARE // 2)]
    packed = _train(trial, "packed", FEW, trial.profile(partition="main", cpus=SLOTS, minutes=30))
    each = _train(trial, "each", FEW, trial.profile(partition="main"))
    rows = [*overhead_rows(alone, statistics.median(bare)), _packing_row(packed, each)]
    return rows, list(packed.homes)


def overhead_rows(alone: Ladder, bare: float) -> list[Row]:
    """From allocated to the first step, in seconds and over the bare imports."""
    waits = [alone.first_step[home] - alone.allocated[home] for home in alone.homes]
    begun = [attempts.read(home)[0].begun - alone.allocated[home] for home in alone.homes]
    return [
        Row(
            what="a job: allocated to first step",
            measured=statistics.median(waits),
            unit="s",
            detail=(
                f"median of {len(waits)} jobs, one at a time, {min(waits):.2f} to "
                f"{max(waits):.2f} s; until the worker is started {statistics.median(begun):.2f} s"
            ),
        ),
        Row(
            what="the same / bare imports of a worker",
            measured=statistics.median(waits) / bare,
            detail=f"over {bare:.2f} s until a worker outside of Slurm has imported all it needs",
        ),
    ]


def _packing_row(packed: Ladder, each: Ladder) -> Row:
    runs = len(each.homes)
    return Row(
        what=f"{runs} tiny runs: packed / one job each",
        measured=packed.wall / each.wall,
        detail=(
            f"{packed.wall:.1f} and {each.wall:.1f} s of wall time from the first allocation to "
            f"the last result, {SLOTS} at once; the runs themselves "
            f"{packed.trained / runs:.1f} and {each.trained / runs:.1f} s each"
        ),
    )


def allocations(log: str) -> dict[str, float]:
    """When each job was allocated, seconds since 1970 by job id, of a controller's log."""
    return {
        found["job"]: datetime.fromisoformat(found["time"]).astimezone(UTC).timestamp()
        for found in ALLOCATED.finditer(log)
    }


def _bare(trial: Trial) -> float:
    """Seconds until a worker has imported everything and says that it is ready."""
    begun = time.perf_counter()
    with subprocess.Popen(
        WORKER_COMMAND,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=WORKER_FOLDER,
        env=trial.lab.environment,
    ) as worker:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        seconds = time.perf_counter() - begun
    if b'"ready"' not in line:
        raise RuntimeError(f"a worker said {line!r} and not that it is ready")
    return seconds


def _train(trial: Trial, name: str, ladder: str, profile: Path) -> Ladder:
    """Submit, watch the ladder to its end, and cancel what follows it."""
    trial.lab.empty()
    trial.submit(trial.sweep(name, ladder, TARGET), profile)
    folder = trial.runs / name
    runs = [run for run in load_outlines(folder) if run.role != "target"]
    homes = tuple(run_folder(folder, str(run.run_id)) for run in runs)
    first, done = watch(homes)
    trial.lab.empty()
    known = allocations((trial.lab.place / "log" / "slurmctld.log").read_text(errors="replace"))
    allocated = {home: known[attempts.read(home)[0].job] for home in homes}
    return Ladder(homes=homes, allocated=allocated, first_step=first, done=done)


def watch(homes: Sequence[Path]) -> tuple[dict[Path, float], dict[Path, float]]:
    """When each run began its first step, and when it had its result.

    Metrics get their first line just before the first step. RuntimeError where it takes too long.
    """
    first: dict[Path, float] = {}
    done: dict[Path, float] = {}
    limit = time.monotonic() + PATIENCE
    while len(done) < len(homes):
        if time.monotonic() > limit:
            raise RuntimeError(f"{len(homes) - len(done)} runs not done in {PATIENCE:.0f} s")
        _note(first, homes, METRICS_NAME)
        _note(done, homes, RESULT_NAME)
        time.sleep(POLL_SECONDS)
    return first, done


def _note(seen: dict[Path, float], homes: Iterable[Path], name: str) -> None:
    for home in homes:
        if home not in seen and (home / name).exists():
            seen[home] = time.time()
