"""Attacks on the ledger: each must show, none may lose an entry."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from workbench import ledger
from workbench.ledger import GENESIS, LedgerError
from workbench.seal import first_metrics_line, read_anchor, seal_state

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
FAMILY, TARGET = "demo", "abc123"


def fill(path: Path, entries: int = 4) -> None:
    for index in range(entries):
        body = {"target_run_id": TARGET, "name": f"x{index}", "loss": 3.0 + index}
        ledger.append(path, "prediction", FAMILY, body, now=NOW + timedelta(minutes=index))


def problems(path: Path) -> str:
    return "\n".join(ledger.verify(path, now=LATER))


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Forge the ledger with every hash and link made good again from the first line on."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    change(entries)
    previous = GENESIS
    for index, entry in enumerate(entries):
        entry |= {"previous": previous, "index": index}
        forged = ledger.Entry(**entry)
        entry["hash"] = previous = ledger._hash(forged)
    path.write_text("".join(ledger._canonical(entry) + "\n" for entry in entries))


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", absent)
    path = tmp_path / "ledger.jsonl"
    fill(path, 2)
    assert len(ledger.read(path).entries) == 2 and problems(path) == ""


class Story:
    """A target's life: two seals, the start, its first metrics line, the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for minute, run in enumerate(("old-1", "old-2", "old-1")):
            self.add("target_started", run, minute)
        self.add("target_started", "other-family", 3, family="study")
        self.add("prediction", TARGET, 4, name="x30")
        self.seal = self.add("prediction", TARGET, 5, name="x1000")
        self.start = self.add("target_started", TARGET, 6)
        when = (NOW + timedelta(minutes=7)).isoformat()
        self.metrics = {"time": when, "ledger_head": self.start.hash, "run_id": TARGET}
        self.end = self.add("target_finished", TARGET, 8)

    def add(
        self, kind: Any, run: str, minute: int, *, family: str = FAMILY, name: str | None = None
    ) -> ledger.Entry:
        body = {"target_run_id": run} | ({"name": name} if name else {})
        now = NOW + timedelta(minutes=minute)
        return ledger.append(self.path, kind, family, body, now=now)

    def state(self, **changes: Any) -> Any:
        line = self.metrics | changes.pop("metrics", {})
        return seal_state(self.path, FAMILY, TARGET, line, now=LATER, **changes)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path / "ledger.jsonl")


def test_a_sound_seal_is_unanchored_until_a_head_is_kept_elsewhere(story: Story) -> None:
    seal = story.state()
    assert (seal.state, seal.sealed_before_target, seal.problems) == ("unanchored", True, ())
    assert seal.prior_targets_seen == 2  # old-1 twice and another family do not add
    assert seal.sealed_at == story.seal.time
    assert seal.target_started_at == story.start.time
    assert story.state(anchor=f"commit: head {story.seal.hash}\n").state == "held"
    late = story.state(anchor=story.end.hash)
    assert late.state == "unanchored"
    assert late.notes
    assert story.state(anchor="f" * 64).state == "broken"


def test_before_the_target_is_trained_a_seal_stands(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    fill(path, 1)
    seal = seal_state(path, FAMILY, TARGET, None, now=LATER)
    assert (seal.state, seal.sealed_before_target) == ("unanchored", True)
    assert seal.target_started_at is None


def test_later_seals_are_listed_and_do_not_count(story: Story) -> None:
    story.add("prediction", TARGET, 9, name="x30")
    seal = story.state()
    assert seal.sealed_before_target
    assert [late["name"] for late in seal.later_seals] == ["x30"]


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ({"ledger_head": "e" * 64}, "not in the ledger"),
        ({"ledger_head": None}, "not in the ledger"),
        ({"ledger_head": GENESIS}, "did not hold all of the seals"),
        ({"run_id": "another"}, "are of run 'another'"),
        ({"time": "2026-11-22T11:00:00+00:00"}, "dated before the seal"),
        ({"time": None}, "dated None"),
    ],
)
def test_a_target_that_contradicts_the_ledger_breaks_the_seal(
    story: Story, metrics: dict[str, Any], told: str
) -> None:
    seal = story.state(metrics=metrics)
    assert (seal.state, seal.sealed_before_target) == ("broken", False)
    assert told in " ".join(seal.problems)


def test_the_time_of_the_first_line_may_be_seconds(story: Story) -> None:
    since = (NOW + timedelta(minutes=7)).timestamp()
    assert story.state(metrics={"time": since}).sealed_before_target
    assert not story.state(metrics={"time": since - 3600}).sealed_before_target


def test_a_target_started_twice_counts_from_the_first(story: Story) -> None:
    story.add("target_started", TARGET, 9)
    assert story.state().target_started_at == story.start.time
    assert story.state().sealed_before_target


def test_sealing_after_the_start_shows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    head = ledger.append(path, "target_started", FAMILY, {"target_run_id": TARGET}, now=NOW).hash
    ledger.append(path, "prediction", FAMILY, {"target_run_id": TARGET, "name": "x30"}, now=NOW)
    line = {"time": NOW.isoformat(), "ledger_head": head, "run_id": TARGET}
    seal = seal_state(path, FAMILY, TARGET, line, now=LATER)
    assert not seal.sealed_before_target
    assert "sealed after the target started" in " ".join(seal.problems)


def test_a_ledger_written_anew_after_the_target_shows(story: Story) -> None:
    rewrite(story.path, lambda entries: entries[5]["body"].update(loss=1.0))
    assert ledger.verify(story.path, now=LATER) == []  # the chain alone cannot tell
    assert story.state().state == "broken"


def test_deleting_the_end_of_the_ledger_shows(story: Story) -> None:
    lines = story.path.read_text().splitlines(keepends=True)
    story.path.write_text("".join(lines[:5]))
    assert ledger.verify(story.path, now=LATER) == []
    seal = story.state()
    assert seal.state == "broken"
    assert "not in the ledger" in " ".join(seal.problems)


def test_without_a_seal_nothing_is_held(tmp_path: Path) -> None:
    seal = seal_state(tmp_path / "ledger.jsonl", FAMILY, TARGET, None)
    assert (seal.state, seal.sealed_before_target) == ("broken", False)
    assert json.dumps(seal.as_dict())


def test_the_first_line_is_read_alone(tmp_path: Path) -> None:
    assert first_metrics_line(tmp_path) is None
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind":"start"')
    assert first_metrics_line(tmp_path) is None
    path.write_text('{"kind":"start"}\n{"kind":"train"}\ntorn')
    assert first_metrics_line(tmp_path) == {"kind": "start"}
    path.write_text("[]\n")
    with pytest.raises(ValueError, match="line 1: not an object"):
        first_metrics_line(tmp_path)


def test_an_anchor_is_text_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "mail.txt").write_text("head: " + "a" * 64)
    assert "a" * 64 in read_anchor(str(tmp_path / "mail.txt"))
    with pytest.raises(ValueError, match="no ledger head"):
        read_anchor("abc")


def test_a_finished_target_without_metrics_is_broken(story: Story) -> None:
    seal = seal_state(story.path, FAMILY, TARGET, None, now=LATER)
    assert seal.state == "broken" and "finished" in seal.problems[0]
