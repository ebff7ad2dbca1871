"""Reports on tables: what is held against what, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import outside
from workbench.errors import InputError
from workbench.targets import parse_target


def loss_of(flops: float) -> float:
    return float(1.8 + 3e3 * flops**-0.17)


HEAD = "run_id,role,status,flops,n_active,tokens,loss"


def row(name: str, role: str, flops: float, *, status: str = "finished") -> str:
    n = (flops / 120) ** 0.5
    return f"{name},{role},{status},{flops!r},{n!r},{20 * n!r},{loss_of(flops)!r}"


@pytest.fixture
def lines() -> list[str]:
    return [HEAD, *(row(f"r{k}", "ladder", 10 ** (17 + k / 2)) for k in range(7))]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A maker of reports that gives back what would have been drawn."""
    seen: list[Any] = []
    monkeypatch.setattr(outside, "write_report", lambda inputs, folder: seen.append(inputs))

    def make(lines: list[str], targets: tuple[str, ...] = (), **options: Any) -> Any:
        path = tmp_path / "runs.csv"
        path.write_text("\n".join(lines) + "\n")
        opened = outside.open_table(path)
        wanted = [parse_target(text) for text in targets]
        outside.report_table(opened, wanted, tmp_path, **options)
        return seen[-1]

    return make


def seal(tmp_path: Path, lines: list[str], *targets: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    opened = outside.open_table(path)
    wanted = [parse_target(text) for text in targets]
    outside.seal(opened, outside.predict_table(opened, wanted))


def test_an_actual_without_a_target_is_held_against_its_own_compute(
    shown: Any, lines: list[str]
) -> None:
    inputs = shown([*lines, row("big", "ladder", 3e21)], actual="big")
    assert len(inputs.predictions) == 1
    assert inputs.headline.target["flops"] == pytest.approx(3e21)
    assert {"n_active", "tokens"} <= set(inputs.headline.target)
    assert "big" not in inputs.headline.loss.runs_used
    assert inputs.actual["loss"] == pytest.approx(loss_of(3e21))


def test_a_row_of_role_target_needs_no_name_and_is_not_the_largest_run(
    shown: Any, lines: list[str]
) -> None:
    target = row("goal", "target", 5e21)
    assert shown([*lines, target]).headline.target["flops"] == pytest.approx(5e21)
    waiting = shown([*lines, row("goal", "target", 5e21, status="running")])
    assert waiting.headline.target["flops"] == pytest.approx(1e21, rel=0.05)  # 10x the largest
    assert waiting.actual is None


def test_only_sealed_predictions_of_that_compute_are_compared_and_the_rest_named(
    shown: Any, lines: list[str], tmp_path: Path
) -> None:
    seal(tmp_path, lines, "flops=1e21", "flops=3e21")
    inputs = shown([*lines, row("big", "ladder", 3.03e21)], actual="big")
    assert [item.name for item in inputs.predictions] == ["flops=3e+21"]
    assert inputs.actual is not None and inputs.seal is not None
    assert any("flops=1e+21" in note and "not compared" in note for note in inputs.notes)
    other = shown([*lines, row("big", "ladder", 3.2e21)], actual="big")
    assert [item.target["flops"] for item in other.predictions] == [pytest.approx(3.2e21)]
    assert other.seal is None  # what was made now was never sealed


def test_targets_of_equal_compute_are_held_against_the_run_of_their_own_sizes(
    shown: Any, lines: list[str], tmp_path: Path
) -> None:
    """On a table of constant compute that is the usual case."""
    both = ("n_active=2e9,tokens=2.5e11", "n_active=1e9,tokens=5e11")
    seal(tmp_path, lines, *both)
    run = "wide,ladder,finished,3e21,2e9,2.5e11,2.71\nlong,ladder,finished,3e21,1e9,5e11,2.75"
    for name, loss, other in (("wide", 2.71, "long"), ("long", 2.75, "wide")):
        inputs = shown([*lines, run], actual=name)
        (only,) = inputs.predictions
        assert inputs.actual["loss"] == loss
        assert only.target["n_active"] == inputs.actual["n_active"]
        assert any(f"--actual {other}" in note for note in inputs.notes)
    assert shown([*lines, run]).actual["run_id"] == "wide"  # the first that was sealed


def test_a_run_may_be_named_as_the_report_names_it(shown: Any, lines: list[str]) -> None:
    named = [f"{HEAD},name", *(f"{line},rung" for line in lines[1:])]
    inputs = shown([*named, row("row-60", "ladder", 3e21) + ",big-2.5B"], actual="big-2.5B")
    assert inputs.actual["run_id"] == "row-60"


def test_a_ledger_that_says_nothing_of_the_table_is_told_and_a_broken_one_refused(
    shown: Any, lines: list[str], tmp_path: Path
) -> None:
    seal(tmp_path, lines, "flops=1e21")
    book = tmp_path / "ledger.jsonl"
    text = book.read_text()
    book.write_text(
        text.replace("1e+21", "2e+21").replace("1000000000000000000000", "2" + 21 * "0")
    )
    with pytest.raises(InputError, match=r"ledger.jsonl is broken: line 1"):
        shown(lines)
    book.unlink()
    assert not any("ledger" in note for note in shown(lines).notes)
    path = tmp_path / "runs.csv"
    absent = outside.open_table(path, book=tmp_path / "typo.jsonl")
    with pytest.raises(InputError, match=r"there is no ledger .*typo\.jsonl"):
        outside.report_table(absent, [], tmp_path)
    elsewhere = tmp_path / "other.csv"
    elsewhere.write_text("\n".join(lines) + "\n")
    opened = outside.open_table(elsewhere, book=book)
    outside.seal(opened, outside.predict_table(opened, [parse_target("flops=1e21")]))
    notes = shown(lines).notes
    assert any("no seal of table:runs, only of table:other" in note for note in notes)


def test_a_named_actual_of_another_target_is_refused_and_a_role_is_left_aside(
    shown: Any, lines: list[str]
) -> None:
    with pytest.raises(InputError, match=r"big \(3e\+21 FLOPs\) is not the target: flops=1e\+22"):
        shown([*lines, row("big", "ladder", 3e21)], ("flops=1e22",), actual="big")
    inputs = shown([*lines, row("goal", "target", 3e21)], ("flops=1e22",))
    assert inputs.actual is None and inputs.headline.target["flops"] == 1e22
    assert any("goal" in note and "not compared" in note for note in inputs.notes)


def test_a_diverged_actual_is_told_and_one_that_never_ended_refused(
    shown: Any, lines: list[str]
) -> None:
    inputs = shown([*lines, row("big", "ladder", 3e21, status="diverged")], actual="big")
    assert inputs.diverged and "loss" not in inputs.actual
    with pytest.raises(InputError, match="has not ended"):
        shown([*lines, row("big", "ladder", 3e21, status="running")], actual="big")


def test_a_repeated_key_is_refused_and_a_doubtful_compute_is_a_caution(
    lines: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="names flops twice"):
        parse_target("flops=1e21,flops=1e22")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    opened = outside.open_table(path)
    n = float(np.sqrt(1e21 / 120))
    for factor, doubted in ((1.0, False), (2.9, False), (3.1, True), (0.3, True)):
        target = parse_target(f"flops={factor * 1e21},n_active={n},tokens={20 * n}")
        found = outside.predict_table(opened, [target])[0]
        assert any("mistyped" in note for note in found.loss.cautions) == doubted
        assert json.loads(found.to_json())


def test_sizes_that_cost_more_than_6nd_here_are_a_caution(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    cells = [line.split(",") for line in lines]
    doubled = [",".join([*c[:3], repr(2 * float(c[3])), *c[4:]]) for c in cells[1:]]
    path.write_text("\n".join([lines[0], *doubled]) + "\n")
    opened = outside.open_table(path)
    for text, doubted in (
        ("n_active=9B,tokens=180B", True),
        ("flops=2e22,n_active=9B,tokens=180B", False),
    ):
        (found,) = outside.predict_table(opened, [parse_target(text)])
        said = [note for note in found.loss.cautions if "2 times that: add flops=1.9e+22" in note]
        assert bool(said) == doubted


def test_a_target_that_is_a_run_of_the_table_is_no_forecast(
    lines: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([*lines, row("big", "target", 3e21)]) + "\n")
    opened = outside.open_table(path)
    known = [parse_target("flops=1e20"), parse_target("flops=3e21"), parse_target("flops=4e21")]
    fitted, held, new = outside.predict_table(opened, known)
    assert fitted.loss.cautions[-1].startswith("already_run: the table holds this target as r6")
    assert "which was fitted" in fitted.loss.cautions[-1]
    assert held.loss.cautions[-1] == "already_run: the table holds this target as big: no forecast"
    assert not any("already_run" in note for note in new.loss.cautions)
