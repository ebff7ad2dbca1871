"""The forecast benchmark: what is held out, what a score is, and how scores are summed up."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import benchmarks.forecast as forecast_benchmark
from benchmarks.forecast_methods import LEVELS
from benchmarks.forecast_scores import (
    best_rivals,
    evaluate,
    evaluate_all,
    pairs,
    score,
    summary,
    weighted_interval_scores,
)
from benchmarks.forecast_tables import LABS, SOURCES, Case, Table, load, split
from fits.observations import FitError


def table_of(flops: list[float], **more: object) -> Table:
    runs = pd.DataFrame({"run_id": [f"r{i}" for i in range(len(flops))], "flops": flops})
    runs["loss"] = 2 + 30 * runs["flops"] ** -0.1
    return Table(source="s", name="t", runs=runs.assign(**more))


def case_of(source: str = "s", table: str = "t", ratio: float = 10.0, actual: float = 2.0) -> Case:
    return Case(
        source=source, table=table, cutoff=10.0, ratio=ratio, train=pd.DataFrame({"flops": [1.0]}),
        targets=pd.DataFrame({"flops": [ratio]}), actual=np.array([actual]),
    )  # fmt: skip


def always(value: float):
    """A predictor of a point."""
    return lambda train, targets: np.full((len(targets), 7), value)


def refuse(train: pd.DataFrame, targets: pd.DataFrame) -> np.ndarray:
    raise FitError("shy", "no")


# What is held out


def test_a_split_fits_small_runs_only_and_hides_the_loss_of_the_largest():
    flops = [*np.geomspace(1e15, 1e18, 16), 0.95e18]
    cases = split(table_of(flops))
    assert [case.cutoff for case in cases] == [10, 30, 100]  # 300 leaves too few
    for case in cases:
        assert case.train["flops"].max() <= 1.05 * 1e18 / case.cutoff
        assert len(case.train) >= 6
        assert sorted(case.targets["flops"]) == [0.95e18, 1e18] and "loss" not in case.targets
        mean = np.sqrt(0.95e18 * 1e18)
        assert case.ratio == pytest.approx(mean / case.train["flops"].max())
    assert [case.band for case in cases] == ["<20x", "20–90x", "≥90x"]


def test_no_row_of_the_targets_own_run_is_fitted_and_equal_sets_are_asked_once():
    table = table_of([1e10, 2e10, 3e10, 4e10, 5e10, 6e10, 7e10, 1e15])
    table.runs.loc[3, "run_id"] = "r7"  # a checkpoint of the largest run
    (case,) = split(table)
    assert sorted(case.train["flops"]) == [1e10, 2e10, 3e10, 5e10, 6e10, 7e10]


def test_the_tiny_ladders_need_no_folder_and_keep_three_rungs():
    tables = load(None, ["tiny"])
    assert len(tables) == 14
    rows = pd.concat([t.runs.assign(table=t.name) for t in tables])
    at = rows[(rows["table"] == "conv") & (rows["flops"] == 1.28e13)]
    assert at["loss"].tolist() == [2.624]
    cases = [case for table in tables for case in split(table)]
    assert len(cases) >= 25 and min(len(case.train) for case in cases) == 3
    assert all(8 < case.ratio < 40 and len(case.targets) == 1 for case in cases)


def test_the_points_of_constant_compute_come_with_the_project():
    found = {table.name: table for table in load(None, ["isoflops"])}
    assert set(found) == {"llama3", "comma", "dclm", "nemotron", "fineweb_c4"}
    assert {t.source for t in found.values()} == set(LABS)
    (target,) = split(found["nemotron"])[0].targets.itertuples()
    assert target.flops == pytest.approx(1e21, rel=1e-3)
    for table in found.values():
        assert all(len(case.train) >= 6 for case in split(table))


def test_a_folder_of_further_tables(tmp_path: Path):
    (tmp_path / "further").mkdir()
    n = np.geomspace(1e7, 1e9, 8)
    rows = pd.DataFrame({"flops": 120 * n**2, "n_active": n, "tokens": 20 * n})
    rows["loss"] = 2 + 30 * rows["flops"] ** -0.1
    poor = rows.iloc[[-1]].assign(loss=1.05 * rows["loss"].iloc[-1])  # of a shape nobody plans
    both = pd.concat([rows, poor]).assign(table="one")
    pd.concat([both, rows.assign(table="two")]).to_csv(tmp_path / "further" / "lab.csv")
    one, two = load(tmp_path, ["lab"])
    assert (one.source, one.name, two.name) == ("lab", "one", "two")
    assert len(one.runs) == len(two.runs) == 8
    rows.drop(columns=["tokens"]).to_csv(tmp_path / "further" / "lab.csv")
    with pytest.raises(ValueError, match="lab has no column tokens"):
        load(tmp_path, ["lab"])
    with pytest.raises(ValueError, match=r"no source other; there are .*lab"):
        load(tmp_path, ["other"])
    for column, value in (("loss", "broken"), ("flops", np.nan), ("n_active", -1)):
        rows.astype(object).assign(**{column: [*rows[column][:-1], value]}).to_csv(
            tmp_path / "further" / "lab.csv"
        )
        with pytest.raises(ValueError, match=f"lab, row 8: {column} is no positive number"):
            load(tmp_path, ["lab"])
    named = rows.assign(run_id=["a", "b", "c", "d", "e", "f", "g", "g"])
    named.to_csv(tmp_path / "further" / "lab.csv")
    for case in split(load(tmp_path, ["lab"])[0]):  # a checkpoint of the target is not fitted
        assert set(case.targets["run_id"]) == {"g"} and "g" not in set(case.train["run_id"])
    (tmp_path / "further" / "lab.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"lab\.csv is no CSV"):
        load(tmp_path, ["lab"])
    (tmp_path / "further" / "lab.csv").rename(tmp_path / "further" / "marin.csv")
    with pytest.raises(ValueError, match=r"marin\.csv has the name of another source"):
        load(tmp_path, ["tiny"])


def public_tables() -> dict[str, list[Table]]:
    folder = os.environ.get("WORKBENCH_TABLES")
    if not folder or not (Path(folder) / "runs").is_dir():
        pytest.skip("the public tables are not here (WORKBENCH_TABLES)")
    return {name: load(Path(folder), [name]) for name in SOURCES}


def test_the_public_tables_are_what_their_loaders_say():
    found = public_tables()
    assert {name: len(tables) for name, tables in found.items()} == {
        "chinchilla_epoch": 1, "gadre": 9, "gemstones": 2, "olmo_ladder": 20, "routing": 11,
        "isoflops": 5, "tiny": 14,
    }  # fmt: skip
    assert len(found["chinchilla_epoch"][0].runs) == 240
    for name, least, most in [("chinchilla_epoch", 1, 1), ("gadre", 1, 1), ("gemstones", 1, 1),
                              ("routing", 1, 1), ("olmo_ladder", 1.15, 1.67)]:  # fmt: skip
        for table in found[name]:
            counted = table.runs["flops"] / (6 * table.runs["n_active"] * table.runs["tokens"])
            assert counted.between(0.999 * least, 1.001 * most).all(), table.name
    targets = {t.name: split(t)[0].targets["run_id"].tolist() for t in found["olmo_ladder"]}
    assert targets["c4 at 7B"] == ["peteish7_eval_anneal"]
    assert targets["pile at 13B"] == ["peteish13_eval_final"]
    ends, checkpoints = found["gemstones"]
    assert len(ends.runs) == 22 and len(checkpoints.runs) == 110
    (joint,) = [t for t in found["routing"] if t.name == "all experts"]
    assert len(split(joint)[0].targets) == 10 and {"n_total", "n_experts"} <= set(joint.runs)
    assert split(joint)[0].train["n_active"].max() < 1.4e8


# What a score is


def test_the_score_by_hand():
    quantiles = np.array([[1.0, 1.5, 1.8, 2.0, 2.2, 2.5, 3.0]])
    inside = (0.05 + 0.25 * 0.4 + 0.05 * 1.0 + 0.025 * 2.0) / 3.5
    assert weighted_interval_scores(quantiles, np.array([2.1])) == pytest.approx(inside)
    # 3.8: the median misses by 1.8, the intervals by 1.6, 1.3 and .8
    missed = (0.5 * 1.8 + 0.25 * 0.4 + 1.6 + 0.05 * 1.0 + 1.3 + 0.025 * 2.0 + 0.8) / 3.5
    assert weighted_interval_scores(quantiles, np.array([3.8])) == pytest.approx(missed)
    found = score(quantiles, np.array([2.4]))
    assert (found["cover50"], found["cover90"], found["cover95"]) == (0, 1, 1)
    assert found["width95"] == pytest.approx(2 / 2.4)
    assert found["error"] == pytest.approx(2 / 2.4 - 1)


def test_a_point_scores_its_error_and_the_true_quantiles_score_best():
    assert weighted_interval_scores(np.full((1, 7), 3.0), np.array([2.5])) == pytest.approx(0.5)
    actual = np.random.default_rng(0).standard_normal(20_000)
    normal = stats.norm.ppf(LEVELS)
    mean = {
        width: weighted_interval_scores(np.tile(width * normal, (actual.size, 1)), actual).mean()
        for width in (0.5, 0.8, 1.0, 1.25, 2.0)
    }
    assert min(mean, key=mean.__getitem__) == 1.0


def test_quantiles_that_cross_or_are_too_few_are_no_answer():
    with pytest.raises(ValueError, match="ascend"):
        score(np.array([[1, 2, 3, 5, 4, 6, 7.0]]), np.array([4.0]))
    with pytest.raises(ValueError, match="shape"):
        score(np.ones((2, 7)), np.array([4.0]))


def test_a_case_answered_in_part_is_scored_on_that_part_and_never_paired():
    case = Case(
        source="s", table="t", cutoff=10.0, ratio=10.0, train=pd.DataFrame({"flops": [1.0]}),
        targets=pd.DataFrame({"flops": [10.0] * 4}), actual=np.full(4, 2.0),
    )  # fmt: skip

    def partly(train: pd.DataFrame, targets: pd.DataFrame) -> np.ndarray:
        return np.where(np.arange(4)[:, None] < 1, np.nan, np.full((4, 7), 2.2))

    scores = evaluate_all([case], {"forecaster": partly, "whole": always(2.1)})
    assert scores["answered"].tolist() == [3, 4]
    assert scores["abs_error"].tolist() == pytest.approx([0.1, 0.05])
    assert summary(scores)["refused"].tolist() == [0.25, 0] and not len(pairs(scores))


def test_every_case_has_a_row_and_its_refusal_a_name():
    def slow(train: pd.DataFrame, targets: pd.DataFrame) -> np.ndarray:
        time.sleep(5)
        return np.ones((1, 7))

    def broken(train: pd.DataFrame, targets: pd.DataFrame) -> np.ndarray:
        raise KeyError("a bug")

    methods = {"a": always(2.2), "b": refuse, "c": slow, "d": always(float("nan"))}
    rows = evaluate_all([case_of()], methods, seconds=0.05).set_index("method")
    assert rows.loc["a", "abs_error"] == pytest.approx(0.1) and pd.isna(rows.loc["a", "refused"])
    assert rows.loc["b", "refused"] == "shy" and np.isnan(rows.loc["b", "wis"])
    assert rows.loc["c", "refused"] == "over 0.05 s" and rows.loc["c", "seconds"] < 1
    assert rows.loc["d", "refused"].startswith("ValueError")
    with pytest.raises(KeyError):
        evaluate([case_of()], broken)


# How scores are summed up


def test_a_source_counts_once_however_many_cases_it_has():
    many = [case_of("many", f"t{i}", actual=2.0) for i in range(9)]
    rows = summary(evaluate([*many, case_of("one", actual=4.0)], always(2.0)))
    assert len(rows) == 1 and rows["band"].tolist() == ["<20x"]
    assert rows["wis"].item() == pytest.approx((0 + 0.5) / 2)
    assert rows["median_error"].item() == 0
    assert rows["worst"].item() == "one t" and rows["cover90"].item() == pytest.approx(0.5)


def test_two_methods_are_compared_where_both_answered():
    cases = [case_of("a", "1"), case_of("a", "2", actual=1.0), case_of("b", "3", ratio=50.0)]

    def choosy(train: pd.DataFrame, targets: pd.DataFrame) -> np.ndarray:
        return refuse(train, targets) if targets["flops"].item() > 20 else np.full((1, 7), 2.5)

    methods = {"forecaster": always(2.5), "choosy": choosy, "worse": always(4.0), "no": refuse}
    scores = evaluate_all(cases, methods)
    against = pairs(scores).set_index(["band", "other"])
    assert against.loc[("<20x", "choosy"), ["cases", "ratio"]].tolist() == [2, 1.0]
    assert ("20–90x", "choosy") not in against.index and "no" not in against.index.levels[1]
    assert against.loc[("<20x", "worse"), "ratio"] == pytest.approx((0.25 + 1.5) / (1 + 3))
    best = best_rivals(pairs(scores)).set_index("band")["other"]
    assert best.to_dict() == {"<20x": "choosy", "20–90x": "worse"}
    counts = summary(scores).set_index(["band", "method"])["refused"]
    assert counts["20–90x", "choosy"] == 1 and counts["<20x", "no"] == 2


def test_a_rival_that_answers_little_is_not_the_best():
    against = pd.DataFrame({
        "band": ["<20x", "<20x"], "other": ["lucky", "steady"], "cases": [4, 5], "of": [10, 10],
        "ratio": [3.0, 0.8],
    })  # fmt: skip
    assert best_rivals(against)["other"].tolist() == ["steady"]


# The command


def test_without_tables_it_says_what_to_set(monkeypatch, capsys):
    monkeypatch.delenv("WORKBENCH_TABLES", raising=False)
    assert forecast_benchmark.main([]) == 2
    what, remedy = capsys.readouterr().err.splitlines()
    assert "chinchilla_epoch.csv" in what and "WORKBENCH_TABLES is not set" in remedy
    monkeypatch.setenv("WORKBENCH_TABLES", "/nowhere")
    assert forecast_benchmark.main(["--source", "gadre"]) == 2
    assert "/nowhere" in capsys.readouterr().err
    assert forecast_benchmark.main(["--source", "gadr"]) == 2
    assert "there are chinchilla_epoch, gadre" in capsys.readouterr().err
    assert forecast_benchmark.main(["--source", "tiny", "--methods", "best"]) == 2
    assert "no method best" in capsys.readouterr().err


def written() -> int:
    path = forecast_benchmark.RESULT
    return path.stat().st_mtime_ns if path.exists() else 0


def test_a_restricted_run_prints_and_writes_only_where_told(tmp_path, capsys):
    standing = written()
    asked = ["--source", "tiny", "--methods", "last_two,chinchilla", "--workers", "2"]
    assert forecast_benchmark.main([*asked, "--results", str(tmp_path / "a.json")]) == 0
    shown = capsys.readouterr().out
    assert "last_two" in shown and "too_few_runs" in shown and "<20x" in shown
    record = json.loads((tmp_path / "a.json").read_text())
    rows = pd.DataFrame(record["scores"]["rows"], columns=record["scores"]["columns"])
    assert record["kind"] == "forecast" and record["cases"] * 2 == len(rows)
    assert set(rows["refused"].dropna()) == {"too_few_runs"}
    assert rows["wis"].isna().tolist() == rows["refused"].notna().tolist()
    assert forecast_benchmark.main([*asked[:4], "--workers", "1", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)["scores"]  # one process or two
    assert [row[:-1] for row in alone["rows"]] == [row[:-1] for row in record["scores"]["rows"]]
    assert written() == standing
