"""Planned runs by the dozen, a profile, and the pretended Slurm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.training.spec import run_id
from sweeps.planned import Plan, PlannedRun
from sweeps.slurm.limits import Limits
from sweeps.slurm.profile import Profile, Resources
from sweeps.slurm.states import look
from sweeps.slurm.submission import load_submission
from sweeps.slurm.submit import draft_jobs, submit
from tests.sweeps.slurm.fake import FakeSlurm, fake_slurm


def ids(planned: Plan) -> list[str | None]:
    """The ids of a plan's runs."""
    return [run.run_id for run in planned.runs]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A Slurm with an empty queue, first on the PATH."""
    return fake_slurm(tmp_path, monkeypatch)


@pytest.fixture
def profile() -> Profile:
    """Jobs of two cores, a minute of work each."""
    return Profile(
        name="test",
        partition="main",
        ladder=Resources(cpus=2, memory="1G", time="0:10:00"),
        target=Resources(cpus=4, time="1:00:00"),
        service=Resources(cpus=1, time="0:05:00"),
        pack_minutes=1,
        throttle=8,
        signal_seconds=60,
    )


@pytest.fixture
def queued(folder: Path, resolved: Plan, profile: Profile, slurm: FakeSlurm) -> Path:
    """The whole sweep queued: the ladder's three runs in one job."""
    draft = draft_jobs(
        resolved, look(folder, ids(resolved)), profile, Limits(), needs=("seal", "report")
    )
    added = submit(draft, folder, folder / "plan.json", profile, data_folder=folder, chain="m")
    assert added is not None
    names = {job.label: job.name for job in load_submission(added[0]).jobs}
    slurm.answer(
        "squeue",
        f"{names['ladder-0']}|1_0|RUNNING|None|n1\n{names['seal']}|2|PENDING|Dependency|\n"
        f"{names['target-0']}|3_0|PENDING|Dependency|\n{names['report']}|4|PENDING|Dependency|\n",
    )
    return folder


@pytest.fixture
def many(resolved: Plan) -> Callable[..., list[PlannedRun]]:
    """Make runs that take so many seconds each, with ids of their own."""

    def make(*seconds: float, **changes: Any) -> list[PlannedRun]:
        base = resolved.ladder[0]
        assert base.spec is not None
        made = []
        for number, expected in enumerate(seconds):
            spec = replace(base.spec, seed=5000 + number)
            about = {"name": f"r00-s{number}", "spec": spec, "run_id": run_id(spec)}
            made.append(replace(base, **about, expected_seconds=expected, **changes))
        return made

    return make
