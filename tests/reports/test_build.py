"""Whole reports: the files, their keys, and what names with markup in them do (nothing)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fits.predictions.prediction import Estimate, Prediction
from reports.build import page_sources, write_figure_png, write_report
from reports.content import compute_content
from reports.inputs import ReportInputs

HOSTILE = "#let $x$ *b* _i_ \"q\" 'a' <l> @r // \\ `c` ]) ${} & ￥ 漢 \x07\n" + "w" * 90


def page_of(inputs: ReportInputs) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page_sources(compute_content(inputs))["page.json"])
    return found


def lean(inputs: ReportInputs) -> ReportInputs:
    """The same without the figures that the test does not ask about."""
    return dataclasses.replace(inputs, samples=None, curves=None)


def titles(page: dict[str, Any]) -> list[str]:
    return [section["title"] for section in page["sections"]]


def refuse(item: Prediction, name: str = "too_few_budgets") -> Prediction:
    no = Estimate(refused=name, reason="3 budgets over 0.6 decades; five over 1.5 are needed")
    return dataclasses.replace(
        item,
        compute_ratio=None,
        loss=no,
        parts=dict.fromkeys(item.parts, no),
        pass_rate=no,
        buckets=dict.fromkeys(item.buckets, no),
    )


def test_a_target_that_diverged_is_told_as_such(demo: ReportInputs) -> None:
    lost = {"status": "diverged", "flops": 1.2e13, "run_id": "id-target"}
    runs = demo.runs.copy()
    runs.loc[runs["role"] == "target", [c for c in runs.columns if c.startswith("loss")]] = np.nan
    told = dataclasses.replace(lean(demo), actual=lost, runs=runs)
    page = page_of(told)
    assert page["front"]["kicker"] == "Prediction against actual"
    assert page["front"]["sentence"].startswith("The target diverged: ")
    assert page["front"]["tone"] == "miss"
    content = compute_content(told)
    assert ("against", "The target diverged, so the recipe did not carry over to its size.") in (
        content.findings
    )
    assert "actual" not in set(content.forecast["mark"])
    assert "not yet trained" not in json.dumps(page) and "Diamond" not in json.dumps(page)


@pytest.fixture(scope="module")
def written(demo: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("demo")
    files = write_report(demo, folder)
    found: dict[str, Any] = json.loads(files.json.read_text())
    return {"files": files, "folder": folder, "record": found}


def test_both_files_stand_whole_and_alone(written: dict[str, Any]) -> None:
    assert written["files"].pdf.read_bytes().startswith(b"%PDF-")
    names = sorted(path.name for path in written["folder"].iterdir())
    assert names == ["report.json", "report.pdf"]  # and no temporary file


def test_the_record_has_the_promised_keys(written: dict[str, Any], demo: ReportInputs) -> None:
    record = written["record"]
    for holder in (record, record["x1000"]):
        assert holder["sealed_before_target"] is True
        assert holder["compute_ratio"] > 20
        for quantity in ("loss", "pass_rate"):
            assert {"predicted", "lo", "hi", "actual"} <= set(holder[quantity])
            assert "refused" not in holder[quantity]
    loss = demo.predictions[0].loss
    assert record["loss"]["predicted"] == loss.median
    assert (record["loss"]["lo"], record["loss"]["hi"]) == (loss.lo90, loss.hi90)
    assert demo.actual is not None
    assert record["loss"]["actual"] == demo.actual["loss"]
    assert record["wall_seconds"] == pytest.approx(sum(demo.wall.values()))
    assert "wall_seconds" not in record["x1000"]


def test_the_page_prints_the_numbers_of_the_record(
    written: dict[str, Any], demo: ReportInputs
) -> None:
    text = json.dumps(page_of(demo)["front"], ensure_ascii=False)
    loss = written["record"]["loss"]
    for value in (loss["predicted"], loss["lo"], loss["hi"], loss["actual"]):
        assert f"{value:.3f}" in text


def test_the_same_inputs_give_the_same_bytes(
    written: dict[str, Any], demo: ReportInputs, tmp_path: Path
) -> None:
    again = write_report(demo, tmp_path)
    assert again.pdf.read_bytes() == written["files"].pdf.read_bytes()
    assert again.json.read_bytes() == written["files"].json.read_bytes()


def test_refusals_are_null_with_their_name(demo: ReportInputs, tmp_path: Path) -> None:
    refused = tuple(refuse(item) for item in demo.predictions)
    files = write_report(dataclasses.replace(lean(demo), predictions=refused), tmp_path)
    record = json.loads(files.json.read_text())
    for holder in (record, record["x1000"]):
        assert holder["loss"]["predicted"] is None
        assert holder["loss"]["lo"] is None
        assert holder["loss"]["refused"] == "too_few_budgets"
        assert holder["loss"]["actual"] is not None
        assert holder["compute_ratio"] is None
    assert record["verdict"].startswith("Refused: too_few_budgets — 3 budgets")


def test_one_refusal_does_not_hide_the_other(demo: ReportInputs, tmp_path: Path) -> None:
    mixed = dataclasses.replace(
        lean(demo), predictions=(demo.predictions[0], refuse(demo.predictions[1]))
    )
    record = json.loads(write_report(mixed, tmp_path).json.read_text())
    assert record["loss"]["predicted"] is not None
    assert record["x1000"]["loss"]["predicted"] is None
    lines = page_of(mixed)["front"]["lines"]
    assert any("x1000" in line and "too_few_budgets" in line for line in lines)


def test_before_the_target_is_trained_nothing_is_actual(demo: ReportInputs, tmp_path: Path) -> None:
    open_ = dataclasses.replace(
        lean(demo), actual=None, runs=demo.runs[demo.runs["role"] != "target"]
    )
    record = json.loads(write_report(open_, tmp_path).json.read_text())
    assert record["loss"]["actual"] is None
    assert record["loss"]["error_percent"] is None
    front = page_of(open_)["front"]
    assert "not yet trained" in front["sentence"]
    assert "actual" not in front["tables"][0]["head"]


def test_an_outside_table_gives_a_report_without_empty_sections(
    outside: Callable[..., ReportInputs], tmp_path: Path
) -> None:
    inputs = outside(4)
    record = json.loads(write_report(inputs, tmp_path).json.read_text())
    assert record["sealed_before_target"] is None
    assert record["wall_seconds"] is None
    found = titles(page_of(inputs))
    assert "Runs" in found and "Diagnostics" in found
    assert not {"Loss by part", "Pass rates", "Loss curves"} & set(found)


def test_empty_frames_are_as_good_as_none(demo: ReportInputs) -> None:
    bare = dataclasses.replace(demo, samples=pd.DataFrame(), curves=pd.DataFrame())
    assert "Loss curves" not in titles(page_of(bare))


def test_hostile_names_are_only_names(demo: ReportInputs, tmp_path: Path) -> None:
    runs = demo.runs.assign(name=HOSTILE, device=HOSTILE, loss_zoo=2.0)
    runs = runs.rename(columns={"loss_zoo": f"loss_{HOSTILE}"})
    first = demo.predictions[0]
    odd = dataclasses.replace(
        first,
        name=HOSTILE,
        buckets={HOSTILE: first.pass_rate},
        parts={HOSTILE: first.loss},
        cautions=(HOSTILE,),
    )
    inputs = dataclasses.replace(
        demo,
        title=HOSTILE,
        runs=runs,
        predictions=(odd, refuse(demo.predictions[1], HOSTILE)),
        family={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
        wall={HOSTILE: 2.0},
    )
    files = write_report(inputs, tmp_path)
    assert json.loads(files.json.read_text())["title"] == HOSTILE
    assert '$x$ *b* _i_ "q"' in page_of(inputs)["front"]["title"]


def test_numbers_that_are_not_finite_are_null(demo: ReportInputs, tmp_path: Path) -> None:
    runs = demo.runs.copy()
    runs.loc[0, ["loss", "loss_text"]] = np.nan
    runs.loc[1, "loss"] = np.inf
    runs["status"] = ["diverged", *["finished"] * (len(runs) - 1)]
    files = write_report(dataclasses.replace(lean(demo), runs=runs), tmp_path)
    record = json.loads(files.json.read_text(), parse_constant=pytest.fail)
    assert any("diverged" in row["text"] for row in record["diagnostics"])


def test_a_failed_write_leaves_the_old_report(
    demo: ReportInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.json").write_text("old")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("reports.build.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_report(dataclasses.replace(demo, curves=None, samples=None), tmp_path)
    assert (tmp_path / "report.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_the_key_figure_is_a_picture(outside: Callable[..., ReportInputs], tmp_path: Path) -> None:
    path = write_figure_png(outside(), tmp_path / "deep" / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"predictions": ()}, "predictions is empty"),
        ({"runs": pd.DataFrame({"flops": [1.0]})}, "no column"),
        ({"seal": {"state": "fine"}}, "seal state 'fine'"),
    ],
)
def test_inputs_that_cannot_be_reported_are_refused(
    demo: ReportInputs, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(demo, **fields)
