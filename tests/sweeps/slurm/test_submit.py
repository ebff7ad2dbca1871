"""What is submitted, in which order and behind what; nothing twice."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.training.spec import model_source_hash
from sweeps.layout import PLAN_NAME
from sweeps.planned import Plan
from sweeps.slurm.cancel import scancel
from sweeps.slurm.limits import Limits
from sweeps.slurm.profile import Profile
from sweeps.slurm.script import SubmissionFailed
from sweeps.slurm.states import look
from sweeps.slurm.submission import load_submission, next_place, slurm_folder, submissions
from sweeps.slurm.submit import Draft, draft_jobs, scripts, submit
from tests.sweeps.slurm.conftest import ids
from tests.sweeps.slurm.fake import FakeSlurm

pytest.importorskip("submitit")

ALL = ("seal", "report")
Submit = Callable[..., Path | None]


class Cluster:
    """A sweep's folder and the queue that holds what was submitted of it."""

    def __init__(self, folder: Path, plan: Plan, profile: Profile, slurm: FakeSlurm) -> None:
        self.folder, self.plan, self.profile, self.slurm = folder, plan, profile, slurm
        self.told: list[str] = []

    def draft(self, *needs: Any, **limits: int) -> Draft:
        view = look(self.folder, ids(self.plan))
        return draft_jobs(self.plan, view, self.profile, Limits(**limits), needs=needs)

    def submit(self, *needs: Any, **limits: int) -> Path | None:
        added = submit(
            self.draft(*needs, **limits),
            self.folder,
            self.folder / PLAN_NAME,
            self.profile,
            data_folder=self.folder,
            chain="workbench.stages",
            tell=self.told.append,
        )
        return added[0] if added else None

    def queue(self, **states: str) -> None:
        """The queue holds every submitted job, in a state by kind (PENDING where not given)."""
        lines = []
        for _, record in submissions(self.folder):
            for job in record.jobs:
                if job.job_id is None:
                    continue
                state = states.get(job.kind, "PENDING")
                ids = [f"{job.job_id}_{at}" for at in range(len(job.tasks))] or [job.job_id]
                lines += [f"{job.name}|{one}|{state}|None|" for one in ids]
        self.slurm.answer("squeue", "\n".join(lines) + "\n")


@pytest.fixture
def cluster(folder: Path, resolved: Plan, profile: Profile, slurm: FakeSlurm) -> Cluster:
    return Cluster(folder, resolved, profile, slurm)


def test_the_whole_chain_is_submitted_in_order_and_on_record(cluster: Cluster) -> None:
    place = cluster.submit(*ALL)
    assert place is not None and place.name == "0001"
    record = load_submission(place)
    jobs = [(job.label, job.job_id, job.dependency) for job in record.jobs]
    assert jobs == [
        ("ladder-0", "1", None),
        ("seal", "2", "afterany:1"),
        ("target-0", "3", "afterok:2"),
        ("report", "4", "afterany:3"),
    ]
    trained = [run for job in record.jobs for task in job.tasks for run in task]
    assert sorted(trained) == sorted(str(run.run_id) for run in cluster.plan.runs)
    assert record.model_source == model_source_hash()
    for path in ("code/model/training/loop.py", "code/sweeps/profiles/cpu.toml", "plan.json"):
        assert (place / path).is_file()
    assert len({job.name for job in record.jobs}) == 4


def test_the_script_says_what_the_profile_asks_and_the_dry_run_is_exact(cluster: Cluster) -> None:
    draft = cluster.draft(*ALL)
    told = scripts(draft, next_place(cluster.folder), "small", cluster.profile, "workbench.stages")
    assert not (cluster.folder / "slurm").exists() and cluster.slurm.calls("sbatch") == []
    place = cluster.submit(*ALL)
    assert place is not None
    record = load_submission(place)
    for job in record.jobs:
        written = (place / "jobs" / f"{job.job_id}_submission.sh").read_text()
        expected = told[job.label].replace(f"small-0001-{job.label}-000000", job.name)
        for other in record.jobs:
            expected = expected.replace(f"<{other.label}>", str(other.job_id))
        assert written.replace("'", "") == expected.replace("'", "")
    ladder = told["ladder-0"]
    for line in (
        "#SBATCH --array=0-0%1",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --mem=1G",
        "#SBATCH --time=10",
        "#SBATCH --partition=main",
        "#SBATCH --signal=USR2@60",
        "#SBATCH --requeue",
        f"#SBATCH --chdir={place / 'code'}",
        f"export PYTHONPATH={place / 'code'}",
    ):
        assert line in ladder.splitlines()
    assert "--cpus-per-task=2" in ladder.split("srun", 1)[1] and "wckey" not in ladder
    assert f"-m sweeps.slurm.entry sweeps.slurm.job {place} ladder-0" in ladder
    assert "#SBATCH --signal=USR2@60" in told["target-0"]
    assert "--signal" not in told["seal"] and "--signal" not in told["report"]
    assert "#SBATCH --kill-on-invalid-dep=yes" in told["target-0"]
    assert f"-m sweeps.slurm.entry workbench.stages target {place} target-0" in told["target-0"]


def test_gpus_setup_and_more_stand_in_the_script(cluster: Cluster) -> None:
    from dataclasses import replace

    gpu = replace(cluster.profile.ladder, gpus=2, gpu_type="h100", constraint="ib", account="team")
    profile = replace(
        cluster.profile,
        ladder=gpu,
        setup=("module load cuda",),
        srun=("--cpu-bind=none",),
        sbatch={"reservation": "night"},
        python="apptainer exec image.sif python",
    )
    draft = Cluster(cluster.folder, cluster.plan, profile, cluster.slurm).draft(*ALL)
    text = scripts(draft, cluster.folder / "slurm/0001", "small", profile, "m")["ladder-0"]
    for part in (
        "--gpus-per-node=h100:2",
        "--constraint=ib",
        "--account=team",
        "--reservation=night",
        "\nmodule load cuda\n",
        "--cpu-bind=none apptainer exec image.sif python -u -m sweeps.slurm.entry sweeps.slurm.job",
    ):
        assert part in text


def test_a_second_submit_adds_nothing_while_all_is_queued_or_done(
    cluster: Cluster, finish: Callable[..., Path]
) -> None:
    cluster.submit(*ALL)
    cluster.queue(ladder="RUNNING")
    before = len(cluster.slurm.calls("sbatch"))
    assert cluster.submit(*ALL) is None
    for run in cluster.plan.runs:
        finish(cluster.folder, run)
    cluster.slurm.answer("squeue", "")
    assert cluster.submit() is None
    assert len(cluster.slurm.calls("sbatch")) == before
    assert [place.name for place, _ in submissions(cluster.folder)] == ["0001"]


def test_only_what_is_missing_is_submitted_again_and_the_seal_waits_for_it(
    cluster: Cluster, finish: Callable[..., Path]
) -> None:
    cluster.submit(*ALL)
    done, *failed = cluster.plan.ladder
    finish(cluster.folder, done)
    cluster.queue(ladder="NODE_FAIL")
    place = cluster.submit(*ALL)
    assert place is not None and place.name == "0002"
    (job,) = load_submission(place).jobs  # the old seal, target and report are still queued
    assert sorted(run for task in job.tasks for run in task) == sorted(
        str(run.run_id) for run in failed
    )
    updates = [words for words in cluster.slurm.calls("scontrol") if words[0] == "update"]
    assert updates == [["update", "JobId=2", f"Dependency=afterany:{job.job_id}"]]


def test_a_new_chain_waits_for_ladder_jobs_that_are_still_queued(cluster: Cluster) -> None:
    cluster.submit(*ALL)
    cluster.queue(seal="FAILED", target="CANCELLED", report="CANCELLED")
    place = cluster.submit(*ALL)
    assert place is not None
    found = [(job.label, job.dependency) for job in load_submission(place).jobs]
    assert found == [("seal", "afterany:1"), ("target-0", "afterok:5"), ("report", "afterany:6")]


def test_a_seal_that_failed_is_not_waited_for_while_its_epilog_runs(cluster: Cluster) -> None:
    cluster.submit(*ALL)
    cluster.queue(ladder="COMPLETED", seal="COMPLETING", target="CANCELLED", report="CANCELLED")
    listed = (cluster.slurm.place / "squeue.txt").read_text()
    assert [step.label for step in cluster.draft(*ALL).steps if step.kind == "seal"] == []
    cluster.slurm.answer("squeue", listed.replace("COMPLETING|None", "COMPLETING|NonZeroExitCode"))
    found = [step.label for step in cluster.draft(*ALL).steps]
    assert found[-3:] == ["seal", "target-0", "report"]


def test_sealed_targets_wait_for_nothing(cluster: Cluster, finish: Callable[..., Path]) -> None:
    for run in cluster.plan.ladder:
        finish(cluster.folder, run)
    place = cluster.submit("report")
    assert place is not None
    found = [(job.label, job.dependency) for job in load_submission(place).jobs]
    assert found == [("target-0", None), ("report", "afterany:1")]


def test_refused_by_sbatch_keeps_what_was_taken_and_adds_the_rest_later(cluster: Cluster) -> None:
    cluster.slurm.refuse(3)
    with pytest.raises(SubmissionFailed, match=r"AssocMaxSubmitJobLimit.*\n.*adds the rest"):
        cluster.submit(*ALL)
    ((_, record),) = submissions(cluster.folder)
    assert [job.job_id for job in record.jobs] == ["1", "2", None, None]
    cluster.queue()
    cluster.slurm.refuse()
    place = cluster.submit(*ALL)
    assert place is not None
    found = [(job.label, job.dependency) for job in load_submission(place).jobs]
    assert found == [("target-0", "afterok:2"), ("report", "afterany:3")]


def test_a_job_whose_id_was_never_written_down_is_found_by_its_name(cluster: Cluster) -> None:
    place = cluster.submit(*ALL)
    assert place is not None
    cluster.queue()
    path = place / "submission.json"
    record = json.loads(path.read_text())
    for job in record["jobs"]:
        job["job_id"] = None  # as if the submitting process had died after sbatch
    path.write_text(json.dumps(record))
    assert cluster.submit(*ALL) is None


def test_another_throttle_is_given_to_queued_arrays(cluster: Cluster) -> None:
    from dataclasses import replace

    cluster.submit(*ALL)
    cluster.queue()
    cluster.profile = replace(cluster.profile, throttle=2)
    cluster.told.clear()
    for _ in range(2):  # the second finds it done
        assert cluster.submit(*ALL) is None
    assert cluster.told == ["job 1: throttle 8 -> 2", "job 3: throttle 8 -> 2"]
    updates = [words for words in cluster.slurm.calls("scontrol") if words[0] == "update"]
    assert ["update", "JobId=1", "ArrayTaskThrottle=2"] in updates
    assert ["update", "JobId=3", "ArrayTaskThrottle=2"] in updates and len(updates) == 2


def test_a_full_disk_leaves_no_half_submission(
    cluster: Cluster, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left") as raised:
            cluster.submit("seal", "report")
    assert str(raised.value.filename).endswith("slurm/0001")
    assert slurm.calls("sbatch") == [] and not list(slurm_folder(cluster.folder).glob("[0-9]*"))
    place = cluster.submit("seal", "report")
    assert place is not None and place.name == "0001"


def test_room_in_the_queue_is_left_for_the_chain(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="may add 0 jobs"):
        cluster.draft(*ALL, room=3)
    assert [len(array.tasks) for array in cluster.draft(*ALL, room=4).arrays] == [1, 1]


def test_a_job_that_submits_does_not_pass_its_own_variables_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPU_BIND", "mask_cpu:0x1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    for name in ("SLURM_JOB_ID", "SLURM_CLUSTERS"):
        monkeypatch.setenv(name, "1")
    cluster.submit(*ALL)
    assert cluster.slurm.environment("sbatch") == ["SLURM_CONF"]


def test_every_client_sees_the_users_cluster_and_sbatch_what_the_profile_leaves_open(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SQUEUE_PARTITION", "SQUEUE_USERS", "SACCT_FORMAT", "SCANCEL_STATE"):
        monkeypatch.setenv(name, "other")
    for name in ("SBATCH_JOB_NAME", "SBATCH_PARTITION", "SBATCH_ACCOUNT", "SLURM_CLUSTERS"):
        monkeypatch.setenv(name, "mine")
    cluster.submit(*ALL)
    assert cluster.slurm.environment("sbatch") == ["SBATCH_ACCOUNT", "SLURM_CLUSTERS"]
    cluster.queue(ladder="FAILED")
    cluster.submit(*ALL)  # asks, and lets the seal wait
    cluster.slurm.answer("squeue", "")
    look(cluster.folder, ids(cluster.plan))
    scancel(["1"])
    for client in ("squeue", "sacct", "scontrol", "scancel"):
        assert cluster.slurm.environment(client) == ["SLURM_CLUSTERS"]
