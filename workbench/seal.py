"""Whether a prediction was sealed before its target: the ledger against the target's own record.

Three records must agree: the ledger's chain, the head that the target run wrote into its first
metrics line, and, where a person kept one elsewhere, the anchor. The pipeline prints the head when
it seals; that head, in a commit or a mail, is the anchor.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import Failure, InputError
from workbench.ledger import CLOCK_SLACK, GENESIS, Entry, read

if TYPE_CHECKING:  # a submission looks into the ledger, and needs no estimator
    from fits.predictions.prediction import Prediction


NOT_THERE = "is not in the ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """How the seal of one target stands; `as_dict` is what a report takes."""

    # held: consistent, before the target, and anchored outside; unanchored: the same without
    # anchor, so a rewrite of all records would not show; broken: see `problems`.
    state: Literal["held", "broken", "unanchored"]
    sealed_before_target: bool
    head: str  # of the ledger now
    sealed_at: str | None  # UTC, of the last first seal
    target_started_at: str | None  # UTC, as the ledger has it
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    later_seals: tuple[dict[str, Any], ...]  # do not count: name, index, time, hash
    prior_targets_seen: int  # other targets of this family started before this one

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data


def seal_state(
    ledger: Path,
    family: str,
    target_run_id: str,
    target_first_metrics_line: Mapping[str, Any] | None,
    *,
    anchor: str | None = None,
    now: datetime | None = None,
) -> Seal:
    """The state of a target's seals.

    `target_first_metrics_line`: the parsed first line of the target's `metrics.jsonl`
    (`first_metrics_line`), None while it is not trained. `anchor`: text that holds a head kept
    elsewhere. Every named prediction of the target counts by its first seal.
    """
    reading = read(ledger, now=now)
    problems = list(reading.problems)
    own = [e for e in reading.entries if _is_about(e, family, target_run_id)]
    started = next((e for e in own if e.kind == "target_started"), None)
    limit = started.index if started else len(reading.entries)
    counted = list(first_seals(reading.entries, family, target_run_id).values())
    late = [e for e in own if e.kind == "prediction" and e.index > limit]
    if not counted and late:
        problems.append("every prediction of the target was sealed after the target started")
    elif not counted:
        problems.append(f"no prediction of target {target_run_id} is sealed in {ledger.name}")
    last = max(counted, key=lambda e: e.index) if counted else None
    problems += _metrics_problems(
        target_first_metrics_line, reading.entries, last, started, target_run_id
    )
    if target_first_metrics_line is None and any(e.kind == "target_finished" for e in own):
        problems.append("the ledger says that the target finished, but it has no metrics")
    anchored, anchor_problems, notes = _anchor_state(anchor, reading.entries, last, limit)
    problems += anchor_problems
    if counted and late:
        names = sorted({str(e.body.get("name", "")) for e in late})
        notes.append(f"sealed after the target started, and left out: {', '.join(names)}")
    state: Literal["held", "broken", "unanchored"] = "held" if anchored else "unanchored"
    return Seal(
        state="broken" if problems else state,
        sealed_before_target=not problems,
        head=reading.head,
        sealed_at=last.time if last else None,
        target_started_at=started.time if started else None,
        problems=tuple(problems),
        notes=tuple(notes),
        later_seals=_later_seals(own, counted),
        prior_targets_seen=_prior_targets(reading.entries, family, target_run_id, limit),
    )


def first_seals(entries: tuple[Entry, ...], family: str, target_run_id: str) -> dict[str, Entry]:
    """The prediction entries that count for a target, in order: the first of each name.

    Entries after the target's start never count.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        if not _is_about(entry, family, target_run_id):
            continue
        if entry.kind == "target_started":
            break
        if entry.kind == "prediction":
            found.setdefault(str(entry.body.get("name", "")), entry)
    return found


def sealed_predictions(ledger: Path, family: str, target_run_id: str) -> "dict[str, Prediction]":
    """The predictions that count for a target, by name, as the ledger holds them."""
    from fits.predictions.prediction import Prediction

    entries = first_seals(read(ledger).entries, family, target_run_id)
    return {
        name: Prediction.from_json(json.dumps(entry.body["prediction"]), where=str(ledger))
        for name, entry in entries.items()
    }


def first_metrics_line(run_folder: Path) -> dict[str, Any] | None:
    """The first line of a run's `metrics.jsonl`; None where there is no complete one."""
    path = run_folder / "metrics.jsonl"
    if not path.exists():
        return None
    with path.open("rb") as file:
        line = file.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        data = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line 1: not JSON ({error}); was it edited?") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}, line 1: not an object; was it edited?")
    return data


def refuse_broken(report: Path) -> None:
    """Raise Failure where a written report.json shows a broken seal: whoever reads only the exit
    status must not take it for a sealed prediction.
    """
    found = json.loads(report.read_text(encoding="utf-8")).get("seal") or {}
    if found.get("state") == "broken":
        problem = (found.get("problems") or ["see there"])[0]
        check = "compare the ledger with a copy (a commit, a backup)"
        if NOT_THERE in problem:
            check = (
                f"check that the anchor is a head of this ledger, now {found['head'][:12]}…, or "
            )
            check += "compare the ledger with a copy"
        raise Failure(
            f"{report}: the seal is broken: {problem}",
            f"the report is written and says so; {check}; until then read the prediction as a fit "
            "after the fact",
        )


def _later_seals(own: list[Entry], counted: list[Entry]) -> tuple[dict[str, Any], ...]:
    """The seals of a target that do not count, since one of the same name came before."""
    return tuple(
        {"name": e.body.get("name", ""), "index": e.index, "time": e.time, "hash": e.hash}
        for e in own
        if e.kind == "prediction" and e not in counted
    )


def read_anchor(text_or_path: str) -> str:
    """The anchor's text: the content of the file where one of that name exists, else the text."""
    path = Path(text_or_path)
    text = path.read_text(encoding="utf-8") if path.is_file() else text_or_path
    if not _heads(text):
        raise InputError(
            f"anchor {text_or_path!r} holds no ledger head (64 hexadecimal digits), nor is it a "
            "file that does",
            "give the head that `run` or `predict --seal` printed, or the file that keeps it",
        )
    return text


def _is_about(entry: Entry, family: str, target_run_id: str) -> bool:
    return entry.family == family and entry.body.get("target_run_id") == target_run_id


def _heads(text: str) -> list[str]:
    return re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", text.lower())


def _prior_targets(entries: tuple[Entry, ...], family: str, target_run_id: str, limit: int) -> int:
    seen = {
        entry.body.get("target_run_id")
        for entry in entries[:limit]
        if entry.kind == "target_started" and entry.family == family
    }
    return len(seen - {target_run_id})


def _metrics_problems(
    line: Mapping[str, Any] | None,
    entries: tuple[Entry, ...],
    last_seal: Entry | None,
    started: Entry | None,
    target_run_id: str,
) -> list[str]:
    """How the target's own first line contradicts the ledger."""
    if line is None:
        return []  # not trained, or stopped before it could write
    problems = []
    if started is None:
        problems.append("the target was trained, but the ledger does not say that it started")
    if line.get("run_id") != target_run_id:
        problems.append(f"the metrics are of run {line.get('run_id')!r}, not {target_run_id!r}")
    known = {GENESIS: -1} | {entry.hash: entry.index for entry in entries}
    index = known.get(str(line.get("ledger_head")))
    if index is None:
        problems.append("the head in the target's first metrics line is not in the ledger")
    elif last_seal is not None and index < last_seal.index:
        problems.append("the target started from a ledger that did not hold all of the seals")
    try:
        started_at = _parse_time(line.get("time"))
    except (ValueError, TypeError, OverflowError):
        problems.append(f"the target's first metrics line is dated {line.get('time')!r}")
    else:
        if last_seal and started_at < _parse_time(last_seal.time) - CLOCK_SLACK:
            problems.append("the target's first metrics line is dated before the seal")
    return problems


def _anchor_state(
    anchor: str | None, entries: tuple[Entry, ...], last_seal: Entry | None, limit: int
) -> tuple[bool, list[str], list[str]]:
    """Whether an outside head proves the order, what it contradicts, and what it does not show."""
    if anchor is None:
        return False, [], []
    known = {entry.hash: entry.index for entry in entries}
    heads = _heads(anchor)
    if not heads:
        return False, [], ["the anchor holds no ledger head"]
    missing = [text for text in heads if text not in known]
    if missing:
        return False, [f"the anchored head {missing[0][:12]}… {NOT_THERE}"], []
    if last_seal is None:
        return False, [], []
    if any(last_seal.index <= known[text] <= limit for text in heads):
        return True, [], []
    return False, [], ["the anchor is from before the seal or after the target's start"]


def _parse_time(value: object) -> datetime:
    """An instant from ISO text, UTC where no offset is given, or from seconds since 1970."""
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no time")
    instant = datetime.fromisoformat(value)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
