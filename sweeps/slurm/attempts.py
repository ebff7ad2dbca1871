"""Each start of a run on the cluster: a line in its `attempts.jsonl`, and a line when it ends.

From them come the GPU-hours used and the cap on restarts that make no progress. A start without an
end was killed; it lasted at least until the run's last sign of life.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.records import read_json
from model.training.lock import HEARTBEAT_NAME
from sweeps.layout import METRICS_NAME

ATTEMPTS_NAME = "attempts.jsonl"
CANCELLED_NAME = "cancelled.json"  # a person does not want the run; a later submit removes it
BY_PERSON = "by `workbench cancel`"
TIME_LIMIT, PREEMPTED = "time limit", "preempted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of a run."""

    submission: int
    job: str  # Slurm's id
    node: str
    devices: int  # GPUs, or else cores, that the run had
    step: int  # that it started from
    log: str  # standard error of its worker
    begun: float  # seconds since 1970
    ended: float | None
    how: str  # the kind of Event that ended it, or "stopped"; empty: still at it, or killed
    why: str = ""  # it was stopped: TIME_LIMIT or PREEMPTED


def saved_step(home: Path) -> int:
    """The step of the newest checkpoint in a run's folder, 0 where there is none."""
    found = [re.fullmatch(r"step-(\d+)", path.name) for path in home.glob("checkpoints/step-*")]
    return max((int(match.group(1)) for match in found if match), default=0)


def begin(home: Path, *, submission: int, job: str, node: str, devices: int, log: Path) -> None:
    """Note that the run starts now, from its newest checkpoint."""
    line = {"submission": submission, "job": job, "node": node, "devices": devices}
    _append(home, {"begin": line | {"step": saved_step(home), "log": str(log), "time": _now()}})


def end(home: Path, how: str, why: str = "") -> None:
    """Note that the start at hand is over."""
    _append(home, {"end": {"how": how, "time": _now()} | ({"why": why} if why else {})})


def end_killed(home: Path) -> None:
    """Note when the newest start ended, if it was killed: the next one hides its last sign."""
    found = read(home)
    if found and found[-1].ended is None:
        over = max(found[-1].begun, _last_sign(home))
        _append(home, {"end": {"how": "", "time": round(over, 3)}})


def read(home: Path) -> list[Attempt]:
    """All starts, the oldest first; lines that cannot be read are passed over."""
    try:
        text = (home / ATTEMPTS_NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found: list[Attempt] = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            if "begin" in entry:
                about = dict(entry["begin"])
                begun = about.pop("time")
                found.append(Attempt(**about, begun=begun, ended=None, how=""))
            elif found and not found[-1].how:
                over = entry["end"]
                why = over.get("why", "")
                found[-1] = replace(found[-1], ended=over["time"], how=over["how"], why=why)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def why_cancelled(home: Path) -> str:
    """Who or what cancelled a run, as its mark says."""
    try:
        why: str = read_json(home / CANCELLED_NAME).get("why", BY_PERSON)
    except (OSError, ValueError):
        return BY_PERSON
    return why


def stalled(home: Path, submission: int) -> int:
    """How often in a row this submission started the run from the step where it stands now.

    Starts that say nothing of the run do not count: another trained it, or Slurm took the nodes.
    """
    step, count = saved_step(home), 0
    for attempt in reversed(read(home)):
        if attempt.how == "locked" or attempt.why == PREEMPTED:
            continue
        if attempt.submission != submission or attempt.step != step:
            break
        count += 1
    return count


def device_hours(home: Path, attempts: Sequence[Attempt]) -> float | None:
    """GPU-hours, or core-hours, that a run has used; None where it never started on the cluster."""
    if not attempts:
        return None
    used = 0.0
    for place, attempt in enumerate(attempts):
        limit = attempts[place + 1].begun if place + 1 < len(attempts) else time.time()
        over = attempt.ended or min(limit, max(attempt.begun, _last_sign(home)))
        used += attempt.devices * max(0.0, over - attempt.begun)
    return used / 3600


def _last_sign(home: Path) -> float:
    """When the run last wrote a line, or its heart last beat."""
    signs = [0.0]
    for name in (METRICS_NAME, HEARTBEAT_NAME):
        try:
            signs.append((home / name).stat().st_mtime)
        except OSError:
            continue
    return max(signs)


def _append(home: Path, entry: dict[str, object]) -> None:
    """One write, so that lines of two processes never mix."""
    home.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry, separators=(",", ":")) + "\n"
    descriptor = os.open(home / ATTEMPTS_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _now() -> float:
    return round(time.time(), 3)
