"""The local backend against a worker that pretends to train."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from sweeps import pool
from sweeps.layout import run_folder
from sweeps.local import train_runs
from sweeps.lock import SweepBusy, hold
from sweeps.planned import Plan
from sweeps.pool import Event
from sweeps.progress import SweepProgress, clock
from sweeps.status import status
from sweeps.worker_process import settings

ROOT = Path(__file__).resolve().parents[2]

# Behaves as the file `behave` beside its script says for a run's id: die, fail, hang, lie, locked.
WORKER = """
import json, os, signal, sys, time
from pathlib import Path
here = Path(__file__).parent
assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("a library prints this", flush=True)
def tell(**message): print(json.dumps(message), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    home = Path(job["run_folder"])
    spec = json.loads(Path(job["spec"]).read_text())
    with (here / "order").open("a") as file: file.write(home.name + "\\n")
    behave = json.loads((here / "behave").read_text()).get(home.name, [])
    attempt = (here / "order").read_text().split().count(home.name)
    act = behave[attempt - 1] if attempt <= len(behave) else "train"
    about = {"run_id": home.name, "steps": spec["steps"]}
    tell(event="progress", step=spec["steps"] // 2, loss=5.0, eta=1.0, **about)
    if act == "die":
        print("no memory left", file=sys.stderr, flush=True)
        os._exit(9)
    if act == "fail":
        tell(event="failed", message="bad spec", **about)
        continue
    if act == "locked":
        tell(event="locked", message="held by n7\\nwait", **about)
        continue
    if act == "hang":
        def stop(*_): (home / "saved").touch(); sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        (here / "hanging").write_text(str(os.getpid()))
        time.sleep(60)
    if act != "lie":
        (home / "result.json").write_text((here / f"{home.name}.json").read_text())
    tell(event="done", step=spec["steps"], loss=3.5, message="finished", **about)
"""


class Stage:
    """A fake worker's script and files, and a recorder of events."""

    def __init__(self, place: Path, planned: Plan, result: Callable[..., object]) -> None:
        from model.records import canonical

        place.mkdir()
        self.place, self.events = place, list[Event]()
        (place / "worker.py").write_text(textwrap.dedent(WORKER))
        self.command = (sys.executable, str(place / "worker.py"))
        for run in planned.runs:
            (place / f"{run.run_id}.json").write_text(canonical(result(run)))
        self.behave({})

    def behave(self, plan: dict[str, list[str]]) -> None:
        (self.place / "behave").write_text(json.dumps(plan))

    @property
    def order(self) -> list[str]:
        path = self.place / "order"
        return path.read_text().split() if path.exists() else []

    def kinds(self, run_id: str | None) -> list[str]:
        return [event.kind for event in self.events if event.run.run_id == run_id]


@pytest.fixture
def stage(tmp_path: Path, resolved: Plan, result_of: Callable[..., object]) -> Stage:
    return Stage(tmp_path / "stage", resolved, result_of)


def train(stage: Stage, planned: Plan, folder: Path, workers: int = 1) -> dict[str, str]:
    outcome = train_runs(
        planned.ladder,
        data_folder=folder,
        folder=folder,
        workers=workers,
        ledger_head="head",
        listen=stage.events.append,
        command=stage.command,
    )
    assert len(outcome.done) + len(outcome.failed) == len(planned.ladder)
    return outcome.failed


def test_trains_longest_first_and_a_second_call_trains_nothing(
    stage: Stage, resolved: Plan, folder: Path
) -> None:
    assert train(stage, resolved, folder) == {}
    ids = [run.run_id for run in resolved.ladder]
    assert sorted(stage.order) == sorted(map(str, ids))
    assert stage.order[0] == ids[2]  # the larger budget
    assert stage.kinds(ids[0]) == ["started", "progress", "done"]
    stage.events.clear()
    assert train(stage, resolved, folder) == {}
    assert len(stage.order) == 3
    assert {event.kind for event in stage.events} == {"skipped"}


def test_dead_worker_is_replaced_and_its_run_tried_again(
    stage: Stage, resolved: Plan, folder: Path
) -> None:
    first, second = (str(run.run_id) for run in resolved.ladder[:2])
    stage.behave({first: ["die", "die"], second: ["die", "die", "die"]})
    failed = train(stage, resolved, folder, workers=2)
    assert set(failed) == {second} and "3 times" in failed[second]
    assert stage.kinds(first).count("retried") == 2 and stage.kinds(first)[-1] == "done"
    record = json.loads((run_folder(folder, second) / "failed.json").read_text())
    assert "no memory left" in record["log"]
    assert status(folder).set_index("run_id")["state"][second] == "failed"
    assert train(stage, resolved, folder) == {}  # the next call tries it again
    assert not (run_folder(folder, second) / "failed.json").exists()


def test_failure_and_a_lie_are_recorded_and_the_others_go_on(
    stage: Stage, resolved: Plan, folder: Path
) -> None:
    first, second = (str(run.run_id) for run in resolved.ladder[:2])
    stage.behave({first: ["fail"], second: ["lie"]})
    failed = train(stage, resolved, folder)
    assert failed == {first: "bad spec", second: "told it was done without a result"}


def test_a_run_that_its_worker_finds_held_is_told_and_tried_again(
    stage: Stage, resolved: Plan, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LOCKED_SECONDS", 0)
    first = str(resolved.ladder[0].run_id)
    stage.behave({first: ["locked"]})
    assert train(stage, resolved, folder) == {}
    once = ["started", "progress"]
    assert stage.kinds(first) == [*once, "locked", *once, "done"]
    assert [event.message for event in stage.events if event.kind == "locked"] == ["held by n7"]


def test_an_unreadable_result_fails_its_run_alone(
    stage: Stage, resolved: Plan, folder: Path, finish: Callable[..., Path]
) -> None:
    ids = [str(run.run_id) for run in resolved.ladder]
    (finish(folder, resolved.ladder[0]) / "result.json").write_text("")
    place = pool.Place(folder=folder, data_folder=folder, logs=folder, command=stage.command)
    workers = pool.Pool(place)
    workers.add(resolved.ladder)
    workers.train(1)
    workers.stop(now=False)
    assert set(workers.failed) == {ids[0]} and "result.json" in workers.failed[ids[0]]
    assert sorted(workers.done) == sorted(ids[1:])
    assert (run_folder(folder, ids[0]) / "failed.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_workers_save_and_end_and_the_next_call_goes_on(
    stage: Stage, resolved: Plan, folder: Path, number: signal.Signals
) -> None:
    target = str(resolved.ladder[0].run_id)
    stage.behave({str(run.run_id): ["hang"] for run in resolved.ladder})
    script = (
        "from pathlib import Path; from sweeps.local import train_runs; "
        f"from sweeps.planned import load_plan; f = Path({str(folder)!r}); "
        f"train_runs(load_plan(f).ladder[:1], data_folder=f, folder=f, workers=1, "
        f"command={stage.command!r})"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    hanging = stage.place / "hanging"
    wait_for(lambda: hanging.exists() and hanging.read_text() != "")
    with pytest.raises(SweepBusy, match=rf"pid {parent.pid} on"):
        train(stage, resolved, folder)
    parent.send_signal(number)
    parent.communicate(timeout=20)
    assert parent.returncode != 0
    assert (run_folder(folder, target) / "saved").exists()
    wait_for(lambda: not alive(int(hanging.read_text())))
    stage.behave({})
    assert train(stage, resolved, folder) == {}


def test_worker_settings_fix_the_threads_and_leave_the_wait_policy_alone() -> None:
    # OMP_WAIT_POLICY=PASSIVE halves the speed of small products on idle cores.
    assert settings(3) == ("OMP_NUM_THREADS=3", "MKL_NUM_THREADS=3")


def test_run_that_another_process_still_trains_is_waited_for(
    stage: Stage, resolved: Plan, folder: Path, finish: Callable[..., Path]
) -> None:
    import threading

    run = resolved.ladder[0]
    home = run_folder(folder, str(run.run_id))

    def orphan() -> None:
        with hold(home, "lock"):
            started.set()
            time.sleep(1.5)
            finish(folder, run)

    started = threading.Event()
    thread = threading.Thread(target=orphan)
    thread.start()
    started.wait()
    assert train(stage, resolved, folder) == {}
    thread.join()
    assert run.run_id not in stage.order


def test_corrupt_result_stops_before_anything_is_trained(
    stage: Stage, resolved: Plan, folder: Path, finish: Callable[..., Path]
) -> None:
    home = finish(folder, resolved.ladder[0])
    (home / "result.json").write_text("{")
    with pytest.raises(ValueError, match=r"result\.json"):
        train(stage, resolved, folder)
    assert stage.order == []


def test_progress_counts_flops_and_prints_lines_where_there_is_no_terminal(
    stage: Stage, resolved: Plan, folder: Path
) -> None:
    text = io.StringIO()
    with SweepProgress(resolved.ladder, Console(file=text)) as bars:
        train_runs(
            resolved.ladder, data_folder=folder, folder=folder, workers=1, listen=bars,
            command=stage.command,
        )  # fmt: skip
        assert bars.share() == 1
    lines = text.getvalue().strip().splitlines()
    assert len(lines) == 3 and lines[-1].startswith("100%") and "loss 3.5" in lines[-1]
    with SweepProgress(resolved.ladder, Console(file=text, force_terminal=True)) as bars:
        train_runs(
            resolved.ladder, data_folder=folder, folder=folder, workers=1, listen=bars,
            command=stage.command,
        )  # fmt: skip
        assert bars.share() == 1 and bars.eta() is None  # nothing was trained, so no pace
    assert (clock(59.6), clock(3725)) == ("1:00", "1:02:05")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.02)
