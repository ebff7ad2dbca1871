"""Two submissions at once, and a full quota: nothing twice, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.slurm.lab import Lab
from tests.slurm.trial import Trial
from tests.workbench.test_faults import small_disk
from tests.workbench.tiny import Finished

LEFT = 60_000  # bytes, when the ladder trains: for small files, not for all checkpoints


def test_two_submissions_at_once_add_every_job_once(trial: Trial) -> None:
    both = [trial.lab.start(*trial.words, "--json") for _ in range(2)]
    answers = [json.loads(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(answer["place"] is None for answer in answers) == [False, True]
    assert len(trial.lab.queue()) == 4 and trial.submissions() == 1
    trial.wait_until_over()
    assert [one.how for one in trial.attempts()] == ["done"]
    trial.assert_undisturbed()


def test_a_full_quota_stops_the_sweep_and_it_goes_on_when_there_is_space(
    cluster: Lab,
    planned: Finished,
    finished: Finished,
    profile: Callable[..., Path],
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "64m"):
        runs = Path(shutil.copytree(planned.runs, disk / "runs"))
        trial = Trial(cluster, replace(planned, runs=runs), finished.folder, profile())
        trial.submit()
        trial.wait_until_it_trains()
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(b"x" * (free - LEFT))
        trial.wait_until_over()
        assert trial.submissions() == 1 and not (trial.folder / "report.json").exists()
        told = cluster.told("status", trial.folder)["runs"]
        assert "failed" in {run["state"] for run in told}
        reasons = [run["message"] for run in told]
        reasons += [path.read_text() for path in trial.folder.glob("slurm/0001/jobs/*_log.out")]
        assert any("no space left" in reason.lower() for reason in reasons)
        (disk / "filler").unlink()
        trial.submit()  # by the person who made room
        trial.wait_until_over()
        trial.assert_undisturbed()
