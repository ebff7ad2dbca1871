"""The commands on a table, from the command line inwards, on runs with a planted law."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import ledger
from workbench.cli import main
from workbench.targets import parse_target

FLOOR, A, B = 1.8, 3e3, 0.17


def loss_of(flops: float) -> float:
    return FLOOR + A * flops**-B


def planted(path: Path, *, budgets: int = 7, extra: str = "") -> Path:
    """Two seeds at each of the budgets from 1e17 up, half a decade apart, noise 0.1 %."""
    rng = np.random.default_rng(3)
    lines = ["run_id,seed,flops,n_active,tokens,loss,loss_code"]
    for k in range(budgets):
        for seed in (0, 1):
            flops = 10 ** (17 + k / 2)
            n = (flops / 120) ** 0.5
            loss = loss_of(flops) * (1 + 1e-3 * rng.standard_normal())
            lines.append(f"r{k}-{seed},{seed},{flops!r},{n!r},{20 * n!r},{loss!r},{loss / 2!r}")
    path.write_text("\n".join(lines) + "\n" + extra)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return planted(tmp_path / "runs.csv")


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    found = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    assert found == status, captured.err
    return json.loads(captured.out)


def test_fit_recovers_the_planted_law(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = run(capsys, "fit", table, "--law", "power_floor", "--bootstrap", 100)
    assert fit["law"] == "power_floor"
    assert fit["constants"]["irreducible"] == pytest.approx(FLOOR, rel=0.03)
    assert fit["constants"]["b"] == pytest.approx(B, rel=0.1)
    ends = fit["intervals"]["irreducible"]
    assert ends["lo95"] <= ends["lo90"] < FLOOR < ends["hi90"] <= ends["hi95"]
    assert fit["starts_agreeing"] > 1
    assert len(fit["runs_used"]) == 14
    half = run(capsys, "fit", table, "--law", "power_floor", "--bootstrap", 0, "--part", "code")
    assert half["constants"]["irreducible"] == pytest.approx(FLOOR / 2, rel=0.03)
    assert half["intervals"] == {}
    again = run(capsys, "fit", table, "--law", "power_floor", "--bootstrap", 100)
    assert again == fit


def test_fit_chooses_a_floor_where_the_runs_can_show_one(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = run(capsys, "fit", table, "--bootstrap", 0)
    assert fit["law"] == "power_floor" and any("was chosen" in text for text in fit["cautions"])
    assert fit["constants"] == run(capsys, "fit", table, "--law", "power_floor")["constants"]
    bare = run(capsys, "fit", table, "--law", "power", "--bootstrap", 0)
    assert bare["law"] == "power" and bare["constants"]["irreducible"] == 0
    pinned = run(capsys, "fit", table, "--law", "auto", "--floor", 1.5, "--bootstrap", 0)
    assert pinned["constants"]["irreducible"] == 1.5 and pinned["law"] == "power_floor"
    few = planted(tmp_path / "few.csv", budgets=4)
    fit = run(capsys, "fit", few, "--bootstrap", 0)
    assert fit["law"] == "power" and any("needs five budgets" in text for text in fit["cautions"])
    fit = run(capsys, "fit", few, "--law", "power_floor", "--bootstrap", 0)
    assert any("not to be trusted" in text for text in fit["cautions"])


def test_fit_refuses_chinchilla_on_one_line(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, "fit", table, "--law", "chinchilla", status=1)
    assert found["error"]["kind"] == "one_line"


def test_fit_names_runs_that_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = planted(tmp_path / "runs.csv", extra="bad,0,1e18,9e7,1.8e9,nan,1\n")
    fit = run(capsys, "fit", path, "--law", "power", "--bootstrap", 0)
    assert [row["run_id"] for row in fit["left_out"]] == ["bad"]
    assert any("row 15" in text for text in fit["cautions"])


def test_a_row_left_out_is_named_where_other_rows_of_its_run_are_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = planted(tmp_path / "runs.csv", extra="r3-1,1,1e18,9e7,1.8e11,3.9,1\n")
    fit = run(capsys, "fit", path, "--law", "power", "--bootstrap", 0)
    assert [row["run_id"] for row in fit["left_out"]] == ["r3-1 (row 15)"]
    main(["fit", str(path), "--law", "power", "--bootstrap", "0"])
    told = capsys.readouterr().out
    assert "left out (1): tokens per parameter more than 2x off 20: r3-1 (row 15)" in told
    assert "r3-1 (row 8)" in fit["runs_used"] and "r3-0" in fit["runs_used"]
    (found,) = run(capsys, "predict", path, "--target", "flops=1e21")["predictions"]
    assert [row["run_id"] for row in found["loss"]["left_out"]] == ["r3-1 (row 15)"]
    main(["import", str(path), "--out", str(tmp_path / "again.csv")])
    assert "row_name" not in (tmp_path / "again.csv").read_text()


def test_an_unknown_part_is_refused_with_those_there_are(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, "fit", table, "--law", "power", "--part", "poems", status=2)
    assert "parts in this table: code" in found["error"]["remedy"]


def test_predict_seals_what_it_printed(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("predict", table, "--target", "flops=1e21", "--target", "n_active=1B,tokens=20B")
    found = run(capsys, *words, "--seal")
    first, second = found["predictions"]
    assert first["loss"]["lo90"] < loss_of(1e21) < first["loss"]["hi90"]
    assert first["compute_ratio"] == pytest.approx(10)
    assert second["target"]["flops"] == 6 * 1e9 * 20e9
    book = table.parent / "ledger.jsonl"
    entries = ledger.read(book).entries
    assert ledger.verify(book) == []
    assert [e.body["prediction"]["loss"]["median"] for e in entries] == [
        first["loss"]["median"],
        second["loss"]["median"],
    ]
    assert found["sealed"][-1]["head"] == ledger.head(book)


def test_a_second_seal_says_which_line_it_repeats(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("predict", table, "--seal", "--target")
    run(capsys, *words, "flops=1e21")
    other = run(capsys, *words, "flops=2e21", "--part", "code")
    assert not any("sealed_before" in text for text in other["cautions"])
    again = run(capsys, *words, "flops=2e21", "--target", "flops=1e21")
    (said,) = [text for text in again["cautions"] if text.startswith("sealed_before: ")]
    assert said.startswith(f"sealed_before: flops=1e+21 repeats line 1 of {table.parent}")
    assert len(again["sealed"]) == 2
    twice = run(capsys, *words, "flops=1e21", "--target", "flops=10e20", status=2)
    assert "asked twice" in twice["error"]["what"]


def test_the_next_line_shows_what_was_asked(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def next_line(*words: str) -> str:
        assert (
            main(["predict", str(table), "--target", "n_active=1.234567B,tokens=20B", *words]) == 0
        )
        return capsys.readouterr().out.splitlines()[-1]

    long = "flops=1.4814804e+20,n_active=1234567000.0,tokens=20000000000.0"
    assert (
        next_line("--part", "code") == f"next: workbench report {table} --target {long} --part code"
    )
    book = str(table.parent / "kept.jsonl")
    sealed = next_line("--seal", "--ledger", book)
    assert sealed == f"next: workbench report {table} --ledger {book}"
    files = run(capsys, *sealed.split()[2:])
    assert json.loads(Path(files["json"]).read_text())["target"]["n_active"] == 1234567000


def test_a_refusal_is_sealed_and_is_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = planted(tmp_path / "few.csv", budgets=2)
    found = run(capsys, "predict", few, "--target", "flops=1e21", "--seal", status=1)
    assert found["predictions"][0]["loss"]["refused"] == "too_few_budgets"
    assert found["sealed"]
    assert len(ledger.read(tmp_path / "ledger.jsonl").entries) == 1


def test_report_shows_the_sealed_prediction_against_the_actual(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed = run(capsys, "predict", table, "--target", "flops=1e21", "--seal")
    with table.open("a") as file:
        file.write(f"big,0,1e21,2.9e9,5.8e10,{loss_of(1e21)!r},1.4\n")
    files = run(capsys, "report", table, "--actual", "big", "--out", table.parent / "out")
    assert Path(files["pdf"]).read_bytes().startswith(b"%PDF")
    report = json.loads(Path(files["json"]).read_text())
    assert report["loss"]["predicted"] == sealed["predictions"][0]["loss"]["median"]
    assert report["loss"]["actual"] == pytest.approx(loss_of(1e21))
    assert report["sealed_before_target"] is None  # a table cannot show it
    assert "backtest" not in report["tables"]
    found = run(capsys, "report", table, "--actual", "bigger", status=2)
    assert "has no run 'bigger'" in found["error"]["what"]


def test_an_anchor_without_a_seal_or_of_another_ledger_is_told(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = "a" * 64
    words = ("report", table, "--target", "flops=1e21", "--out", table.parent / "out", "--anchor")
    found = run(capsys, *words, "abc", status=2)["error"]
    assert "holds no ledger head" in found["what"] and "predict --seal" in found["remedy"]
    found = run(capsys, *words, strange, status=2)["error"]
    assert "flops=1e+21 is not sealed" in found["what"] and "--ledger" in found["remedy"]
    sealed = run(capsys, "predict", table, "--target", "flops=1e21", "--seal")["sealed"]
    run(capsys, *words, sealed[0]["head"])
    main([*map(str, words), strange])
    error = capsys.readouterr().err
    assert "is not in the ledger" in error and f"now {sealed[0]['head'][:12]}" in error


def test_a_report_shows_the_past_on_request(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = run(capsys, "report", table, "--backtest", "--out", table.parent / "out")
    report = json.loads(Path(files["json"]).read_text())
    rows = report["tables"]["backtest"]
    assert {"forecaster", "power"} <= {row["law"] for row in rows}
    few = planted(table.parent / "few.csv", budgets=1)
    files = run(capsys, "report", few, "--backtest", "--out", table.parent / "few")
    report = json.loads(Path(files["json"]).read_text())
    assert any("no backtest: no 3 runs" in row["text"] for row in report["diagnostics"])


def test_an_edited_ledger_refuses_new_seals(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("predict", table, "--target", "flops=1e21", "--seal")
    run(capsys, *words)
    book = table.parent / "ledger.jsonl"
    book.write_text(book.read_text().replace('"seed":0', '"seed":1'))
    before = book.read_bytes()
    found = run(capsys, *words, status=1)
    assert "broken" in found["error"]["what"]
    assert book.read_bytes() == before


def test_people_get_every_target_in_a_hundred_columns_and_each_caution_once(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = ("--target", "flops=1e21", "--target", "n_active=70B,tokens=1.4T,n_total=300B")
    assert main(["predict", str(table), *targets, "--target", "flops=1e40"]) == 0
    out = capsys.readouterr().out
    head = out[: out.index("flops=1e+40: refused")]
    assert max(map(len, head.splitlines())) <= 100
    assert "n_active=70B, tokens=1.4T, n_total=300B" in out
    assert "do: predict a nearer target" in out
    cautions = [line for line in out.splitlines() if line.startswith("caution: ")]
    assert cautions and len(set(cautions)) == len(cautions)
    assert f"next: workbench report {table}" in out


def test_people_get_tables_and_cautions(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(table), "--bootstrap", "0"]) == 0
    out = capsys.readouterr().out
    assert "irreducible" in out
    assert "power_floor law of loss, 14 runs" in out


def test_grade_gives_a_verdict_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, out = tmp_path / "samples.jsonl", tmp_path / "verdicts.jsonl"
    item = {"prompt": "def f(x):\n", "tests": [[1, 2], [5, 6]]}
    bodies = ["    return x + 1\n", "    return 2\n", "    import os\n    return x + 1\n"]
    samples.write_text("".join(json.dumps(item | {"completion": b}) + "\n" for b in bodies))
    found = run(capsys, "grade", samples, "--out", out)
    verdicts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [verdict["passed"] for verdict in verdicts] == [True, False, False]
    assert found["passed"] == 1
    samples.write_text('{"prompt": "", "completion": ""}\n')
    assert "has no 'tests'" in run(capsys, "grade", samples, status=2)["error"]["what"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1e23", "no pair"),
        ("compute=1e23", "no key 'compute'"),
        ("flops=lots", "finite number above 0"),
        ("flops=-1", "finite number above 0"),
        ("n_active=1B", "needs flops, or n_active and tokens"),
    ],
)
def test_a_target_that_cannot_be_is_refused(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        parse_target(text)
