"""A sweep on a real cluster: the same bits as here, once, in turns, cancelled, and mended."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.training.result import load_result
from sweeps.slurm import attempts
from sweeps.slurm.limits import read_limits
from sweeps.slurm.profile import Resources
from tests.slurm.lab import Lab
from tests.slurm.trial import Trial
from tests.workbench.tiny import ROOT, Finished, write_sweep

# What a result holds of the moment, and not of the run.
MOMENTARY = ("seconds", "restarts", "peak_memory_bytes", "peak_flops_per_second", "mfu")
MOMENTARY += ("tokens_per_second", "flops_per_second")
# Trains one run of a planned sweep here: FOLDER RUN_ID, and where to.
ALONE = """
import sys
from pathlib import Path
from sweeps.local import train_runs
from sweeps.planned import load_plan
folder, run_id, target = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
(data,) = folder.parent.glob("data/*/")
runs = [run for run in load_plan(folder).runs if run.run_id == run_id]
train_runs(runs, data_folder=data, folder=target, workers=1)
"""


def test_the_whole_way_unattended_with_the_bits_of_the_local_backend(trial: Trial) -> None:
    lab, labels = trial.lab, ["ladder-0", "seal", "target-0", "report"]
    dry = lab.told(*trial.words, "--dry-run")
    assert lab.queue() == {} and list(dry["scripts"]) == labels
    added = trial.submit()
    assert [job["label"] for job in added["jobs"]] == labels and added["runs"] == 5
    queued = set(lab.queue())
    assert trial.submit()["place"] is None and set(lab.queue()) <= queued
    told = lab.told("status", trial.folder)
    found = {run["state"] for run in told["runs"]}
    assert told["problems"] == [] and found <= {"pending", "waiting", "running", "finished"}
    target = next(run for run in told["runs"] if run["role"] == "target")
    assert (target["state"], target["message"]) == ("pending", "Dependency")
    trial.wait_until_over()
    trial.assert_undisturbed()
    told = lab.told("status", trial.folder)
    assert all(run["hours_used"] > 0 and run["device"] == "core" for run in told["runs"])
    assert trial.submit()["place"] is None and lab.queue() == {}
    ladder = trial.submission(1).jobs[0]
    assert len(ladder.tasks) == 1 and len(ladder.tasks[0]) == 4  # small runs share a job


def test_a_time_limit_shorter_than_the_run_takes_several_turns(
    trial: Trial, tmp_path: Path, profile: Callable[..., Path]
) -> None:
    sweep = write_sweep(tmp_path, ("1.2e9]", "3e11]"), ("flops = 5e9", "flops = 9e11"))
    planned, alone = Finished(sweep, tmp_path / "long", 0.0, "", ""), tmp_path / "alone"
    trial = replace(trial, sweep=planned, profile=profile(time="0:01:00", signal=40))
    trial.submit()
    home = trial.home()
    command = [sys.executable, "-c", ALONE, trial.folder, home.name, alone]
    with subprocess.Popen(command, cwd=ROOT) as own:
        trial.lab.wait(lambda: (home / "result.json").exists(), 500)
        assert own.wait(300) == 0
    found = attempts.read(home)
    assert len(found) >= 2 and {one.how for one in found[:-1]} == {"stopped"}
    assert [one.step for one in found] == sorted({one.step for one in found})  # each went on
    assert len({one.job for one in found}) == 1  # requeued, not submitted again
    result, expected = load_result(home), load_result(alone / home.name)
    assert result is not None and expected is not None
    assert result.restarts == len(found) - 1
    assert result == replace(expected, **{name: getattr(result, name) for name in MOMENTARY})
    trial.lab.told("cancel", "--all", trial.folder)


def test_cancelled_runs_keep_their_checkpoints_and_stay_out_until_submitted(trial: Trial) -> None:
    lab = trial.lab
    trial.submit()
    trial.wait_until_it_trains()
    cancelled = lab.told("cancel", trial.folder / "r01-d8-s0")
    assert cancelled["jobs"] == []  # its job has three more runs
    lab.told("cancel", "--all", trial.folder)
    trial.wait_until_over()
    assert "cancelled" in trial.states() <= {"cancelled", "finished"}
    assert not (trial.folder / "report.json").exists()
    assert trial.submit()["place"] is not None and lab.queue()
    assert "cancelled" not in trial.states()
    logs = lab.told("logs", trial.home())
    assert any("start at step 0" in entry["line"] for entry in logs)


def test_limits_are_read_from_the_cluster(cluster: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.environment[name])
    assert read_limits(Resources()).max_array == 1001
    user = getpass.getuser()
    cluster.client("sacctmgr", "-i", "add", "account", "few")
    cluster.client("sacctmgr", "-i", "add", "user", user, "account=few", "MaxSubmitJobs=7")
    try:
        assert read_limits(Resources(account="few")).room == 7
        assert read_limits(Resources()).room == 7
    finally:
        cluster.client("sacctmgr", "-i", "modify", "user", user, "set", "MaxSubmitJobs=-1")
