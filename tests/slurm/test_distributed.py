"""A target over two nodes of two tasks on a real cluster: in turns, after a death, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.training.metrics import read_metrics
from model.training.result import load_result
from sweeps.layout import run_folder
from sweeps.planned import load_plan
from sweeps.slurm import attempts
from sweeps.slurm.submission import load_submission
from tests.slurm.lab import Lab
from tests.slurm.processes import with_environment
from tests.workbench.tiny import NAME, ROOT, write_sweep
from workbench import ledger

PROFILE = """
partition = "main"
pack_minutes = 1
signal_seconds = 30
stalls = 10
[ladder]
cpus = 2
memory = "1200M"
time = "0:05:00"
[target]
nodes = 2
tasks_per_node = 2
cpus = 2
memory = "2400M"
time = "0:05:00"
[service]
memory = "1200M"
time = "0:05:00"
"""
# Nats per token. Every token chooses one of two experts, and one near a tie may choose otherwise
# on four ranks than on one, as it does where the first weights are moved by their last bit.
CHOICE = 0.03
ALONE = (
    "import sys; from pathlib import Path; from sweeps.local import train_runs; "
    "from sweeps.planned import load_plan; plan = load_plan(Path(sys.argv[1])); "
    "data, = Path(sys.argv[1]).parent.glob('data/*/'); "
    "train_runs([plan.target], data_folder=data, folder=Path(sys.argv[2]), workers=1)"
)


def wait_until_it_trains(cluster: Lab, home: Path, starts: int) -> None:
    """Until the run has a line of training of its n-th start."""

    def trains() -> bool:
        kinds = [line["kind"] for line in read_metrics(home / "metrics.jsonl")]
        opened = [at for at, kind in enumerate(kinds) if kind in ("start", "resume")]
        return len(opened) == starts and "train" in kinds[opened[-1] :]

    cluster.wait(trains)


def test_a_target_on_four_ranks_in_turns_after_a_death_and_once(
    cluster: Lab, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    sweep = write_sweep(tmp_path, ("flops = 5e9", "flops = 1.2e10"))
    profile, folder = tmp_path / "two-nodes.toml", tmp_path / "runs" / NAME
    profile.write_text(PROFILE)
    words = ("submit", sweep, "--runs", tmp_path / "runs", "--profile", profile)
    told = cluster.told(*words, "--dry-run")["scripts"]["target-0"]
    assert "#SBATCH --nodes=2" in told and "#SBATCH --ntasks-per-node=2" in told
    cluster.told(*words)
    run = load_plan(folder).target
    home = run_folder(folder, str(run.run_id))

    wait_until_it_trains(cluster, home, starts=1)
    job = f"{load_submission(folder / 'slurm' / '0001').job('target-0').job_id}_0"
    cluster.client("scancel", "--signal=USR2", job)  # as near the limit: to every task
    wait_until_it_trains(cluster, home, starts=2)
    first, second = attempts.read(home)
    assert (first.how, first.job, second.job) == ("stopped", job, job)  # requeued
    assert 0 == first.step < second.step < run.steps

    conf = f"SLURM_CONF={cluster.environment['SLURM_CONF']}"
    (last,) = with_environment((conf, "SLURM_PROCID=3"))
    killed = time.monotonic()
    os.kill(last, signal.SIGKILL)
    cluster.wait(lambda: cluster.queue().get(job) != "RUNNING", 60)
    assert time.monotonic() - killed < 30
    assert load_result(home) is None and not (home / "failed.json").exists()

    cluster.wait(lambda: not cluster.queue(), 300)  # requeued by itself once more
    subprocess.run([sys.executable, "-c", ALONE, folder, tmp_path / "alone"], cwd=ROOT, check=True)
    result, expected = load_result(home), load_result(tmp_path / "alone" / str(run.run_id))
    assert result is not None and result.loss is not None and expected is not None
    assert result.loss == pytest.approx(expected.loss, abs=CHOICE)
    assert (result.world_size, expected.world_size) == (4, 1)
    assert (result.run_id, result.tokens, result.images, result.epochs) == (
        (expected.run_id, expected.tokens, expected.images, expected.epochs)
    )
    found = attempts.read(home)
    assert found[2].job == job and found[-1].how == "done" and found[-1].devices == 4
    assert not (folder / "slurm" / "0002").exists()
    assert [line.get("final") for line in read_metrics(home / "metrics.jsonl")].count(True) == 1
    assert (home / "log.txt").read_text().count("finished with loss") == 1
    kinds = [entry.kind for entry in ledger.read(tmp_path / "runs" / "ledger.jsonl").entries]
    assert kinds == ["prediction", "prediction", "target_started", "target_finished"]
    assert json.loads((folder / "report.json").read_text())["sealed_before_target"] is True
    for one in load_plan(folder).ladder:  # one task each, as ever
        of_ladder = load_result(run_folder(folder, str(one.run_id)))
        assert of_ladder is not None and of_ladder.world_size == 1
