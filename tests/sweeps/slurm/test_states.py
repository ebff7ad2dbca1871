"""How runs stand: their files first, then Slurm's word for their job, each kept apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sweeps.layout import FAILED_NAME, run_folder
from sweeps.lock import hold
from sweeps.planned import Plan, PlannedRun
from sweeps.slurm.cancel import mark
from sweeps.slurm.profile import Profile, Resources
from sweeps.slurm.states import View, look
from sweeps.slurm.submission import Job, Submission, new_place, save_submission, submissions
from sweeps.status import STATES, status, sweep_status
from tests.sweeps.slurm.conftest import ids
from tests.sweeps.slurm.fake import FakeSlurm

NAME = "small-0001-ladder-0-abcdef"


@pytest.fixture
def submitted(folder: Path, resolved: Plan, profile: Profile, slurm: FakeSlurm) -> Path:
    """The ladder's runs, one a job, in one submitted array."""
    job = Job(
        label="ladder-0",
        kind="ladder",
        name=NAME,
        job_id="7",
        dependency=None,
        resources=profile.ladder,
        slots=1,
        tasks=tuple((str(run.run_id),) for run in resolved.ladder),
    )
    submission = Submission(
        sweep="small",
        number=1,
        unix_time=1e9,
        generation=0,
        profile=profile,
        data_folder="/data",
        model_source="m",
        jobs=(job,),
    )
    save_submission(new_place(folder), submission)
    return folder


def state(folder: Path, run: PlannedRun, resolved: Plan) -> tuple[str, str]:
    found = look(folder, ids(resolved)).runs[str(run.run_id)]
    return found.state, found.reason


@pytest.mark.parametrize(
    ("word", "reason", "expected"),
    [
        ("PENDING", "Priority", ("pending", "Priority")),
        ("PENDING", "BeginTime", ("pending", "BeginTime")),
        ("RUNNING", "None", ("waiting", "in job 7_0 on n1")),
        ("EXPEDITING", "None", ("waiting", "in job 7_0 on n1")),
        ("COMPLETING", "None", ("waiting", "in job 7_0 on n1")),
        ("COMPLETING", "TimeLimit", ("failed", "TimeLimit")),
        ("SUSPENDED", "None", ("suspended", "on n1")),
        ("TIMEOUT", "TimeLimit", ("timeout", "TimeLimit")),
        ("OUT_OF_MEMORY", "OutOfMemory", ("out_of_memory", "OutOfMemory")),
        ("NODE_FAIL", "None", ("node_fail", "job 7_0")),
        ("PREEMPTED", "None", ("preempted", "job 7_0")),
        ("CANCELLED", "None", ("cancelled", "job 7_0")),
        (
            "CANCELLED",
            "DependencyNeverSatisfied",
            ("held_back", "what it waited for failed"),
        ),
        ("FAILED", "NonZeroExitCode", ("failed", "job 7_0")),
        ("COMPLETED", "None", ("lost", "its job completed without it")),
    ],
)
def test_slurms_words_are_kept_apart(
    submitted: Path,
    resolved: Plan,
    slurm: FakeSlurm,
    word: str,
    reason: str,
    expected: tuple[str, str],
) -> None:
    slurm.answer("squeue", f"{NAME}|7_0|{word}|{reason}|n1\n")
    assert state(submitted, resolved.ladder[0], resolved) == expected


def test_who_cancelled_comes_from_accounting(
    submitted: Path, resolved: Plan, slurm: FakeSlurm
) -> None:
    slurm.answer("sacct", f"{NAME}|7_0|CANCELLED by 1000|0:0|n1\n")
    assert state(submitted, resolved.ladder[0], resolved) == ("cancelled", "by 1000")


def test_what_slurm_does_not_know_is_lost_and_what_it_does_not_say_is_as_before(
    submitted: Path, resolved: Plan, slurm: FakeSlurm
) -> None:
    run = resolved.ladder[0]
    assert state(submitted, run, resolved) == ("lost", "Slurm does not know its job")
    slurm.answer("squeue", "somebody-elses|7_0|RUNNING|None|n1\n")  # the id was handed out again
    assert state(submitted, run, resolved)[0] == "lost"
    slurm.silence("squeue")
    assert state(submitted, run, resolved) == ("waiting", "")
    table = status(submitted)
    assert "Unable to contact" in table.attrs["problems"][0]


def test_what_sbatch_did_not_take_is_not_lost(
    submitted: Path, resolved: Plan, slurm: FakeSlurm
) -> None:
    ((place, record),) = submissions(submitted)
    jobs = tuple(replace(job, job_id=None) for job in record.jobs)
    save_submission(place, replace(record, jobs=jobs))
    run = resolved.ladder[0]
    assert state(submitted, run, resolved) == ("not_submitted", "sbatch did not take its job")
    assert look(submitted, ids(resolved)).missing(run.run_id) and "not_submitted" in STATES
    slurm.answer("squeue", f"{NAME}|7_0|PENDING|Priority|\n")  # only its id was not written down
    assert state(submitted, run, resolved) == ("pending", "Priority")


def test_a_mark_says_why(submitted: Path, resolved: Plan, slurm: FakeSlurm) -> None:
    run = resolved.ladder[0]
    home = run_folder(submitted, str(run.run_id))
    mark(home)
    assert state(submitted, run, resolved) == ("cancelled", "by `workbench cancel`")
    mark(home, "held back")
    assert state(submitted, run, resolved) == ("cancelled", "held back")
    (home / "cancelled.json").write_text("{}")
    assert state(submitted, run, resolved) == ("cancelled", "by `workbench cancel`")


def test_planned_hours_are_those_of_the_dry_run(
    submitted: Path, resolved: Plan, slurm: FakeSlurm
) -> None:
    ((place, record),) = submissions(submitted)
    wide = Resources(nodes=2, tasks_per_node=2, cpus=4)
    jobs = tuple(replace(job, resources=wide) for job in record.jobs)
    save_submission(place, replace(record, jobs=jobs))
    run = resolved.ladder[0]
    row = status(submitted).set_index("name").loc[run.name]
    # Four tasks take a quarter of the time; each of them holds two cores.
    assert row["hours_planned"] == pytest.approx(2 * run.expected_seconds / 3600)


def test_files_come_before_slurm(
    submitted: Path, resolved: Plan, slurm: FakeSlurm, finish: Callable[..., Path]
) -> None:
    done, failed, trained = resolved.ladder
    finish(submitted, done)
    home = run_folder(submitted, str(failed.run_id))
    home.mkdir()
    (home / FAILED_NAME).write_text(json.dumps({"message": "bad spec"}))
    slurm.answer("squeue", "".join(f"{NAME}|7_{at}|NODE_FAIL|None|n2\n" for at in range(3)))
    assert state(submitted, done, resolved)[0] == "finished"
    assert state(submitted, failed, resolved) == ("failed", "bad spec")
    with hold(run_folder(submitted, str(trained.run_id)), "lock"):
        assert state(submitted, trained, resolved) == ("running", "though Slurm says NODE_FAIL")
    (words,) = slurm.calls("squeue")[:1]
    assert not any("seal" in word for word in words)


def missing(view: View, runs: tuple[PlannedRun, ...]) -> list[bool]:
    return [view.missing(run.run_id) for run in runs]


def test_missing_is_what_is_neither_done_nor_queued(
    submitted: Path, resolved: Plan, slurm: FakeSlurm, finish: Callable[..., Path]
) -> None:
    finish(submitted, resolved.ladder[0])
    slurm.answer("squeue", f"{NAME}|7_1|PENDING|Priority|\n{NAME}|7_2|TIMEOUT|TimeLimit|n1\n")
    assert missing(look(submitted, ids(resolved)), resolved.ladder) == [False, False, True]
    mark(run_folder(submitted, str(resolved.ladder[1].run_id)))  # its job lives, but will leave it
    view = look(submitted, ids(resolved))
    assert missing(view, resolved.ladder) == [False, True, True]
    assert view.runs[str(resolved.ladder[1].run_id)].state == "cancelled"
    assert view.missing(resolved.target.run_id) and view.missing(None)


def test_nothing_goes_on_where_all_has_ended_or_failed_and_nobody_will_submit_again(
    submitted: Path, resolved: Plan, slurm: FakeSlurm, finish: Callable[..., Path]
) -> None:
    def going() -> bool:
        return sweep_status(submitted).going

    slurm.answer("squeue", f"{NAME}|7_1|PENDING|Priority|\n")
    assert going()
    slurm.answer("squeue", "".join(f"{NAME}|7_{at}|NODE_FAIL|None|n2\n" for at in range(3)))
    assert not going()
    with hold(run_folder(submitted, str(resolved.ladder[0].run_id)), "lock"):
        assert going()
    with hold(submitted, "pipeline.lock"):
        assert going()
    slurm.silence("squeue")
    assert going()  # nobody knows
    for run in resolved.runs:
        finish(submitted, run)
    assert not going()


def test_a_cancelled_run_that_still_saves_is_cancelled_to_the_chain(
    submitted: Path, resolved: Plan, slurm: FakeSlurm
) -> None:
    home = run_folder(submitted, str(resolved.ladder[0].run_id))
    home.mkdir(parents=True, exist_ok=True)
    mark(home)
    with hold(home, "lock"):
        view = look(submitted, ids(resolved))
        ((_, submission),) = view.submissions
        assert view.runs[home.name].state == "running"
        assert view.cancelled(submission) == [home.name]


def test_status_adds_slurms_columns_in_one_query(
    submitted: Path, resolved: Plan, slurm: FakeSlurm, finish: Callable[..., Path]
) -> None:
    finish(submitted, resolved.ladder[0])
    lines = [f"{NAME}|7_{at}|PENDING|Resources|" for at in (1, 2)]
    slurm.answer("squeue", "\n".join(lines) + "\n")
    table = status(submitted).set_index("name")
    assert len(slurm.calls("squeue")) == 1 and slurm.calls("sacct") == []
    row = table.loc[resolved.ladder[1].name]
    assert (row["state"], row["message"], row["job"]) == ("pending", "Resources", "7_1")
    assert row["hours_planned"] == pytest.approx(resolved.ladder[1].expected_seconds / 3600)
    assert row["device"] == "core" and pd.isna(row["hours_used"])
    assert table.loc[resolved.ladder[0].name, "state"] == "finished"


def test_a_sweep_that_was_never_submitted_asks_nobody(
    folder: Path, resolved: Plan, slurm: FakeSlurm
) -> None:
    table = status(folder)
    assert set(table["state"]) == {"waiting"} and table.attrs["problems"] == []
    assert slurm.calls("squeue") == []
