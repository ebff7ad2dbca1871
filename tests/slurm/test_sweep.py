"""A sweep on a real cluster: the same bits as here, once, in turns, cancelled, and mended."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from model.training.result import load_result
from sweeps.planned import PlannedRun, load_plan
from sweeps.slurm import attempts
from sweeps.slurm.limits import read_limits
from sweeps.slurm.profile import Resources
from sweeps.slurm.submission import load_submission
from sweeps.table import collect, samples
from tests.slurm.conftest import Lab
from tests.workbench.test_pipeline import MEASURED
from tests.workbench.tiny import NAME, ROOT, Finished, write_sweep
from workbench import ledger

pytestmark = pytest.mark.slow
WriteProfile = Callable[..., Path]


def run_named(folder: Path, name: str) -> tuple[PlannedRun, Path]:
    run = next(run for run in load_plan(folder).runs if run.name.startswith(name))
    return run, folder / str(run.run_id)


def assert_same_bits(folder: Path, expected: Path) -> None:
    """All columns but measured times are equal, exactly."""
    table, other = (collect(place).drop(columns=MEASURED) for place in (folder, expected))
    pd.testing.assert_frame_equal(table, other, check_exact=True)
    pd.testing.assert_frame_equal(samples(folder), samples(expected), check_exact=True)


def states(told: dict[str, list[dict[str, str]]]) -> set[str]:
    return {run["state"] for run in told["runs"]}


def test_the_whole_way_unattended_with_the_bits_of_the_local_backend(
    cluster: Lab, finished: Finished, planned: Finished, profile: WriteProfile
) -> None:
    words = ("submit", planned.sweep, "--profile", profile(), "--runs", planned.runs)
    dry = cluster.told(*words, "--dry-run")
    assert cluster.queue() == {} and set(dry["scripts"]) == {
        "ladder-0",
        "seal",
        "target-0",
        "report",
    }
    added = cluster.told(*words)
    assert [job["label"] for job in added["jobs"]] == list(dry["scripts"]) and added["runs"] == 5
    queued = set(cluster.queue())
    assert cluster.told(*words)["place"] is None and set(cluster.queue()) <= queued
    told = cluster.told("status", planned.folder)
    assert told["problems"] == [] and states(told) <= {"pending", "waiting", "running", "finished"}
    target = next(run for run in told["runs"] if run["role"] == "target")
    assert (target["state"], target["message"]) == ("pending", "Dependency")
    cluster.wait(lambda: not cluster.queue())

    assert_same_bits(planned.folder, finished.folder)
    assert (planned.folder / "report.pdf").read_bytes().startswith(b"%PDF")
    kinds = [entry.kind for entry in ledger.read(planned.ledger).entries]
    assert kinds == ["prediction", "prediction", "target_started", "target_finished"]
    report = json.loads((planned.folder / "report.json").read_text())
    assert report["sealed_before_target"] is True
    told = cluster.told("status", planned.folder)
    assert states(told) == {"finished"}
    assert all(run["hours_used"] > 0 and run["device"] == "core" for run in told["runs"])
    assert cluster.told(*words)["place"] is None and cluster.queue() == {}
    ladder = load_submission(planned.folder / "slurm" / "0001").jobs[0]
    assert len(ladder.tasks) == 1 and len(ladder.tasks[0]) == 4  # small runs share a job


def test_a_time_limit_shorter_than_the_run_takes_several_turns(
    cluster: Lab, finished: Finished, tmp_path: Path, profile: WriteProfile
) -> None:
    sweep = write_sweep(tmp_path, ("1.2e9]", "6e11]"), ("flops = 5e9", "flops = 1.8e12"))
    runs, alone = tmp_path / "runs", tmp_path / "alone"
    words = ("submit", sweep, "--runs", runs, "--profile", profile(time="0:01:00", signal=20))
    cluster.told(*words)
    folder = runs / NAME
    run, home = run_named(folder, "r02")
    script = (
        "import sys; from pathlib import Path; from sweeps.local import train_runs; "
        "from sweeps.planned import load_plan; plan = load_plan(Path(sys.argv[1])); "
        "data, = Path(sys.argv[1]).parent.glob('data/*/'); "
        "train_runs([r for r in plan.runs if r.name == sys.argv[2]], data_folder=data, "
        "folder=Path(sys.argv[3]), workers=1)"
    )
    with subprocess.Popen([sys.executable, "-c", script, folder, run.name, alone], cwd=ROOT) as own:
        cluster.wait(lambda: (home / "result.json").exists(), 500)
        assert own.wait(300) == 0
    found = attempts.read(home)
    assert len(found) >= 2 and {one.how for one in found[:-1]} == {"stopped"}
    assert [one.step for one in found] == sorted({one.step for one in found})  # each went on
    assert len({one.job for one in found}) == 1  # requeued, not submitted again
    result, expected = load_result(home), load_result(alone / str(run.run_id))
    assert result is not None and expected is not None
    assert result.restarts == len(found) - 1
    measured = {
        name: getattr(result, name) for name in ("seconds", "restarts", "peak_memory_bytes")
    }
    measured |= {name: getattr(result, name) for name in ("tokens_per_second", "flops_per_second")}
    measured |= {"mfu": result.mfu, "peak_flops_per_second": result.peak_flops_per_second}
    assert result == replace(expected, **measured)
    cluster.told("cancel", "--all", folder)


def test_cancelled_runs_keep_their_checkpoints_and_stay_out_until_submitted(
    cluster: Lab, planned: Finished, profile: WriteProfile
) -> None:
    words = ("submit", planned.sweep, "--profile", profile(), "--runs", planned.runs)
    cluster.told(*words)
    _, first = run_named(planned.folder, "r02")
    cluster.wait(lambda: (first / "metrics.jsonl").exists())
    cancelled = cluster.told("cancel", planned.folder / "r01-d8-s0")
    assert cancelled["jobs"] == []  # its job has three more runs
    cluster.told("cancel", "--all", planned.folder)
    cluster.wait(lambda: not cluster.queue(), 60)
    told = cluster.told("status", planned.folder)
    assert "cancelled" in states(told) <= {"cancelled", "finished"}
    assert not (planned.folder / "report.json").exists()
    added = cluster.told(*words)
    assert added["place"] is not None and cluster.queue()
    assert "cancelled" not in states(cluster.told("status", planned.folder))
    logs = cluster.workbench("logs", first.name, "--runs", planned.runs)
    assert logs.returncode == 0 and "start at step 0" in logs.stdout


def test_runs_of_a_killed_job_are_submitted_again_by_the_cluster(
    cluster: Lab, finished: Finished, planned: Finished, profile: WriteProfile
) -> None:
    words = ("submit", planned.sweep, "--profile", profile(), "--runs", planned.runs)
    cluster.told(*words)
    _, home = run_named(planned.folder, "r02")
    cluster.wait(lambda: (home / "metrics.jsonl").exists())
    os.kill(_job_process(planned.folder), signal.SIGKILL)
    cluster.wait(lambda: not cluster.queue(), 400)
    assert_same_bits(planned.folder, finished.folder)
    second = load_submission(planned.folder / "slurm" / "0002")
    assert second.generation == 1 and second.jobs[0].kind == "ladder"
    assert (planned.folder / "report.json").exists()


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
        cluster.client("sacctmgr", "-i", "delete", "user", user)


def _job_process(folder: Path) -> int:
    """The process id of the training job in an allocation, found by its own command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        here = b"sweeps.slurm.job" in words and str(folder / "slurm").encode() in b" ".join(words)
        if here and Path(words[0].decode()).name.startswith("python"):
            return int(path.parent.name)
    raise AssertionError("no training job is running")
