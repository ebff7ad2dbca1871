"""Processes that die or are told to end; the sweep ends with the bits of an undisturbed one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.slurm.processes import kill, parent
from tests.slurm.trial import Trial


def test_a_killed_worker_is_replaced_within_its_job(trial: Trial) -> None:
    trial.submit()
    kill(trial.wait_until_it_trains())
    trial.wait_until_over()
    assert [one.how for one in trial.attempts()] == ["retried", "done"]
    assert len({one.job for one in trial.attempts()}) == 1 and trial.submissions() == 1
    trial.assert_undisturbed()


def test_runs_of_a_killed_job_are_submitted_again_by_the_cluster(trial: Trial) -> None:
    trial.submit()
    kill(parent(trial.wait_until_it_trains()))
    trial.wait_until_over()
    second = trial.submission(2)
    assert second.generation == 1 and second.jobs[0].kind == "ladder"
    trial.assert_undisturbed()


def test_what_a_person_cancelled_in_slurm_stays_out_until_a_person_submits(trial: Trial) -> None:
    trial.submit()
    trial.wait_until_it_trains()
    trial.lab.client("scancel", str(trial.submission(1).jobs[0].job_id))
    trial.wait_until_over()
    assert trial.submissions() == 1 and "cancelled" in trial.states()
    assert not (trial.folder / "report.json").exists()
    trial.submit()  # the person wants it after all
    trial.wait_until_over()
    assert [one.how for one in trial.attempts()] == ["stopped", "done"]
    assert trial.attempts()[1].step > 0  # from the checkpoint that the cancelled job saved
    trial.assert_undisturbed()


def test_a_preempted_job_goes_on_when_the_nodes_are_free_again(
    trial: Trial, profile: Callable[..., Path]
) -> None:
    trial = replace(trial, profile=profile(partition="low"))
    trial.submit()
    trial.wait_until_it_trains()
    urgent = ("-p", "main", "-N", "3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3")
    trial.lab.client("sbatch", *urgent)
    trial.wait_until_over()
    first, *_, last = trial.attempts()
    assert first.how == "stopped" and last.how == "done" and first.job == last.job
    assert last.step > 0 and trial.submissions() == 1  # Slurm's own requeue, nobody submitted
    trial.assert_undisturbed()
