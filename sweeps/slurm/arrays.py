"""Runs → jobs: several small runs to a job, jobs of one resource shape to an array.

A job has slots: as many runs at once as its cores or GPUs hold. Its slots are filled with the
longest runs first, one after the other until the asked minutes of work are there.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from model.training.spec import Execution
from sweeps.cost import longest_first
from sweeps.planned import PlannedRun
from sweeps.slurm.profile import Profile, Resources

JobKind = Literal["ladder", "target", "seal", "report"]
EARLY_SECONDS = 60  # that Slurm may signal before the moment that was asked for
START_SECONDS = 20  # of a turn before its first step: imports, ranks that meet, the checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """Jobs of one shape, submitted by one sbatch; `tasks` are the runs of each, by index."""

    label: str  # within the submission, such as "ladder-1"
    kind: JobKind
    resources: Resources
    slots: int  # runs at once in a job
    throttle: int
    tasks: tuple[tuple[PlannedRun, ...], ...]

    @property
    def seconds(self) -> list[float]:
        """Expected wall time of each job; of several tasks, as if they shared a run evenly."""
        return [makespan(task, self.slots) / self.resources.tasks for task in self.tasks]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """How runs will compute, as far as it is known while they have no spec."""

    ladder: Execution = field(default_factory=Execution)
    target: Execution = field(default_factory=Execution)


def execution_of(run: PlannedRun, assumed: Assumed | None = None) -> Execution:
    """How the run computes; as `assumed` while it has no spec yet."""
    if run.spec:
        return run.spec.execution
    assumed = assumed or Assumed()
    return assumed.target if run.role == "target" else assumed.ladder


def slots(run: PlannedRun, resources: Resources, assumed: Assumed | None = None) -> int:
    """Runs like this one that fit into such a job at once.

    Raises ValueError, naming what is missing, where not even one fits.
    """
    execution = execution_of(run, assumed)
    if run.batch < resources.tasks:
        raise ValueError(
            f"run {run.name} has batches of {run.batch} sequences, too few for the profile's "
            f"{resources.tasks} tasks: lower nodes or tasks_per_node"
        )
    if execution.device == "cuda":
        if not resources.gpus:
            raise ValueError(
                f"run {run.name} was planned for a GPU, and the profile gives its jobs none: "
                "set gpus"
            )
        return 1 if resources.tasks > 1 else resources.gpus
    if resources.cpus_per_task < execution.threads:
        raise ValueError(
            f"run {run.name} was planned for {execution.threads} threads, and the profile gives "
            f"its tasks {resources.cpus_per_task} cpus: raise cpus"
        )
    return 1 if resources.tasks > 1 else resources.cpus // execution.threads


def make_arrays(
    runs: Sequence[PlannedRun],
    kind: JobKind,
    profile: Profile,
    *,
    largest: int,
    room: int | None = None,
    assumed: Assumed | None = None,
) -> list[Array]:
    """The arrays that train these runs, of at most `largest` jobs each and `room` jobs in all.

    Where `room` is too small for packs of `pack_minutes`, the packs grow: then some runs wait for
    the turn of others. A run over several tasks has its job to itself. Raises ValueError where a
    run fits into no job, or there is no room.
    """
    resources = profile.resources("target" if kind == "target" else "ladder")
    shapes: dict[int, list[PlannedRun]] = {}
    for run in runs:
        shapes.setdefault(slots(run, resources, assumed), []).append(run)
    alone = resources.tasks > 1
    room = len(runs) if room is None else max(room, 0)
    least = len(runs) if alone else len(shapes)
    if room < least:
        raise ValueError(
            f"the account may add {room} jobs to the queue, and at least {least} "
            "are needed\nwait until some have ended; the same command again adds the rest"
        )
    seconds = 0.0 if alone else profile.pack_minutes * 60
    packed = {many: pack(group, many, seconds) for many, group in shapes.items()}
    while sum(map(len, packed.values())) > room:
        seconds = max(2 * seconds, 60.0)
        packed = {many: pack(group, many, seconds) for many, group in shapes.items()}
    return [
        Array(
            label=f"{kind}-{number}",
            kind=kind,
            resources=resources,
            slots=many,
            throttle=profile.throttle,
            tasks=tasks,
        )
        for number, (many, tasks) in enumerate(_split(packed, largest))
    ]


def _split(
    packed: dict[int, list[tuple[PlannedRun, ...]]], largest: int
) -> list[tuple[int, tuple[tuple[PlannedRun, ...], ...]]]:
    """(slots, tasks) of each array: no more tasks in one than the cluster's MaxArraySize allows."""
    if largest < 1:
        raise ValueError(f"this cluster allows no job arrays (MaxArraySize {largest})")
    return [
        (many, tuple(tasks[start : start + largest]))
        for many, tasks in packed.items()
        for start in range(0, len(tasks), largest)
    ]


def pack(runs: Sequence[PlannedRun], many: int, seconds: float) -> list[tuple[PlannedRun, ...]]:
    """Runs in jobs of `many` slots, each job with about `seconds` of work, or its slots filled.

    First fit of the longest first: neighbours in length share a job, so that few slots idle.
    """
    jobs: list[list[PlannedRun]] = []
    loads: list[list[float]] = []  # a heap of its slots' loads for each job
    first_open = 0
    for run in longest_first(runs):
        for place in range(first_open, len(jobs)):
            least = loads[place][0]
            if least == 0 or least + run.expected_seconds <= seconds:
                break
        else:
            place = len(jobs)
            jobs.append([])
            loads.append([0.0] * many)
        jobs[place].append(run)
        heapq.heapreplace(loads[place], loads[place][0] + max(run.expected_seconds, 1e-9))
        while first_open < len(jobs) and loads[first_open][0] >= seconds and loads[first_open][0]:
            first_open += 1
    return [tuple(job) for job in jobs]


def makespan(runs: Sequence[PlannedRun], many: int) -> float:
    """Expected wall seconds of runs on so many slots, the longest first."""
    busy = [0.0] * many
    for run in longest_first(runs):
        heapq.heapreplace(busy, busy[0] + run.expected_seconds)
    return max(busy)


def run_devices(execution: Execution, resources: Resources) -> int:
    """GPUs, or else cores, that a run has to itself in such a job."""
    if resources.tasks > 1:
        return resources.nodes * (resources.gpus or resources.cpus)
    return 1 if execution.device == "cuda" else execution.threads


def turns(seconds: float, resources: Resources, signal_seconds: int) -> int:
    """Turns that so much work takes under the job's time limit, each signalled at the earliest."""
    each = resources.seconds - signal_seconds - EARLY_SECONDS - START_SECONDS
    return max(1, math.ceil(seconds / max(1, each)))
