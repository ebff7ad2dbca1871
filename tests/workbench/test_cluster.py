"""Submitting a sweep: planned once, refused where it must be, and mended within bounds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.layout import run_folder
from sweeps.lock import hold
from sweeps.planned import load_plan
from sweeps.slurm import chain
from sweeps.slurm.attempts import begin
from sweeps.slurm.cancel import is_marked, mark
from sweeps.slurm.profile import Frozen, Profile, Resources
from sweeps.slurm.states import look
from sweeps.slurm.submission import load_submission, save_submission, submissions
from tests.sweeps.slurm.fake import FakeSlurm, fake_slurm
from tests.workbench.tiny import Finished, write_sweep
from workbench import ledger, stages
from workbench.cluster import needs, reopen, submit_again, submit_sweep
from workbench.errors import Failure, InputError
from workbench.report_inputs import slurm_facts

pytest.importorskip("submitit")
pytestmark = pytest.mark.slow

PROFILE = Profile(name="test", ladder=Resources(cpus=2), resubmissions=1, signal_seconds=30)
Queue = Callable[[str], None]


def submit(sweep: Finished, profile: Profile = PROFILE) -> Path | None:
    return submit_sweep(sweep.sweep, sweep.runs, profile, lambda line: None).place


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return fake_slurm(tmp_path, monkeypatch)


@pytest.fixture
def queue(planned: Finished, slurm: FakeSlurm) -> Queue:
    """Answer that every submitted job is in a state."""

    def answer(state: str) -> None:
        lines = []
        for _, record in submissions(planned.folder):
            for job in record.jobs:
                ids = [f"{job.job_id}_{at}" for at in range(len(job.tasks))] or [job.job_id]
                lines += [f"{job.name}|{one}|{state}|None|" for one in ids]
        slurm.answer("squeue", "\n".join(lines) + "\n")

    return answer


def test_the_plan_of_a_submission_has_the_ids_of_the_local_backend(
    finished: Finished,
    planned: Finished,
    slurm: FakeSlurm,
) -> None:
    place = submit(planned)
    assert place is not None
    assert slurm.calls("test-only") == []  # the data set lies ready, sbatch itself tells at once
    expected = [run.run_id for run in load_plan(finished.folder).runs]
    assert [run.run_id for run in load_plan(place).runs] == expected
    _, prepared = reopen(place)
    assert prepared.plan == load_plan(planned.folder) and prepared.manifest.key
    assert needs(prepared) == ("seal", "report")
    assert needs(replace(prepared, folder=finished.folder)) == ()


def test_nothing_is_submitted_blindly_or_beside_an_earlier_plan(
    planned: Finished,
    tmp_path: Path,
    slurm: FakeSlurm,
    queue: Queue,
) -> None:
    assert submit(planned) is not None
    queue("RUNNING")
    changed = write_sweep(tmp_path, ("[target]", "seed = 7\n[target]"))
    before = (planned.folder / "plan.json").read_bytes()
    with pytest.raises(InputError, match=r"5 run\(s\) of an earlier plan are still queued"):
        submit(replace(planned, sweep=changed))
    assert (planned.folder / "plan.json").read_bytes() == before
    slurm.silence("squeue")
    with pytest.raises(Failure, match="cannot tell what is queued"):
        submit(planned)


def test_execution_comes_from_the_profile_where_the_sweep_leaves_it_open(
    planned: Finished,
    tmp_path: Path,
    slurm: FakeSlurm,
) -> None:
    for path in planned.folder.glob("execution*.json"):
        path.unlink()
    gpu = Frozen(device="cuda", dtype="bfloat16", attention="flash")
    profile = replace(PROFILE, execution=gpu, ladder=Resources(cpus=8, gpus=2))
    with pytest.raises(ValueError, match=r"asks for device = 'cpu'.* for 'cuda'\nmake them agree"):
        submit(planned, profile)
    auto = (('device = "cpu"', ""), ('dtype = "float32"', ""), ("target_threads = 1", ""))
    (tmp_path / "auto").mkdir()
    own = replace(planned, sweep=write_sweep(tmp_path / "auto", *auto))
    assert submit(own, profile) is not None
    plan = load_plan(planned.folder)
    ladder, target = (run.spec.execution for run in plan.runs[-2:] if run.spec)
    assert (ladder.device, ladder.dtype, ladder.attention) == ("cuda", "bfloat16", "flash")
    assert (ladder.threads, target.threads) == (1, 8)  # the target has its job's cores


def test_the_cluster_mends_as_often_as_it_may_and_never_what_a_person_cancelled(
    planned: Finished,
    slurm: FakeSlurm,
    queue: Queue,
) -> None:
    first = submit(planned)
    assert first is not None
    queue("NODE_FAIL")
    again = submit_again(first, "2", lambda line: None)
    assert again.place is not None and again.submission is not None
    assert again.submission.generation == 1
    assert [job.label for job in again.submission.jobs] == [
        "ladder-0",
        "seal",
        "target-0",
        "report",
    ]
    queue("NODE_FAIL")
    with pytest.raises(Failure, match=r"5 run\(s\) are missing after 1 resubmissions"):
        submit_again(again.place, "6", lambda line: None)
    run_id = str(load_plan(first).runs[0].run_id)
    mark(run_folder(planned.folder, run_id))
    with pytest.raises(Failure, match=f"{run_id}: cancelled by a person"):
        submit_again(first, "2", lambda line: None)
    assert submit(planned) is not None  # a person may
    assert not is_marked(run_folder(planned.folder, run_id))


def test_mending_leaves_a_throttle_that_a_person_has_changed_since(
    planned: Finished,
    slurm: FakeSlurm,
    queue: Queue,
) -> None:
    first = submit(planned)
    queue("FAILED")
    second = submit(planned, replace(PROFILE, throttle=3, pack_minutes=0))
    assert first is not None and second is not None
    job = load_submission(second).job("ladder-0")
    ended = "|FAILED|None|\n".join(f"{job.name}|{job.job_id}_{at}" for at in range(2))
    slurm.answer("squeue", f"{ended}|PENDING|None|\n")  # one of its jobs is still to come
    slurm.forget_calls()
    assert submit_again(first, "2", lambda line: None).submission is not None
    assert not any("ArrayTaskThrottle" in word for call in slurm.calls("scontrol") for word in call)


def test_a_seal_that_failed_is_mended_and_one_that_a_person_cancelled_is_not(
    planned: Finished,
    slurm: FakeSlurm,
) -> None:
    first = submit(planned)
    assert first is not None
    names = {job.label: job.name for job in load_submission(first).jobs}
    done = f"{names['ladder-0']}|1_0|COMPLETED|None|n1\n{names['report']}|4|RUNNING|None|n1\n"
    done += f"{names['target-0']}|3_0|CANCELLED|DependencyNeverSatisfied|\n"
    slurm.answer("squeue", f"{done}{names['seal']}|2|CANCELLED|None|n1\n")
    with pytest.raises(Failure, match="seal: cancelled by a person"):
        submit_again(first, "4", lambda line: None)
    slurm.answer("squeue", f"{done}{names['seal']}|2|OUT_OF_MEMORY|OutOfMemory|n1\n")
    again = submit_again(first, "4", lambda line: None)
    assert again.submission is not None
    assert {job.kind for job in again.submission.jobs} == {"ladder", "seal", "target", "report"}


def test_a_cancelled_run_that_still_saves_is_not_passed_over(
    planned: Finished,
    slurm: FakeSlurm,
) -> None:
    first = submit(planned)
    assert first is not None
    run = load_plan(first).runs[0]
    home = run_folder(planned.folder, str(run.run_id))
    mark(home)
    with (
        hold(home, "lock"),
        pytest.raises(Failure, match=rf"{run.name}: cancelled, and still saving"),
    ):
        submit(planned)
    assert is_marked(home) and len(list(submissions(planned.folder))) == 1
    assert submit(planned) is not None and not is_marked(home)


def test_nothing_is_sealed_over_a_result_that_cannot_be_read(
    planned: Finished,
    slurm: FakeSlurm,
) -> None:
    place = submit(planned)
    assert place is not None
    for run in load_plan(place).ladder:
        home = run_folder(planned.folder, str(run.run_id))
        home.mkdir()
        (home / "result.json").write_text("{")
    name = load_plan(place).ladder[0].name
    with pytest.raises(
        ValueError, match=rf"{name}: .*result\.json.* Delete .*result\.json: the run"
    ):
        stages.seal(place)
    assert len(list(submissions(planned.folder))) == 1


def test_mending_takes_the_old_chain_out_of_the_queue_but_itself(
    planned: Finished,
    slurm: FakeSlurm,
) -> None:
    first = submit(planned)
    assert first is not None
    states = {"ladder": "FAILED", "seal": "RUNNING", "target": "PENDING", "report": "PENDING"}
    lines = []
    for job in load_submission(first).jobs:
        job_id = f"{job.job_id}_0" if job.tasks else job.job_id
        lines.append(f"{job.name}|{job_id}|{states[job.kind]}|None|")
    slurm.answer("squeue", "\n".join(lines) + "\n")
    again = submit_again(first, "2", lambda line: None)
    assert slurm.calls("scancel") == [["3", "4"]]
    assert again.submission is not None
    dependencies = {job.label: job.dependency for job in again.submission.jobs}
    assert dependencies == {
        "ladder-0": None,
        "seal": "afterany:5",
        "target-0": "afterok:6",
        "report": "afterany:7",
    }


def test_a_target_is_held_back_only_where_its_prediction_was_refused_and_the_profile_says_so(
    planned: Finished,
    finished: Finished,
    slurm: FakeSlurm,
    queue: Queue,
) -> None:
    place = submit(planned)
    assert place is not None
    plan, record = load_plan(place), load_submission(place)
    for run in plan.ladder:  # too short for any law: both headlines are refusals
        shutil.copytree(finished.folder / str(run.run_id), planned.folder / str(run.run_id))
    queue("PENDING")
    assert stages.seal(place) == 0 and slurm.calls("scancel") == []  # a sealed refusal is one too
    save_submission(place, replace(record, profile=replace(PROFILE, after_refusal="stop")))
    assert stages.seal(place) == 0
    state, told = chain.noted(place, "seal") or ("", "")
    assert state == "finished" and "refused" in told and stages.HELD_BACK in told
    target = next(job for job in record.jobs if job.kind == "target")
    assert slurm.calls("scancel") == [[f"{target.job_id}_0"]]
    run_id = str(plan.target.run_id)
    view = look(planned.folder, (run.run_id for run in plan.runs))
    assert (view.runs[run_id].state, view.runs[run_id].reason) == ("cancelled", stages.HELD_BACK)
    assert stages.target(place, "target-0") == 0  # had it started before it was cancelled
    assert stages.report(place) == 0
    assert str(planned.folder / "report.pdf") in (chain.noted(place, "report") or ("", ""))[1]
    assert {entry.kind for entry in ledger.read(planned.ledger).entries} == {"prediction"}
    assert json.loads((planned.folder / "report.json").read_text())["loss"]["actual"] is None
    slurm.answer("squeue", "")
    again = submit(planned, replace(PROFILE, after_refusal="stop"))  # a person asks for it
    assert again is not None and not is_marked(run_folder(planned.folder, run_id))
    assert [job.kind for job in load_submission(again).jobs] == ["target", "report"]


def test_a_report_says_where_the_runs_trained(planned: Finished, slurm: FakeSlurm) -> None:
    slurm.answer("scontrol", "ClusterName = lab\nMaxArraySize = 1001\n")
    place = submit(planned)
    assert place is not None
    plan = load_plan(place)
    assert slurm_facts(planned.folder, plan) == {}  # nothing has started
    homes = [run_folder(planned.folder, str(run.run_id)) for run in plan.runs]
    for home, job, node in zip(homes[:3], ("1_0", "1_0", "3_0"), ("n1", "n1", "n2"), strict=True):
        begin(home, submission=1, job=job, node=node, devices=1, log=Path("x"))
    begin(homes[0], submission=1, job="1_0", node="n1", devices=1, log=Path("x"))
    assert slurm_facts(planned.folder, plan) == {
        "Slurm cluster": "lab",
        "Slurm profile": "test",
        "Slurm jobs": "2, on n1, n2",
        "Slurm starts of runs": "4 for 3 runs",
    }


def test_what_is_sealed_and_reported_is_not_done_again(
    own: Finished,
    slurm: FakeSlurm,
) -> None:
    book = ledger.read(own.ledger).entries
    assert submit(own) is None and slurm.calls("sbatch") == []
    assert ledger.read(own.ledger).entries == book
    (own.folder / "report.json").unlink()
    place = submit(own)
    assert place is not None
    assert [job.label for job in load_submission(place).jobs] == ["report"]
    assert json.loads((place / "submission.json").read_text())["sweep"] == "tiny"
