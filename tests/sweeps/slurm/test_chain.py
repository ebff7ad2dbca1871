"""Seal and report in `status`, why a run that had a turn waits again, and what will not start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.layout import run_folder
from sweeps.planned import Plan
from sweeps.slurm import attempts, chain
from sweeps.slurm.profile import Profile
from sweeps.slurm.states import look
from sweeps.slurm.submission import load_submission
from sweeps.slurm.words import explained, hopeless, why_back
from tests.sweeps.slurm.conftest import ids
from tests.sweeps.slurm.fake import FakeSlurm
from workbench import stages
from workbench.cli import main
from workbench.cluster import queued_otherwise

pytest.importorskip("submitit")


def shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """The JSON document of `status`, and what a person sees."""
    assert main(["status", str(folder), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert main(["status", str(folder)]) == 0
    return document, capsys.readouterr().out


def answer(slurm: FakeSlurm, place: Path, **states: str) -> None:
    """What squeue says of each job: "STATE|REASON|NODE"; nothing of those not named."""
    jobs = load_submission(place).jobs
    ends = {job.kind: f"{job.name}|{job.job_id}{'_0' * bool(job.tasks)}" for job in jobs}
    slurm.answer("squeue", "".join(f"{ends[kind]}|{state}\n" for kind, state in states.items()))


def test_seal_and_report_are_shown_waiting_at_work_and_with_what_came_of_them(
    queued: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    place = queued / "slurm" / "0001"
    document, out = shown(queued, capsys)
    assert [(one["stage"], one["state"]) for one in document["chain"]] == [
        ("seal", "pending"),
        ("report", "pending"),
    ]
    assert "seal: pending, job 2: Dependency" in out
    answer(slurm, place, seal="RUNNING|None|n1", report="PENDING|Dependency|")
    assert "seal: running, job 2: on n1" in shown(queued, capsys)[1]
    chain.note(place, "seal", "finished", "sealed x1: loss 3.2")
    answer(slurm, place, report="PENDING|Dependency|")
    slurm.forget_calls()
    document, out = shown(queued, capsys)
    assert document["chain"][0] == {
        "stage": "seal",
        "state": "finished",
        "message": "sealed x1: loss 3.2",
        "job": "2",
        "log": "",
    }
    assert "seal: finished, job 2: sealed x1: loss 3.2" in out
    asked = [word for words in slurm.calls("sacct") for word in words if word.startswith("--name")]
    assert not any("-seal-" in word for word in asked)  # it has told


def test_a_seal_that_failed_says_so_and_names_its_log(
    queued: Path,
    resolved: Plan,
    slurm: FakeSlurm,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = queued / "slurm" / "0001"
    seal = load_submission(place).job("seal").name
    answer(slurm, place, target="CANCELLED|DependencyNeverSatisfied|")
    slurm.answer("sacct", f"{seal}|2|OUT_OF_MEMORY|0:125|n1\n")  # squeue has forgotten it
    document, out = shown(queued, capsys)
    assert document["chain"][0]["state"] == "out_of_memory"
    assert f"see {place.resolve()}/jobs/2_0_log.out" in out
    target = look(queued, ids(resolved)).runs[str(resolved.target.run_id)]
    assert (target.state, target.reason) == ("held_back", "what it waited for failed")
    monkeypatch.setattr("sys.argv", ["stages", "seal", str(place)])

    def refuses(place: Path) -> int:
        raise ValueError("1 run(s) were cancelled\nsubmit again")

    monkeypatch.setitem(stages.STAGES, "seal", refuses)
    assert stages.main() == 1
    capsys.readouterr()
    assert (
        "seal: failed, job 2: 1 run(s) were cancelled (do: submit again)"
        in shown(queued, capsys)[1]
    )


def test_a_run_that_never_reached_python_has_its_jobs_log(
    queued: Path, resolved: Plan, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    place, run = queued / "slurm" / "0001", resolved.ladder[0]
    answer(slurm, place, ladder="PENDING|Resources|")
    assert main(["logs", str(queued / run.name)]) == 0
    assert "nothing is written yet: pending: Resources (job 1_0)" in capsys.readouterr().err
    log = place / "jobs" / "1_0_0_log.out"
    told = "slurmstepd: error: execve(): /opt/nothere/python: No such file or directory"
    log.write_text(f"{told}\nTIME {resolved.ladder[1].name}: started\n")
    answer(slurm, place, ladder="FAILED|NonZeroExitCode|n1")
    assert main(["logs", str(queued / run.name)]) == 0
    captured = capsys.readouterr()
    assert told in captured.out and "started" not in captured.out and not captured.err
    document, out = shown(queued, capsys)
    assert {row["log"] for row in document["runs"] if row["state"] == "failed"} == {
        str(log.resolve())
    }
    assert out.count(f"see {log.resolve()}") == 1  # of three runs


@pytest.mark.parametrize(
    ("how", "why", "reason", "told"),
    [
        ("stopped", "time limit", "BeginTime", "after start 1: time limit"),
        ("stopped", "preempted", "Resources", "Resources, after start 1: preempted"),
        ("", "", "BeginTime", "after start 1: killed, or its node lost"),
        ("left", "", "BeginTime", "after start 1"),
    ],
)
def test_a_run_that_is_back_in_the_queue_says_why(
    queued: Path, resolved: Plan, slurm: FakeSlurm, how: str, why: str, reason: str, told: str
) -> None:
    run, other = (str(run.run_id) for run in resolved.ladder[:2])
    home = run_folder(queued, run)
    attempts.begin(home, submission=1, job="1_0", node="n1", devices=1, log=Path("0.log"))
    if how:
        attempts.end(home, how, why)
    answer(slurm, queued / "slurm" / "0001", ladder=f"PENDING|{reason}|")
    view = look(queued, ids(resolved))
    assert (view.runs[run].state, view.runs[run].reason) == ("pending", told)
    assert view.runs[other].reason == reason  # it had no turn yet


def test_what_will_not_start_is_told_with_what_to_do(
    queued: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    place = queued / "slurm" / "0001"
    answer(slurm, place, ladder="PENDING|PartitionConfig|", target="PENDING|JobArrayTaskLimit|")
    document, out = shown(queued, capsys)
    (problem,) = document["problems"]
    assert problem.startswith("3 run(s) wait for PartitionConfig and will not start: no node of")
    assert f"`workbench cancel --all {queued}`" in problem and problem in out
    assert "JobArrayTaskLimit: as many jobs" in out and "JobArrayTaskLimit" in document["reasons"]


def test_a_profile_that_queued_jobs_do_not_have_is_told(
    queued: Path, resolved: Plan, slurm: FakeSlurm, profile: Profile
) -> None:
    view = look(queued, ids(resolved))
    assert queued_otherwise(view, profile, queued) == []
    assert queued_otherwise(view, replace(profile, throttle=1, pack_minutes=9), queued) == []
    other = replace(profile, ladder=replace(profile.ladder, cpus=64), sbatch={"nice": "5"})
    (line,) = queued_otherwise(view, other, queued)
    assert line.startswith("4 run(s) stay queued or at work as profile test had it then")
    assert "(ladder.cpus 2 -> 64, nice None -> 5)" in line and f"cancel --all {queued}" in line
    slurm.answer("squeue", "")
    assert queued_otherwise(look(queued, ids(resolved)), other, queued) == []
    answer(slurm, queued / "slurm" / "0001", ladder="PENDING|PartitionTimeLimit|")
    (line,) = queued_otherwise(look(queued, ids(resolved)), profile, queued)
    assert "3 run(s) wait for PartitionTimeLimit and will not start" in line


def test_words_for_reasons() -> None:
    assert why_back("Priority", []) == "Priority"
    words = explained(["ReqNodeNotAvail, UnavailableNodes:n1", "Priority", "Strange"])
    assert list(words) == ["ReqNodeNotAvail", "Priority"]
    (line,) = hopeless(["QOSMaxCpuPerJobLimit", "Priority"], Path("runs/demo"))
    assert "QOSMaxCpuPerJobLimit" in line and "larger than its account or qos allows" in line


def test_a_note_that_cannot_be_written_undoes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(chain, "write_atomic", full)
    chain.note(tmp_path, "seal", "finished", "sealed")
    assert chain.noted(tmp_path, "seal") is None
