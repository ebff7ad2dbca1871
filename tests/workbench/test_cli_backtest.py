"""`workbench backtest`: what is held out, what every law says of it, and the figure."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fits.screens import screen
from workbench.backtest_table import APART, FEWEST, SLACK, questions, summary
from workbench.cli import main


def loss_of(flops: float) -> float:
    return 1.8 + 3e3 * flops**-0.17


def planted(path: Path, *, budgets: int = 7, extra: str = "") -> Path:
    """Two seeds at each of the budgets from 1e17 up, half a decade apart, noise 0.1 %."""
    rng = np.random.default_rng(3)
    lines = ["run_id,seed,flops,n_active,tokens,loss"]
    for k in range(budgets):
        for seed in (0, 1):
            flops = 10 ** (17 + k / 2)
            n = (flops / 120) ** 0.5
            loss = loss_of(flops) * (1 + 1e-3 * rng.standard_normal())
            lines.append(f"r{k}-{seed},{seed},{flops!r},{n!r},{20 * n!r},{loss!r}")
    path.write_text("\n".join(lines) + "\n" + extra)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    found = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    assert found == status, captured.err
    return json.loads(captured.out)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The printed document of one backtest with its figure."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("backtest")
    table, out = planted(folder / "runs.csv"), io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["backtest", str(table), "--figure", str(folder / "f.png"), "--json"]) == 0
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def test_every_law_answers_every_question(found: dict[str, Any]) -> None:
    rows = pd.DataFrame(found["rows"])
    laws = set(rows["law"])
    assert {"forecaster", "power", "chinchilla", "last two rungs"} <= laws
    asked = rows.groupby(["target_flops", "cut"])["law"].agg(list)
    assert all(set(answers) == laws and len(answers) == len(laws) for answers in asked)
    assert rows["target_flops"].nunique() == 3
    for flops, group in rows.groupby("target_flops"):
        assert group["actual"].iloc[0] == pytest.approx(loss_of(float(flops)), rel=3e-3)


def test_what_is_fitted_lies_below_what_is_held_out(found: dict[str, Any]) -> None:
    rows = pd.DataFrame(found["rows"])
    assert (rows["compute_ratio"] * SLACK >= rows["cut"]).all()
    assert (rows["runs"] >= FEWEST).all()
    largest = rows[rows["target_flops"] == rows["target_flops"].max()]
    assert largest["compute_ratio"].min() == pytest.approx(10**0.5)
    assert largest["compute_ratio"].max() > 100
    assert rows.groupby("target_flops")["cut"].nunique().min() >= 1


def test_errors_and_intervals_are_those_of_the_numbers(found: dict[str, Any]) -> None:
    for row in found["rows"]:
        assert (row["predicted"] is None) == (row["refused"] is not None)
        if row["predicted"] is not None:
            assert row["error_percent"] == pytest.approx(
                100 * (row["predicted"] / row["actual"] - 1)
            )
        if row["lo90"] is not None:
            assert row["lo90"] <= row["lo50"] <= row["predicted"] <= row["hi50"] <= row["hi90"]
            assert row["inside_90"] == (row["lo90"] <= row["actual"] <= row["hi90"])
    near = [r for r in found["rows"] if r["law"] == "power_floor" and r["compute_ratio"] < 4]
    assert near and all(abs(row["error_percent"]) < 1 for row in near)
    assert any(row["lo90"] is not None for row in found["rows"] if row["law"] == "forecaster")


def test_the_summary_is_over_all_rows(found: dict[str, Any]) -> None:
    rows = pd.DataFrame(found["rows"])
    for item in found["summary"]:
        own = rows[rows["law"] == item["law"]]
        errors = own["error_percent"].dropna().abs()
        assert item["predictions"] == len(errors)
        assert item["predictions"] + item["refused"] == len(own)
        if len(errors):
            assert item["median"] == pytest.approx(errors.median())
            assert item["worst"] == pytest.approx(errors.max())
    refused = pd.DataFrame({"law": ["a"], "error_percent": [None], "inside_90": [None],
                            "compute_ratio": [3.0], "refused": ["too_few_runs"]})  # fmt: skip
    assert summary(refused).iloc[0]["median"] is None


def test_the_figure_is_a_picture(found: dict[str, Any]) -> None:
    assert Path(found["figure"]).read_bytes().startswith(b"\x89PNG")


def test_of_several_sizes_at_one_compute_the_best_is_the_target() -> None:
    rows = []
    for k in range(6):
        flops = 10 ** (18 + k / 2)
        for shift in (0.8, 1.0, 1.25):  # all near the nominal tokens per parameter
            n = shift * (flops / 120) ** 0.5
            off = 3 * math.log(shift) ** 2
            rows.append({"run_id": f"r{k}-{shift}", "flops": flops, "n_active": n,
                         "tokens": flops / 6 / n, "loss": loss_of(flops) + off})  # fmt: skip
    screened = screen(pd.DataFrame(rows), loss="loss")
    asked = questions(screened, "loss")
    targets = sorted({question.target["flops"] for question in asked}, reverse=True)
    assert targets == pytest.approx([10**20.5, 10**20, 10**19.5])
    assert all(a / b >= APART for a, b in pairwise(targets))
    for question in asked:
        flops = question.target["flops"]
        assert question.target["actual"] == pytest.approx(loss_of(flops))
        assert question.target["n_active"] == pytest.approx((flops / 120) ** 0.5)
        assert question.small["flops"].max() <= SLACK * flops / question.cut


def test_one_budget_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = planted(tmp_path / "few.csv", budgets=1)
    error = run(capsys, "backtest", few, status=1)["error"]
    assert error["kind"] == "one_budget"
    assert "budget" in error["remedy"] and "a refusal" not in error["remedy"]


def test_a_figure_of_no_known_form_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = run(capsys, "backtest", "missing.csv", "--figure", "f.jpg", status=2)["error"]
    assert "not a figure" in error["what"] and ".png" in error["remedy"]


def test_runs_that_are_kept_out_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = planted(tmp_path / "runs.csv", budgets=3, extra="bad,0,1e22,9e7,1.8e9,nan\n")
    assert main(["backtest", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "caution: 1 run(s) kept out" in printed
    assert "caution: loss, row 7: not a finite number" in printed
    assert max(map(len, printed.splitlines())) <= 100
