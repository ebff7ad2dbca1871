"""Slurm's states and reasons in our words, the same for a run's job and for one of the chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sweeps.slurm.attempts import Attempt
from sweeps.slurm.query import ENDED, JobState

WAITS = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
ENDED_BADLY = {*ENDED.values()} - {"cancelled"}
HELD_BACK = "what it waited for failed"

# Why a job waits, where Slurm's word does not say it.
REASONS = {
    "BeginTime": "Slurm lets a job that came back into the queue wait for a minute or two",
    "Dependency": "it waits for other jobs of the sweep",
    "JobArrayTaskLimit": "as many jobs of its array run as the profile's throttle allows",
    "Priority": "other jobs come first",
    "Resources": "it is next, when enough nodes are free",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "PartitionDown": "its partition starts no jobs",
}
# Why it will not start as long as job and cluster are as they are; "PerJob" is of the same kind.
HOPELESS = {
    "PartitionConfig": "no node of the partition is that large",
    "PartitionTimeLimit": "its time is above the partition's limit",
    "PartitionNodeLimit": "it has more nodes, or fewer, than the partition allows",
    "BadConstraints": "no node meets its constraint",
    "AccountNotAllowed": "its account may not use the partition",
    "QOSNotAllowed": "its qos may not use the partition",
    "InvalidAccount": "Slurm does not know its account",
    "InvalidQOS": "Slurm does not know its qos",
}
PER_JOB = "it is larger than its account or qos allows of one job"


def job_words(job: JobState | None, job_id: str | None, answered: bool) -> tuple[str, str]:
    """(state, reason) of a job by what Slurm says, `job_id` by our record; ("", ""): nobody knows.

    A job at work is "waiting": whether its runs train, their folders say.
    """
    if job is None:
        if not answered:
            return "", ""
        if job_id is None:
            return "not_submitted", "sbatch did not take its job"
        return "lost", "Slurm does not know its job"
    if job.held_back:
        return "held_back", HELD_BACK if "Dependency" in job.reason else job.reason
    if job.state == "SUSPENDED":
        return "suspended", f"on {job.node}"
    if job.state in WAITS:
        return "pending", job.reason
    if job.living:
        return "waiting", f"in job {job.job_id} on {job.node}"
    reason = job.reason if job.reason not in ("", "NonZeroExitCode") else ""
    if job.state == "COMPLETED":
        reason = "its job completed without it"
    return ENDED.get(job.state, "failed"), reason or f"job {job.job_id}"


def why_back(reason: str, starts: list[Attempt]) -> str:
    """Why a run waits again that has started: "after start 2: preempted", behind Slurm's reason.

    Without Slurm's where that only says that the job came back.
    """
    if not starts:
        return reason
    last = starts[-1]
    cause = last.why if last.how else "killed, or its node lost"  # it ended without a word
    told = f"after start {len(starts)}" + (f": {cause}" if cause else "")
    return told if reason in ("", "BeginTime") else f"{reason}, {told}"


def explained(reasons: Iterable[str]) -> dict[str, str]:
    """What Slurm's reasons for waiting mean, each once; those without a meaning are left out."""
    words = dict.fromkeys(_word(reason) for reason in reasons)
    return {word: REASONS[word] for word in words if word in REASONS}


def hopeless(reasons: Iterable[str], folder: Path) -> list[str]:
    """What to do about runs that wait for what will not come; a line a reason."""
    counts = Counter(_word(reason) for reason in reasons)
    found = {word: HOPELESS.get(word, PER_JOB if "PerJob" in word else "") for word in counts}
    return [
        f"{counts[word]} run(s) wait for {word} and will not start: {meaning}; correct the "
        f"profile, `workbench cancel --all {folder}`, then submit again"
        for word, meaning in found.items()
        if meaning
    ]


def _word(reason: str) -> str:
    """Slurm's word, without the nodes or starts behind it."""
    return reason.partition(",")[0]
