"""Daemons that die: controller, nodes, accounting. The sweep ends as if nothing had been."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from sweeps.lock import is_held
from tests.slurm.lab import Lab
from tests.slurm.processes import kill, parent
from tests.slurm.trial import Trial
from tests.workbench.tiny import Finished


def test_the_controller_dies_and_comes_back(trial: Trial) -> None:
    trial.submit()
    trial.wait_until_it_trains()
    with trial.lab.without("slurmctld"):
        told = trial.lab.told("status", trial.folder)  # from the folders
        assert "squeue" in told["problems"][0]
        assert "running" in {run["state"] for run in told["runs"]}
        with trial.lab.start(*trial.words) as process:  # must not submit what may be queued
            assert "cannot tell what is queued already" in process.communicate()[1]
        assert process.returncode == 1
    trial.wait_until_over()
    assert trial.submissions() == 1
    trial.assert_undisturbed()


def test_the_controller_forgets_the_jobs_and_hands_their_ids_out_again(trial: Trial) -> None:
    lab, state, saved = trial.lab, trial.lab.place / "state", trial.sweep.runs / "saved"
    with lab.without("slurmctld", "down"):
        shutil.copytree(state, saved)
    trial.submit()
    trial.wait_until_it_trains()
    lab.freeze_jobs()  # or the ladder is over by the time that the node asks
    with lab.without("slurmctld"):  # before it saved anything of this
        shutil.rmtree(state)
        shutil.copytree(saved, state)
    assert lab.queue() == {} and trial.states() & {"lost", "running"}
    lab.wait(lambda: not is_held(trial.home() / "lock"))  # the node ends what it does not know
    lab.wait(lambda: not lab.steps())  # or a job of the same id is held there
    assert "lost" in trial.states()
    trial.submit()  # by a person: the chain is forgotten too
    first, second = ([job.job_id for job in trial.submission(at).jobs] for at in (1, 2))
    assert second == first
    assert trial.submit()["place"] is None
    trial.wait_until_over()
    trial.assert_undisturbed()


def test_a_node_dies_with_all_that_ran_on_it(trial: Trial) -> None:
    trial.submit()
    trial.wait_until_it_trains()
    (attempt,) = trial.attempts()
    with trial.lab.without(f"slurmd.{attempt.node}"):
        trial.lab.kill_jobs(attempt.node)
        trial.lab.wait(lambda: trial.lab.node_state(attempt.node) == "down*", 90)
        trial.wait_until_over()
    first, last = trial.attempts()
    assert first.how == "" and last.how == "done"
    assert first.job == last.job and last.node != first.node  # requeued by Slurm
    trial.assert_undisturbed()


def test_the_accounting_daemon_is_dead_all_the_while(trial: Trial) -> None:
    with trial.lab.without("slurmdbd"):
        trial.submit()
        trial.wait_until_over()
        trial.assert_undisturbed()


def test_no_accounting_at_all_and_a_killed_job(
    bare_cluster: Lab, planned: Finished, finished: Finished, profile: Callable[..., Path]
) -> None:
    trial = Trial(bare_cluster, planned, finished.folder, profile())
    trial.submit()
    kill(parent(trial.wait_until_it_trains()))
    trial.wait_until_over()
    assert trial.submission(2).generation == 1  # by the cluster itself
    trial.assert_undisturbed()
