"""One run over several tasks: its script, its job, its ranks, and where they meet."""

from __future__ import annotations

import functools
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.training.spec import Execution
from sweeps.layout import FAILED_NAME, run_folder
from sweeps.planned import Plan, PlannedRun
from sweeps.pool import Place
from sweeps.slurm import attempts, job
from sweeps.slurm.arrays import make_arrays, run_devices, slots
from sweeps.slurm.cost import allocated_hours, rung_costs
from sweeps.slurm.job import serve
from sweeps.slurm.limits import Limits
from sweeps.slurm.profile import Profile, Resources, load_profile
from sweeps.slurm.ranks import PORTS, Rank, master
from sweeps.slurm.states import look
from sweeps.slurm.submit import draft_jobs, scripts, submit
from sweeps.slurm.turns import Asked
from tests.sweeps.slurm.conftest import ids
from tests.sweeps.slurm.fake import FakeSlurm

FOUR = Resources(nodes=2, tasks_per_node=2, cpus=4, time="0:10:00")
STEP = {
    "SLURM_JOB_ID": "9",
    "SLURM_ARRAY_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "0",
    "SLURM_JOB_NAME": "small-0001-ladder-0-1a2b3c",
    "SLURM_JOB_NODELIST": "gone-[1-2]",
    "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.9",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
WORKER = """
import json, sys
from pathlib import Path
here = Path(__file__).parent
(here / "words").write_text(" ".join(sys.argv[1:]))
for line in sys.stdin:
    home = Path(json.loads(line)["run_folder"])
    if (here / "die").exists():
        sys.exit(9)
    (home / "result.json").write_text((here / "result.json").read_text())
    print(json.dumps({"event": "done", "run_id": home.name, "message": "finished"}), flush=True)
"""


@pytest.fixture
def wide(profile: Profile) -> Profile:
    """Every run over four tasks on two nodes."""
    return replace(profile, ladder=FOUR, target=FOUR)


@pytest.fixture
def place(
    folder: Path,
    resolved: Plan,
    wide: Profile,
    slurm: FakeSlurm,
    tmp_path: Path,
    result_of: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A submitted ladder, from inside the first job of it, with a worker that pretends."""
    pytest.importorskip("submitit")
    from model.records import canonical

    draft = draft_jobs(resolved, look(folder, ids(resolved)), wide, Limits(), needs=())
    added = submit(draft, folder, folder / "plan.json", wide, data_folder=folder, chain="stages")
    assert added is not None
    (tmp_path / "worker.py").write_text(textwrap.dedent(WORKER))
    first = next(run for run in resolved.runs if run.run_id == added[1].job("ladder-0").tasks[0][0])
    (tmp_path / "result.json").write_text(canonical(result_of(first)))
    command = (sys.executable, str(tmp_path / "worker.py"))
    monkeypatch.setattr(job, "Place", functools.partial(Place, command=command))
    slurm.answer("scontrol", "gone-1\ngone-2\n")
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    return added[0]


def first_run(place: Path) -> Path:
    run_id = job.load_submission(place).job("ladder-0").tasks[0][0]
    return run_folder(place.parents[1], run_id)


def test_such_a_run_has_its_job_to_itself(
    many: Callable[..., list[PlannedRun]], wide: Profile
) -> None:
    runs = many(10.0, 20.0, 30.0)
    (array,) = make_arrays(runs, "ladder", wide, largest=1001)
    assert [len(task) for task in array.tasks] == [1, 1, 1] and array.slots == 1
    assert sorted(array.seconds) == [2.5, 5.0, 7.5]  # shared by four
    with pytest.raises(ValueError, match=r"may add 2 jobs to the queue, and at least 3 are"):
        make_arrays(runs, "ladder", wide, largest=1001, room=2)


def test_what_a_task_has_not_got_is_named(many: Callable[..., list[PlannedRun]]) -> None:
    (run,) = many(1.0)
    assert run.spec is not None
    three = replace(run, spec=replace(run.spec, execution=Execution(threads=3)))
    with pytest.raises(ValueError, match=r"planned for 3 threads.* its tasks 2 cpus"):
        slots(three, FOUR)
    with pytest.raises(ValueError, match=r"r00-s0 has batches of 3 sequences.* 4 tasks: lower"):
        slots(replace(run, batch=3), FOUR)
    gpu = Execution(device="cuda", attention="sdpa")
    assert run_devices(gpu, Resources(nodes=2, tasks_per_node=8, cpus=64, gpus=8)) == 16
    for wrong in ({"cpus": 2, "tasks_per_node": 3}, {"cpus": 9, "gpus": 2, "tasks_per_node": 3}):
        with pytest.raises(ValueError, match=r"tasks_per_node must lie in \[1, 2\], got 3"):
            Resources(**wrong)


def test_the_dry_run_shows_tasks_and_what_ends_them_together(
    folder: Path, resolved: Plan, profile: Profile, slurm: FakeSlurm
) -> None:
    pytest.importorskip("submitit")
    mixed = replace(profile, target=load_profile("multi-node").target)
    assert mixed.target is not None and mixed.target.tasks == 16
    runs = (*resolved.ladder, replace(resolved.target, batch=16))
    planned = replace(resolved, runs=runs)
    draft = draft_jobs(planned, look(folder, ids(planned)), mixed, Limits(), needs=())
    told = scripts(draft, folder / "slurm/0001", "small", mixed, "stages")
    lines = told["target-0"].splitlines()
    for line in ("--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=8"):
        assert f"#SBATCH {line}" in lines
    assert "--cpus-per-task=8 --kill-on-bad-exit=0 --wait=900" in told["target-0"].replace("'", "")
    assert "kill-on-bad-exit" not in told["ladder-0"]
    target = next(step for step in draft.steps if step.kind == "target")
    hours = rung_costs(draft, mixed).set_index("role").loc["target", "hours"]
    assert allocated_hours(target)[1] == pytest.approx(hours)
    assert hours == pytest.approx(resolved.target.expected_seconds / 3600)


def test_ranks_meet_at_the_first_node_by_name_or_else_by_the_address_of_srun(
    slurm: FakeSlurm,
) -> None:
    slurm.answer("scontrol", "gone-1.invalid\ngone-2.invalid\n")
    found = {master({**STEP, "SLURM_PROCID": rank}) for rank in "0123"}
    host, port = found.pop().split(":")
    assert not found and host == "127.0.0.9" and int(port) in PORTS
    assert slurm.calls("scontrol")[0] == ["show", "hostnames", "gone-[1-2]"]
    slurm.answer("scontrol", "localhost\n")
    assert master(STEP).startswith("localhost:")
    others = [{"SLURM_JOB_ID": "10"}, {"SLURM_JOB_NAME": "x"}, {"SLURM_RESTART_COUNT": "1"}]
    assert len({master(STEP | other) for other in ({}, *others)}) == 4


def test_the_first_rank_serves_the_job_and_tells_its_worker_who_it_is(
    place: Path, tmp_path: Path
) -> None:
    assert serve(place, "ladder-0") == 0
    words = (tmp_path / "words").read_text().split()
    assert words[:5] == ["--rank", "0", "--size", "4", "--master"]
    (one,) = attempts.read(first_run(place))
    assert (one.devices, one.how) == (8, "done")


def test_another_rank_becomes_a_worker_unless_all_is_done(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[Any] = []
    monkeypatch.setattr(job, "become_worker", lambda *words, **more: became.append((words, more)))
    for name, value in (("PROCID", "3"), ("LOCALID", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    serve(place, "ladder-0")
    ((words,), more) = became[0]
    assert words[:4] == ("--rank", "3", "--size", "4")
    assert more["threads"] == 1 and more["more"] == ("CUDA_VISIBLE_DEVICES=5",)
    assert more["log"] == place / "workers" / "ladder-0-0" / "rank-3.log"
    assert attempts.read(first_run(place)) == []  # the first rank's to write
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert serve(place, "ladder-0") == 0
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert serve(place, "ladder-0") == 0 and len(became) == 1


def test_a_death_ends_the_job_which_comes_back_until_the_run_stalls(
    place: Path, tmp_path: Path, slurm: FakeSlurm, wide: Profile
) -> None:
    (tmp_path / "die").touch()
    slurm.forget_calls()
    home = first_run(place)
    for starts in range(1, wide.stalls + 1):
        with pytest.raises(Asked) as asked:
            serve(place, "ladder-0")
        assert asked.value.requeue
        assert [one.how for one in attempts.read(home)] == ["left"] * starts
        assert not (home / FAILED_NAME).exists()
    assert serve(place, "ladder-0") == 1
    assert "3 starts from step 0 without progress" in (home / FAILED_NAME).read_text()


def test_the_others_wait_longer_for_the_first_than_it_waits_for_a_run_that_is_held() -> None:
    pytest.importorskip("torch")
    from model.training.ranks import JOIN

    assert JOIN.total_seconds() > job.HELD_SECONDS + 60  # a minute to start its worker


def test_a_job_of_other_tasks_than_were_asked_for_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(ValueError, match="ladder-0 has 2 tasks, not 4"):
        serve(place, "ladder-0")
    assert Rank.read({}) == Rank() and Rank().words({}) == ()
