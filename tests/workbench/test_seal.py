"""Attacks on a seal: what the ledger, the target's first metrics line and an anchor must show."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.workbench.ledgers import FAMILY, LATER, NOW, TARGET, fill, rewrite
from workbench import ledger
from workbench.ledger import GENESIS
from workbench.seal import first_metrics_line, read_anchor, seal_state


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
