"""What Slurm says of jobs: one squeue, then one sacct for what that no longer knows. Both optional.

Jobs are asked for by name, since an id may be handed out again by a controller that forgot a job.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sweeps.slurm.client import call

SQUEUE_FORMAT = "%j|%i|%T|%r|%N"
SACCT_FORMAT = "JobName,JobID,State,ExitCode,NodeList"
TIMEOUT_SECONDS = 30.0  # a restarting controller answers after nine
# Slurm's words for jobs that ended, and ours; whatever else it says, the job is in the queue.
ENDED = {
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "OUT_OF_MEMORY": "out_of_memory",
    "NODE_FAIL": "node_fail",
    "BOOT_FAIL": "node_fail",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "FAILED": "failed",
    "COMPLETED": "lost",
}

# Why a waiting job never starts: what it waited for failed, or its node could not launch it.
NEVER = ("DependencyNeverSatisfied", "launch failed requeued held")

# Why a completing job has failed.
FAILED = ("NonZeroExitCode", "TimeLimit", "OutOfMemory")

Key = tuple[str, int | None]  # job name, and the index in its array


@dataclass(frozen=True, slots=True)
class JobState:
    """How one job, or one job of an array, stands."""

    state: str  # Slurm's word, such as "OUT_OF_MEMORY", and nothing behind it
    reason: str  # why it waits, or how it ended; may be empty
    node: str
    job_id: str

    @property
    def queued(self) -> bool:
        """Whether it is in the queue."""
        return self.state not in ENDED

    @property
    def living(self) -> bool:
        """Whether it is in the queue, waiting or at work."""
        return self.queued and not self.stuck and not self._failed

    @property
    def stuck(self) -> bool:
        """Whether it is in the queue and will never start by itself."""
        return self.queued and self._never

    @property
    def cancelled(self) -> bool:
        """Whether a person cancelled it; Slurm alone cancels what could never start."""
        return self.state in ("CANCELLED", "REVOKED") and not self._never

    @property
    def held_back(self) -> bool:
        """Whether it never started, and will not, since what it waited for failed."""
        return self._never and (self.state in ("CANCELLED", "REVOKED") or NEVER[0] in self.reason)

    @property
    def _failed(self) -> bool:
        """Whether only its epilog still runs after it failed; what is requeued has no reason."""
        return self.state == "COMPLETING" and self.reason in FAILED

    @property
    def _never(self) -> bool:
        told = self.reason.replace("_", " ")
        return any(reason in told for reason in NEVER)


@dataclass(frozen=True, slots=True)
class Queue:
    """All answers; `answered` False: nobody knows what runs."""

    states: Mapping[Key, JobState] = field(default_factory=dict)
    answered: bool = False
    problems: tuple[str, ...] = ()

    def get(self, name: str, index: int | None) -> JobState | None:
        """The state of a job by its name, None where Slurm does not know it."""
        return self.states.get((name, index))


def ask(names: Mapping[str, Sequence[int | None]], since: float) -> Queue:
    """The states of the named jobs, of the array indices that are given for each (None: no array).

    `since`: seconds since 1970 before all of them were submitted. Never raises for what Slurm does.
    """
    if not names:
        return Queue(answered=True)
    if shutil.which("squeue") is None:
        return Queue(problems=("squeue is not installed here: states are from the folders alone",))
    listed = ",".join(names)
    found, problem = _call(
        ["squeue", "--states=all", "--noheader", "--array", f"--name={listed}", "-o", SQUEUE_FORMAT]
    )
    if problem:
        return Queue(problems=(f"squeue: {problem}; states are from the folders alone",))
    states = parse_squeue(found)
    wanted = {(name, index) for name, indices in names.items() for index in indices}
    gone = sorted({name for name, _ in wanted - states.keys()})
    if not gone or shutil.which("sacct") is None:
        return Queue(states, True)
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 3600))
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--starttime={start}"]
    found, problem = _call([*command, f"--name={','.join(gone)}", f"--format={SACCT_FORMAT}"])
    problems = (f"sacct: {problem}; how older jobs ended is not known",) if problem else ()
    # What lives for sacct alone was forgotten by its controller, and stays so for ever.
    ended = {key: job for key, job in parse_sacct(found).items() if not job.queued}
    return Queue(ended | states, True, problems)


def parse_squeue(text: str) -> dict[Key, JobState]:
    """States by name and index, of lines in SQUEUE_FORMAT."""
    states: dict[Key, JobState] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != 5:
            continue
        name, job_id, state, reason, node = fields
        reason = "" if reason == "None" else reason
        for index in _indices(job_id):
            states[name, index] = JobState(_word(state), reason, node, _one(job_id, index))
    return states


def parse_sacct(text: str) -> dict[Key, JobState]:
    """States by name and index, of lines in SACCT_FORMAT; the last line of a job counts.

    A job that nobody cancelled is one that could never start: only Slurm itself gives no user.
    """
    states: dict[Key, JobState] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != 5:
            continue
        name, job_id, state, code, node = fields
        node = "" if node.startswith("None") else node
        reason = "" if code == "0:0" else f"exit {code}"
        if state.startswith("CANCELLED"):
            reason = state.partition(" ")[2] or NEVER[0]
        for index in _indices(job_id):
            states[name, index] = JobState(_word(state), reason, node, _one(job_id, index))
    return states


def _call(command: Sequence[str]) -> tuple[str, str]:
    """(output, what went wrong) of a client of Slurm."""
    try:
        done = call(*command, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {TIMEOUT_SECONDS:.0f} s"
    except OSError as error:
        return "", str(error)
    if done.returncode:
        told = done.stderr.strip().splitlines()
        return "", told[-1] if told else f"exit status {done.returncode}"
    return done.stdout, ""


def _word(state: str) -> str:
    """The state without what sacct writes behind it: "CANCELLED by 0", "CANCELLED+"."""
    return re.split(r"[ +]", state, maxsplit=1)[0]


def _indices(job_id: str) -> Iterable[int | None]:
    """The array indices of an id such as 12_3 or 12_[0-2,5%4]; [None] for one of no array."""
    _, line, tail = job_id.partition("_")
    if not line:
        return [None]
    found: list[int | None] = []
    for part in tail.strip("[]").partition("%")[0].split(","):
        low, _, high = part.partition("-")
        if low.isdigit():
            found.extend(range(int(low), int(high if high.isdigit() else low) + 1))
    return found


def _one(job_id: str, index: int | None) -> str:
    head = job_id.partition("_")[0]
    return head if index is None else f"{head}_{index}"
