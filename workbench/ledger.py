"""The ledger of predictions: an append-only, hash-chained `ledger.jsonl`.

Every entry holds the hash of the one before it, so an edit, a deletion or a change of order
anywhere breaks the chain from there on. A chain alone cannot show that its end was cut off or
that the whole of it was written anew; two things outside it can: the head that the target run
wrote into its first metrics line, and a head that a person kept elsewhere (a commit, a mail).
`workbench.seal` compares all three. One ledger serves a whole sweep family, so that every target
ever trained in that family is counted.

Bodies: a `prediction` holds at least `target_run_id` and, where one target has several
predictions, `name`; `target_started` and `target_finished` hold `target_run_id`.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from model.training.lock import RunLocked, hold_lock, try_lock

SCHEMA = 1
GENESIS = "0" * 64  # the head of a ledger without entries
CLOCK_SLACK = timedelta(minutes=5)  # clocks of two machines may differ by this much
LOCK_SECONDS = 30.0  # an append takes milliseconds; longer means that the other one hangs
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
Kind = Literal["prediction", "target_started", "target_finished"]


class LedgerError(RuntimeError):
    """The ledger refuses: it is broken, locked, or the clock is wrong. Nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger."""

    schema: int
    index: int  # from 0
    previous: str  # hash of the entry before, GENESIS for the first
    time: str  # UTC, TIME_FORMAT
    kind: Kind
    family: str
    body: dict[str, Any]
    hash: str  # SHA-256 of the canonical JSON of all other fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a ledger file holds: its readable entries, and all that is wrong with it."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]

    @property
    def head(self) -> str:
        """The hash of the last readable entry."""
        return self.entries[-1].hash if self.entries else GENESIS


def append(
    path: Path, kind: Kind, family: str, body: Mapping[str, Any], *, now: datetime | None = None
) -> Entry:
    """The new entry, on disk and synced when this returns.

    Raises LedgerError, with nothing written, where the ledger is broken; ValueError for an unknown
    kind, an empty family, or a body that JSON cannot hold (NaN and infinities included).
    """
    if kind not in get_args(Kind):
        raise ValueError(f"ledger entry of kind {kind!r}; allowed: {', '.join(get_args(Kind))}")
    if not family:
        raise ValueError("ledger entry with an empty family; name the sweep")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as descriptor:
        raw = _read_all(descriptor)
        reading = parse(raw, now=now)
        if reading.problems:
            raise LedgerError(f"{path} is broken, nothing was added: {reading.problems[0]}")
        entry = _next_entry(path, reading, kind, family, body, now or datetime.now(UTC))
        _write_line(descriptor, len(raw), _canonical(asdict(entry)).encode() + b"\n")
    if not raw:
        _sync_folder(path.parent)
    return entry


def read(path: Path, *, now: datetime | None = None) -> Reading:
    """The entries and problems of a ledger; a file that does not exist is an empty ledger."""
    return parse(path.read_bytes() if path.exists() else b"", now=now)


def verify(path: Path, *, now: datetime | None = None) -> list[str]:
    """What is wrong with the ledger, in words, each with its line number; empty when sound."""
    return list(read(path, now=now).problems)


def check(path: Path) -> None:
    """Raise LedgerError where the ledger is broken, before hours go into what it cannot take."""
    problems = verify(path)
    if problems:
        raise LedgerError(f"{path} is broken: {problems[0]}")


def head(path: Path) -> str:
    """The hash of the last entry, GENESIS for none: what to keep elsewhere as an anchor."""
    return read(path).head


def parse(raw: bytes, *, now: datetime | None = None) -> Reading:
    """The entries and problems of a ledger's bytes."""
    entries: list[Entry] = []
    problems: list[str] = []
    latest = (now or datetime.now(UTC)) + CLOCK_SLACK
    *lines, rest = raw.split(b"\n")
    for number, line in enumerate(lines, start=1):
        entry = _parse_line(line)
        if isinstance(entry, str):
            problems.append(f"line {number}: {entry}")
            continue
        before = entries[-1] if entries else None
        problems += [f"line {number}: {text}" for text in _breaks(entry, number - 1, before)]
        if _instant(entry.time) > latest:
            problems.append(f"line {number}: dated {entry.time}, which is in the future")
        entries.append(entry)
    if rest:
        problems.append(
            f"line {len(lines) + 1}: incomplete, {len(rest)} bytes without an end of line "
            "(a crash while writing, or a cut)"
        )
    return Reading(entries=tuple(entries), problems=tuple(problems))


def _parse_line(line: bytes) -> Entry | str:
    """The entry of one line, or what is wrong with it alone."""
    try:
        data = json.loads(line)
        entry = Entry(**data)
        _instant(entry.time)
        canonical = _canonical(data).encode()
        if not (isinstance(entry.body, dict) and isinstance(entry.index, int)):
            raise TypeError("body or index")
    except (ValueError, TypeError, RecursionError):
        return "not a ledger entry (edited or damaged)"
    if entry.schema != SCHEMA:
        return f"schema {entry.schema!r}; this version reads {SCHEMA}"
    if canonical != line or _hash(entry) != entry.hash or entry.kind not in get_args(Kind):
        return "its hash does not match its content (edited)"
    return entry


def _breaks(entry: Entry, index: int, before: Entry | None) -> list[str]:
    """How an entry, sound in itself, does not follow the one before it."""
    found = []
    if entry.index != index:
        found.append(f"entry {entry.index} where {index} belongs (deleted or reordered)")
    if entry.previous != (before.hash if before else GENESIS):
        found.append("does not follow the entry before it (edited, deleted or reordered)")
    if before and _instant(entry.time) < _instant(before.time):
        found.append(f"dated {entry.time}, before the entry it follows (back-dated)")
    return found


def _next_entry(
    path: Path, reading: Reading, kind: Kind, family: str, body: Mapping[str, Any], now: datetime
) -> Entry:
    if reading.entries:
        last = _instant(reading.entries[-1].time)
        if now < last - CLOCK_SLACK:
            raise LedgerError(
                f"{path}: the clock says {now.strftime(TIME_FORMAT)}, before the last entry "
                f"({reading.entries[-1].time}); set the clock, nothing was added"
            )
        now = max(now, last)  # clocks of two machines, seconds apart, must not break the order
    try:
        plain = json.loads(_canonical(dict(body)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"ledger entry of kind {kind!r}: the body is not JSON: {error}") from error
    entry = Entry(
        schema=SCHEMA,
        index=len(reading.entries),
        previous=reading.head,
        time=now.astimezone(UTC).strftime(TIME_FORMAT),
        kind=kind,
        family=family,
        body=plain,
        hash="",
    )
    return Entry(**{**asdict(entry), "hash": _hash(entry)})


def _canonical(data: Mapping[str, Any]) -> str:
    """Sorted JSON without spaces. Fixed here: old ledgers must verify whatever else changes."""
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _hash(entry: Entry) -> str:
    content = {name: value for name, value in asdict(entry).items() if name != "hash"}
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _instant(text: str) -> datetime:
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """A descriptor of the file, exclusively locked; also between machines where NFS allows it.

    Where the file system has no kernel locks, a heartbeat beside the ledger tells who has it.
    """
    with _opened(path) as descriptor:
        deadline = time.monotonic() + LOCK_SECONDS
        while (had := try_lock(descriptor)) is False:
            if time.monotonic() > deadline:
                raise LedgerError(
                    f"{path} has been locked by another process for {LOCK_SECONDS:.0f} s"
                )
            time.sleep(0.01)
        if had:
            yield descriptor
            return
    with ExitStack() as stack:
        names = (f"{path.name}.lock", f"{path.name}.heartbeat.json")
        try:
            stack.enter_context(hold_lock(path.parent, *names, LOCK_SECONDS))
        except RunLocked as error:
            raise LedgerError(f"{path} is locked, nothing was added: {error}") from error
        # Opened anew, so that a network file system shows what the last holder wrote.
        yield stack.enter_context(_opened(path))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor to read and append with; closing it releases its kernel lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return file.read()


def _write_line(descriptor: int, size: int, line: bytes) -> None:
    """Append and sync; on a full disk take back the part written, so that nothing is torn."""
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
