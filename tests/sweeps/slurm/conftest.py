"""Planned runs by the dozen, a profile, a pretended Slurm, and a job in it with its workers."""

from __future__ import annotations

import functools
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.records import canonical
from model.training.spec import run_id
from sweeps.layout import run_folder
from sweeps.planned import Plan, PlannedRun
from sweeps.pool import Place
from sweeps.slurm import job
from sweeps.slurm.job import serve
from sweeps.slurm.limits import Limits
from sweeps.slurm.profile import Profile, Resources
from sweeps.slurm.states import look
from sweeps.slurm.submission import load_submission
from sweeps.slurm.submit import draft_jobs, submit
from sweeps.slurm.turns import attend
from tests.sweeps.slurm.fake import FakeSlurm, fake_slurm

# Trains as the file `behave` says: "train", "die" (at once), or "hang" until it is asked to save.
WORKER = """
import json, os, signal, sys, time
from pathlib import Path
here = Path(__file__).parent
def tell(**message): print(json.dumps(message), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    home = Path(order["run_folder"])
    about = {"run_id": home.name}
    (here / f"gpu-{home.name}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
    act = (here / "behave").read_text()
    if act == "die":
        print("no memory left", file=sys.stderr, flush=True)
        os._exit(9)
    if act == "hang":
        def stop(*_):
            (home / "checkpoints" / "step-0000000007").mkdir(parents=True)
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        (here / f"hanging-{home.name}").touch()
        time.sleep(60)
    (home / "result.json").write_text((here / f"{home.name}.json").read_text())
    tell(event="done", loss=3.5, message="finished", **about)
"""


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


class Allocated:
    """A submitted ladder and the environment of its job."""

    def __init__(self, place: Path, folder: Path, plan: Plan, stage: Path) -> None:
        self.place, self.folder, self.plan, self.stage = place, folder, plan, stage

    def behave(self, how: str) -> None:
        (self.stage / "behave").write_text(how)

    def home(self, number: int) -> Path:
        return run_folder(self.folder, str(self.plan.ladder[number].run_id))

    def serve_until_signalled(self, number: signal.Signals) -> int:
        """Serve in this thread; another sends the signal once all workers hang."""

        def send() -> None:
            limit = time.monotonic() + 20
            while len(list(self.stage.glob("hanging-*"))) < 2 and time.monotonic() < limit:
                time.sleep(0.02)
            os.kill(os.getpid(), number)

        threading.Thread(target=send, daemon=True).start()
        before = {each: signal.getsignal(each) for each in (signal.SIGUSR2, signal.SIGTERM)}
        try:
            return attend(lambda: serve(self.place, "ladder-0"))
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


@pytest.fixture
def allocated(
    folder: Path,
    resolved: Plan,
    profile: Profile,
    slurm: FakeSlurm,
    tmp_path: Path,
    result_of: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> Allocated:
    """The ladder's three runs in one job of two slots, from inside that job."""
    draft = draft_jobs(resolved, look(folder, ids(resolved)), profile, Limits(), needs=("seal",))
    added = submit(
        draft, folder, folder / "plan.json", profile, data_folder=folder, chain="workbench.stages"
    )
    assert added is not None
    stage = tmp_path / "stage"
    stage.mkdir()
    (stage / "worker.py").write_text(textwrap.dedent(WORKER))
    for run in resolved.runs:
        (stage / f"{run.run_id}.json").write_text(canonical(result_of(run)))
    command = (sys.executable, str(stage / "worker.py"))
    monkeypatch.setattr(job, "Place", functools.partial(Place, command=command))
    for name, value in {
        "SLURM_JOB_ID": "9",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "0",
        "SLURMD_NODENAME": "n1",
    }.items():
        monkeypatch.setenv(name, value)
    found = Allocated(added[0], folder, resolved, stage)
    found.behave("train")
    slurm.forget_calls()
    return found
