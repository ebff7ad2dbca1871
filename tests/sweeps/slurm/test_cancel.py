"""Cancelling: a mark in the folder, and scancel for jobs that have nothing else to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.layout import run_folder
from sweeps.planned import Plan
from sweeps.slurm.cancel import cancel_all, cancel_runs, is_marked, scancel, unmark
from sweeps.slurm.limits import Limits
from sweeps.slurm.profile import Profile
from sweeps.slurm.states import look
from sweeps.slurm.submit import draft_jobs, submit
from tests.sweeps.slurm.conftest import ids
from tests.sweeps.slurm.fake import FakeSlurm
from workbench.cli import main

pytest.importorskip("submitit")


def test_a_job_goes_on_until_all_its_runs_are_cancelled_or_done(
    queued: Path, resolved: Plan, slurm: FakeSlurm, finish: Callable[..., Path]
) -> None:
    first, second, third = (str(run.run_id) for run in resolved.ladder)
    assert cancel_runs(queued, look(queued, ids(resolved)), [first]) == []
    assert is_marked(run_folder(queued, first)) and slurm.calls("scancel") == []
    finish(queued, resolved.ladder[1])
    assert cancel_runs(queued, look(queued, ids(resolved)), [third]) == ["1_0"]
    assert slurm.calls("scancel") == [["1_0"]]
    assert look(queued, ids(resolved)).runs[third].state == "cancelled"
    unmark(queued, [first, third])
    assert not is_marked(run_folder(queued, first)) and second


def test_all_means_the_chain_first_and_no_run_that_is_done(
    queued: Path, resolved: Plan, slurm: FakeSlurm, finish: Callable[..., Path]
) -> None:
    finish(queued, resolved.ladder[0])
    assert cancel_all(queued, look(queued, ids(resolved))) == ["1", "2", "3", "4"]
    assert slurm.calls("scancel") == [["2", "4"], ["1", "3"]]
    marked = [is_marked(run_folder(queued, str(run.run_id))) for run in resolved.runs]
    assert marked == [False, True, True, True]


def test_all_means_arrays_of_older_submissions_too(
    queued: Path, resolved: Plan, profile: Profile, slurm: FakeSlurm
) -> None:
    listed = (slurm.place / "squeue.txt").read_text()
    slurm.answer("squeue", "")  # as if it were hidden: all is submitted twice
    draft = draft_jobs(resolved, look(queued, ids(resolved)), profile, Limits(), needs=())
    assert submit(draft, queued, queued / "plan.json", profile, data_folder=queued, chain="m")
    slurm.forget_calls()
    slurm.answer("squeue", listed)
    cancel_all(queued, look(queued, ids(resolved)))
    (words,) = slurm.calls("squeue")
    (names,) = (word.partition("=")[2].split(",") for word in words if word.startswith("--name"))
    assert sum("-0001-ladder-0-" in name for name in names) == 1
    assert slurm.calls("scancel") == [["2", "4"], ["1", "3"]]


def test_where_slurm_is_silent_it_says_where_to_cancel(
    queued: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.silence("squeue")
    assert main(["cancel", "--all", str(queued)]) == 1
    assert "do: cancel on a machine of the cluster" in capsys.readouterr().err
    assert slurm.calls("scancel") == []


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    status = main(["cancel", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_it_says_what_becomes_of_the_sweep(
    queued: Path, resolved: Plan, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = told(capsys, queued / resolved.ladder[0].name)
    assert status == 0 and "its job goes on with its other runs" in said
    assert "the seal needs every run of the ladder: there the sweep stops" in said
    _, said = told(capsys, queued / resolved.target.name)
    assert "job 3_0" in said and "the prediction alone" in said
    listed = (slurm.place / "squeue.txt").read_text().splitlines()
    slurm.answer("squeue", "".join(f"{line}\n" for line in listed if "-seal-" not in line))
    assert "seal" not in told(capsys, queued / resolved.ladder[1].name)[1]


def test_what_has_failed_stays_failed_and_what_has_no_job_has_none_that_goes_on(
    queued: Path, resolved: Plan, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = (slurm.place / "squeue.txt").read_text()
    slurm.answer("squeue", listed.replace("RUNNING|None", "FAILED|NonZeroExitCode"))
    run = resolved.ladder[0]
    status, said = told(capsys, queued / run.name)
    assert status == 1 and "neither in the queue nor at work (failed)" in said
    cancel_all(queued, look(queued, ids(resolved)))
    assert look(queued, ids(resolved)).runs[str(run.run_id)].state == "failed"
    slurm.answer("squeue", "")
    assert told(capsys, "--all", queued) == (0, f"{queued}: neither in the queue nor at work\n")


def test_a_sweeps_folder_is_told_from_a_run(
    queued: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = told(capsys, queued)
    assert status == 2 and f"{queued} is a sweep" in said and f"cancel --all {queued}" in said


def test_slurms_refusal_is_told(slurm: FakeSlurm) -> None:
    slurm.silence("scancel")
    with pytest.raises(OSError, match="scancel: scancel: error: Unable to contact"):
        scancel(["1"])
    scancel([])
