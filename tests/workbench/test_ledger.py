"""Attacks on the ledger: each must show, none may lose an entry."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.workbench.ledgers import FAMILY, LATER, NOW, fill, problems, rewrite
from workbench import ledger
from workbench.ledger import GENESIS, LedgerError


def test_a_sound_ledger_reads_back_what_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "ledger.jsonl"
    assert ledger.head(path) == GENESIS
    first = ledger.append(path, "prediction", FAMILY, {"name": "Größe", "x": 0.1}, now=NOW)
    second = ledger.append(path, "target_started", FAMILY, {}, now=NOW)
    reading = ledger.read(path, now=LATER)
    assert reading.entries == (first, second)
    assert reading.problems == ()
    assert (first.previous, second.previous, ledger.head(path)) == (
        GENESIS,
        first.hash,
        second.hash,
    )


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (lambda lines: [lines[0], lines[1].replace("4.0", "2.0"), *lines[2:]], "line 2"),
        (lambda lines: [lines[0], *lines[2:]], "deleted"),
        (lambda lines: lines[1:], "deleted"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "reordered"),
        (lambda lines: [*lines, lines[1]], "line 5"),
        (lambda lines: [lines[0], "", *lines[1:]], "line 2"),
        (lambda lines: [lines[0], lines[1].replace(",", ", ", 1), *lines[2:]], "line 2"),
        (lambda lines: [*lines[:3], lines[3][:-20]], "line 4"),
        (lambda lines: [*lines[:3], '{"schema":1}'], "line 4"),
        (lambda lines: [*lines[:3], "[" * 5000], "line 4"),
    ],
)
def test_every_edit_shows_with_its_line(
    tmp_path: Path, attack: Callable[[list[str]], list[str]], told: str
) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path)
    path.write_text("\n".join(attack(path.read_text().splitlines())) + "\n")
    assert told in problems(path)


def test_a_cut_last_line_shows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "incomplete" in problems(path)


def test_back_dating_and_future_dates_show_even_with_good_hashes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path)
    rewrite(path, lambda entries: entries[2].update(time="2026-11-21T12:00:00.000000Z"))
    assert "back-dated" in problems(path)
    rewrite(path, lambda entries: entries[2].update(time="2026-11-22T12:02:00.000000Z"))
    assert problems(path) == ""
    rewrite(path, lambda entries: entries[3].update(time="2027-01-01T00:00:00.000000Z"))
    assert "future" in problems(path)


def test_a_broken_ledger_refuses_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path)
    path.write_text(path.read_text().replace("4.0", "2.0"))
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"ledger\.jsonl is broken.*line 2"):
        ledger.append(path, "prediction", FAMILY, {})
    assert path.read_bytes() == before


def test_a_clock_that_runs_behind_is_refused_beyond_the_slack(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path, 1)
    slightly = ledger.append(path, "target_started", FAMILY, {}, now=NOW - timedelta(seconds=20))
    assert slightly.time == ledger.read(path).entries[0].time
    with pytest.raises(LedgerError, match="clock"):
        ledger.append(path, "target_started", FAMILY, {}, now=NOW - timedelta(hours=2))
    assert len(ledger.read(path).entries) == 2


@pytest.mark.parametrize(
    ("kind", "family", "body", "told"),
    [
        ("guess", FAMILY, {}, "allowed: prediction"),
        ("prediction", "", {}, "empty family"),
        ("prediction", FAMILY, {"loss": float("nan")}, "not JSON"),
        ("prediction", FAMILY, {"loss": object()}, "not JSON"),
    ],
)
def test_what_cannot_be_an_entry_is_refused(
    tmp_path: Path, kind: Any, family: str, body: dict[str, Any], told: str
) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path, 1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=told):
        ledger.append(path, kind, family, body)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path, 2)
    before = path.read_bytes()
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        ledger.append(path, "prediction", FAMILY, {})
    monkeypatch.undo()
    assert path.read_bytes() == before
    ledger.append(path, "target_started", FAMILY, {}, now=LATER)
    assert len(ledger.read(path, now=LATER).entries) == 3


def _append_many(path: Path, who: int) -> None:
    for number in range(25):
        ledger.append(path, "prediction", FAMILY, {"name": f"{who}-{number}"})


def test_two_appenders_at_once_keep_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(path, who)) for who in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    reading = ledger.read(path)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert reading.problems == ()
    assert len({entry.body["name"] for entry in reading.entries}) == 50


def test_a_lock_that_is_never_released_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    monkeypatch.setattr(ledger, "LOCK_SECONDS", 0.05)
    with ledger._locked(path), pytest.raises(LedgerError, match="locked by another"):
        ledger.append(path, "prediction", FAMILY, {})


def test_it_is_written_where_there_are_no_kernel_locks(
    tmp_path: Path, no_kernel_locks: None
) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path, 2)
    assert len(ledger.read(path).entries) == 2 and problems(path) == ""


def test_two_appenders_keep_one_chain_where_there_are_no_kernel_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_kernel_locks: None
) -> None:
    path, parse, barrier = tmp_path / "ledger.jsonl", ledger.parse, threading.Barrier(2)

    def slow(raw: bytes, *, now: datetime | None = None) -> ledger.Reading:
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(1)  # for the other to read the same head, where it is let in
        return parse(raw, now=now)

    monkeypatch.setattr(ledger, "parse", slow)
    threads = [
        threading.Thread(target=ledger.append, args=(path, "prediction", FAMILY, {"name": name}))
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = parse(path.read_bytes())
    assert reading.problems == ()
    assert {entry.body["name"] for entry in reading.entries} == {"a", "b"}


def test_a_holder_without_kernel_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_kernel_locks: None
) -> None:
    monkeypatch.setattr(ledger, "LOCK_SECONDS", 0.05)
    path = tmp_path / "ledger.jsonl"
    named = rf"ledger\.jsonl is locked.* by pid {os.getpid()} on"
    with ledger._locked(path), pytest.raises(LedgerError, match=named):
        ledger.append(path, "prediction", FAMILY, {})
    assert path.read_bytes() == b""
