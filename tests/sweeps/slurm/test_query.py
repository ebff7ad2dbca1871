"""What squeue and sacct print, as Slurm 22.05 printed it, and one query for all."""

from __future__ import annotations

from sweeps.slurm.query import JobState, ask, parse_sacct, parse_squeue
from tests.sweeps.slurm.fake import FakeSlurm

SQUEUE = """\
demo-0001-ladder-0-a1b2c3|41_0|RUNNING|None|n1
demo-0001-ladder-0-a1b2c3|41_1|PENDING|JobArrayTaskLimit|
demo-0001-ladder-0-a1b2c3|41_2|TIMEOUT|TimeLimit|n2
demo-0001-seal-d4e5f6|42|PENDING|Dependency|
"""
SACCT = """\
demo-0001-ladder-0-a1b2c3|41_3|CANCELLED by 1000|0:0|n1
demo-0001-seal-d4e5f6|42|CANCELLED|0:0|None assigned
demo-0001-ladder-0-a1b2c3|41_4|OUT_OF_MEMORY|0:125|n1
demo-0001-ladder-0-a1b2c3|41_5|NODE_FAIL|1:0|n3
demo-0001-ladder-0-a1b2c3|41_[6-8,10%4]|PENDING|0:0|None assigned
demo-0001-ladder-0-a1b2c3|41_11|FAILED|0:9|n2
"""
NAME, SEAL = "demo-0001-ladder-0-a1b2c3", "demo-0001-seal-d4e5f6"


def test_squeue_is_read_by_name_and_index() -> None:
    states = parse_squeue(SQUEUE + "\nslurm_load_jobs: noise\n")
    assert states[NAME, 0] == JobState("RUNNING", "", "n1", "41_0")
    assert states[NAME, 1] == JobState("PENDING", "JobArrayTaskLimit", "", "41_1")
    assert states[SEAL, None].job_id == "42"
    assert [states[NAME, at].living for at in range(3)] == [True, True, False]
    never = JobState("PENDING", "DependencyNeverSatisfied", "", "9")
    assert not never.living and never.stuck
    held = JobState("PENDING", "launch failed requeued held", "", "9")
    assert not held.living and held.stuck and not states[NAME, 2].stuck


def test_sacct_is_read_with_who_cancelled_exit_codes_and_ranges() -> None:
    states = parse_sacct(SACCT)
    assert (states[NAME, 3].state, states[NAME, 3].reason) == ("CANCELLED", "by 1000")
    assert states[NAME, 3].cancelled and not states[NAME, 3].held_back
    assert states[SEAL, None].held_back and not states[SEAL, None].cancelled  # by Slurm itself
    assert (states[NAME, 4].state, states[NAME, 4].reason) == ("OUT_OF_MEMORY", "exit 0:125")
    assert states[NAME, 5].state == "NODE_FAIL" and states[NAME, 11].reason == "exit 0:9"
    assert [states[NAME, at].state for at in (6, 7, 8, 10)] == ["PENDING"] * 4
    assert (NAME, 9) not in states and states[NAME, 6].node == ""


def test_one_squeue_for_all_and_sacct_only_for_what_it_no_longer_knows(slurm: FakeSlurm) -> None:
    slurm.answer("squeue", SQUEUE)
    queue = ask({NAME: [0, 1, 2], SEAL: [None]}, since=0.0)
    assert queue.answered and len(slurm.calls("squeue")) == 1 and slurm.calls("sacct") == []
    (words,) = slurm.calls("squeue")
    assert f"--name={NAME},{SEAL}" in words and "--array" in words
    slurm.forget_calls()
    slurm.answer("sacct", SACCT)
    queue = ask({NAME: [0, 4], SEAL: [None]}, since=0.0)
    assert len(slurm.calls("squeue")) == len(slurm.calls("sacct")) == 1
    states = [queue.get(NAME, at) for at in (0, 4)]
    assert [state.state for state in states if state] == ["RUNNING", "OUT_OF_MEMORY"]


def test_a_reused_id_is_not_taken_for_the_job(slurm: FakeSlurm) -> None:
    slurm.answer("squeue", "somebody-elses|41_0|RUNNING|None|n1\n")
    queue = ask({NAME: [0]}, since=0.0)
    assert queue.answered and queue.get(NAME, 0) is None


def test_what_only_accounting_takes_for_living_was_forgotten(slurm: FakeSlurm) -> None:
    slurm.answer("sacct", f"{NAME}|41_0|RUNNING|0:0|n1\n{NAME}|41_[1-2]|PENDING|0:0|None\n")
    queue = ask({NAME: [0, 1]}, since=0.0)
    assert queue.answered and queue.states == {}


def test_silence_is_no_answer_and_no_accounting_is_one(slurm: FakeSlurm) -> None:
    slurm.silence("sacct")
    queue = ask({NAME: [0]}, since=0.0)
    assert queue.answered and "sacct: sacct: error" in queue.problems[0]
    slurm.silence("squeue")
    queue = ask({NAME: [0]}, since=0.0)
    assert not queue.answered and "Unable to contact" in queue.problems[0]
    assert ask({}, since=0.0).answered  # nothing was asked
