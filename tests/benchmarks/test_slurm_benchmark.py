"""What the Slurm benchmark reads and counts; the benchmark itself needs a cluster."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks.measured import Row, machine, save
from benchmarks.slurm_jobs import allocations, watch
from benchmarks.slurm_queue import LADDER, RUNS, TARGET, calls_a_shape
from benchmarks.slurm_trial import CLIENTS, DATA, SWEEP, count_clients
from sweeps.plan import plan
from sweeps.slurm.profile import Resources
from sweeps.slurm.submission import Job
from sweeps.sweep_file import load_sweep

LOG = """\
[2026-11-22T23:12:50.134] _slurm_rpc_submit_batch_job: JobId=21 InitPrio=4294901739 usec=168
[2026-11-22T23:12:50.824] sched: Allocate JobId=21_0(25) NodeList=n1 #CPUs=1 Partition=main
[2026-11-22T23:12:59.197] _job_complete: JobId=21_0(25) WEXITSTATUS 0
[2026-11-22T23:13:07.092] sched/backfill: _start_job: Started JobId=21_12(27) in main on n1
[2026-11-22T23:13:08.092] sched: Allocate JobId=30 NodeList=n1 #CPUs=1 Partition=main
"""


def test_allocations_by_either_scheduler() -> None:
    found = allocations(LOG)
    assert set(found) == {"21_0", "21_12", "30"}
    assert found["21_12"] - found["21_0"] == pytest.approx(16.268)


def test_the_wide_sweep_has_a_thousand_runs(tmp_path: Path) -> None:
    path = tmp_path / "wide.toml"
    path.write_text(SWEEP.format(target=TARGET, ladder=LADDER, data=DATA))
    assert len(plan(load_sweep(path)).runs) == RUNS


def test_calls_are_counted_by_shape() -> None:
    small, large = Resources(), Resources(cpus=4)
    jobs = [
        Job(label=f"{at}", kind="ladder", name="", job_id=None, dependency=None,
            resources=each, slots=1, tasks=())
        for at, each in enumerate((small, large, Resources()))
    ]  # fmt: skip
    assert sorted(calls_a_shape(jobs)) == [1, 2]


def test_a_counted_client_is_the_client(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for name in CLIENTS:
        (real / name).write_text('#!/bin/sh\necho "$#" "$2"\nexit 3\n')
        (real / name).chmod(0o755)
    log = tmp_path / "calls"
    count_clients(tmp_path / "counted", log, str(real))
    command = [tmp_path / "counted" / "squeue", "--me", "two words"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.stdout, done.returncode) == ("2 two words\n", 3)
    assert log.read_text().split() == ["squeue", "squeue"]


def test_runs_are_watched_to_their_results(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in "ab"]
    for home in homes:
        home.mkdir()
        for name in ("metrics.jsonl", "result.json"):
            (home / name).write_text("")
    first, done = watch(homes)
    assert list(first) == list(done) == homes
    assert all(first[home] <= done[home] for home in homes)


def test_the_results_have_one_file(tmp_path: Path) -> None:
    path = save(tmp_path, "slurm", machine("Some CPU"), [Row(what="a", measured=1.0, at_most=1.0)])
    assert path.name == "slurm.json"
    assert json.loads(path.read_text())["rows"][0]["met"] is True
