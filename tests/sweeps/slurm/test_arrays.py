"""Packing and splitting: every run once, slots filled, no array larger than the cluster allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.training.spec import Execution
from sweeps.planned import PlannedRun
from sweeps.slurm.arrays import Assumed, make_arrays, makespan, pack, run_devices, slots, turns
from sweeps.slurm.profile import Profile, Resources

Many = Callable[..., list[PlannedRun]]


def names(jobs: list[tuple[PlannedRun, ...]]) -> list[str]:
    return sorted(run.name for job in jobs for run in job)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    seconds=st.lists(st.floats(0, 500), min_size=1, max_size=40),
    slot_count=st.integers(1, 5),
    limit=st.floats(0, 200),
)
def test_every_run_is_in_one_job_that_is_no_longer_than_asked(
    many: Many, seconds: list[float], slot_count: int, limit: float
) -> None:
    runs = many(*seconds)
    jobs = pack(runs, slot_count, limit)
    assert names(jobs) == sorted(run.name for run in runs)
    for job in jobs:
        alone = len(job) <= slot_count
        longest = max(run.expected_seconds for run in job)
        assert alone or makespan(job, slot_count) <= max(limit, longest) + 1e-6
    assert len(jobs) <= -(-len(runs) // slot_count)  # slots are filled before a job is added


def test_short_runs_share_a_job_and_long_ones_fill_its_slots(many: Many) -> None:
    jobs = pack(many(20, 20, 20, 20, 20, 20, 900, 800), 2, 60)
    assert [sorted(run.expected_seconds for run in job) for job in jobs] == [[800, 900], [20] * 6]


def test_arrays_are_split_at_the_clusters_limit(many: Many, profile: Profile) -> None:
    runs = many(*[120.0] * 10)  # two cores: five jobs of two
    arrays = make_arrays(runs, "ladder", profile, largest=2)
    assert [len(array.tasks) for array in arrays] == [2, 2, 1]
    assert [array.label for array in arrays] == ["ladder-0", "ladder-1", "ladder-2"]
    assert names([task for array in arrays for task in array.tasks]) == sorted(r.name for r in runs)
    (one,) = make_arrays(runs, "ladder", profile, largest=1001)
    assert len(one.tasks) == 5 and one.throttle == 8 and one.seconds == [120.0] * 5


def test_packs_grow_where_the_account_allows_few_jobs(many: Many, profile: Profile) -> None:
    runs = many(*[120.0] * 10)
    for room in (4, 2, 1):
        arrays = make_arrays(runs, "ladder", profile, largest=1001, room=room)
        assert sum(len(array.tasks) for array in arrays) <= room
        assert names([t for a in arrays for t in a.tasks]) == sorted(run.name for run in runs)
    with pytest.raises(ValueError, match=r"may add 0 jobs.*\nwait until some have ended"):
        make_arrays(runs, "ladder", profile, largest=1001, room=0)
    assert make_arrays([], "ladder", profile, largest=1001, room=-1) == []


def test_runs_of_other_threads_are_another_shape(many: Many, profile: Profile) -> None:
    one, other = many(30.0, 30.0)
    assert other.spec is not None
    execution = replace(other.spec.execution, threads=2)
    other = replace(other, spec=replace(other.spec, execution=execution))
    arrays = make_arrays([one, other], "ladder", profile, largest=1001)
    assert sorted(array.slots for array in arrays) == [1, 2]


def test_a_run_that_fits_no_job_is_refused_by_name(many: Many) -> None:
    (run,) = many(1.0)
    assert run.spec is not None
    four = replace(run, spec=replace(run.spec, execution=Execution(threads=4)))
    cuda = replace(
        run, spec=replace(run.spec, execution=Execution(device="cuda", attention="sdpa"))
    )
    with pytest.raises(ValueError, match=r"r00-s0 was planned for 4 threads.* 2 cpus: raise cpus"):
        slots(four, Resources(cpus=2))
    with pytest.raises(ValueError, match=r"r00-s0 was planned for a GPU.*: set gpus"):
        slots(cuda, Resources(cpus=2))
    assert slots(cuda, Resources(cpus=64, gpus=8)) == 8
    assert slots(four, Resources(cpus=9)) == 2
    planned = Assumed(ladder=Execution(device="cuda"), target=Execution(threads=2))
    assert slots(replace(run, spec=None), Resources(gpus=3), planned) == 3
    assert slots(replace(run, spec=None, role="target"), Resources(cpus=4), planned) == 2
    gpu = Execution(device="cuda", attention="sdpa")
    assert run_devices(Execution(threads=4), Resources(cpus=9)) == 4
    assert run_devices(gpu, Resources(gpus=8)) == 1
    assert run_devices(gpu, Resources(nodes=2, gpus=8)) == 16


def test_turns_that_a_time_limit_asks_for() -> None:
    resources = Resources(time="0:10:00")  # less the signal, Slurm's minute and the start: 460 s
    assert [turns(s, resources, 60) for s in (0, 460, 461, 4600)] == [1, 1, 2, 10]
