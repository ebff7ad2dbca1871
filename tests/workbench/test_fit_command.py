"""`workbench fit`: every law by name, pinned floors, profiles, and refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.cli import main
from workbench.commands.fit import LawName
from workbench.estimate import AUTO, Law

CONSTANTS = {"irreducible": 1.8, "a": 480.0, "b": 2100.0, "alpha": 0.35, "beta": 0.37}


def surface(path: Path, *, noise: float = 1e-3, experts: tuple[int, ...] = (1,)) -> Path:
    """A grid of sizes and tokens under Chinchilla's law, in which experts change nothing."""
    rng = np.random.default_rng(1)
    sizes, seen = np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)
    n, d, e = (axis.ravel() for axis in np.meshgrid(sizes, seen, np.array(experts, float)))
    loss = 1.8 + 480 * n**-0.35 + 2100 * d**-0.37
    table = pd.DataFrame({"n_active": n, "tokens": d, "n_experts": e, "n_total": n * e})
    table["flops"] = 6 * n * d
    table["loss"] = loss * np.exp(noise * rng.standard_normal(n.size))
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return surface(tmp_path / "runs.csv")


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    found = main(["fit", *map(str, words), "--json"])
    captured = capsys.readouterr()
    assert found == status, captured.err
    return json.loads(captured.out)


def test_the_command_knows_every_law_of_the_catalogue() -> None:
    from typing import get_args

    from fits.estimators.catalogue import CATALOGUE

    assert {law.value for law in LawName} - {AUTO} == set(CATALOGUE) == set(get_args(Law))


def test_chinchilla_by_name(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = run(capsys, table, "--law", "chinchilla", "--bootstrap", 40)
    assert list(fit["constants"]) == ["irreducible", "a", "b", "alpha", "beta"]
    for name, value in CONSTANTS.items():
        assert fit["constants"][name] == pytest.approx(value, rel=0.15)
        assert fit["intervals"][name]["lo95"] <= fit["intervals"][name]["hi95"]
    assert fit["starts_agreeing"] > 2 and fit["objective"] > 0
    assert fit["profiles"] == {} and fit["floor"] is None and not fit["left_out"]


@pytest.mark.parametrize("law", ["tied", "kaplan", "coupled"])
def test_other_laws_in_sizes(law: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = run(capsys, table, "--law", law, "--bootstrap", 0)
    assert fit["law"] == law and fit["constants"]["alpha"] > 0
    assert len(fit["runs_used"]) == 25


def test_a_pinned_floor_is_provenance(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = run(capsys, table, "--law", "chinchilla", "--floor", 1.7, "--bootstrap", 0)
    assert fit["constants"]["irreducible"] == pytest.approx(1.7)
    assert fit["floor"] == 1.7 and "floor=1.7" in fit["estimator"]
    assert any("floor_pinned: the irreducible loss is set to 1.7" in c for c in fit["cautions"])
    for law, floor in (("kaplan", 1.0), ("power", 1.0), ("experts", 1.0), ("chinchilla", -1.0)):
        found = run(capsys, table, "--law", law, "--floor", floor, status=2)
        assert "floor" in found["error"]["remedy"] or "at least 0" in found["error"]["remedy"]
    found = run(capsys, table, "--law", "chinchilla", "--floor", 99, status=1)
    assert found["error"]["kind"] == "floor_above_loss"


def test_profiles_stand_beside_the_bootstrap(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = run(capsys, table, "--law", "tied", "--bootstrap", 0, "--profile")
    assert set(fit["profiles"]) == {"irreducible", "a", "b", "alpha"}
    ends = fit["profiles"]["alpha"]
    assert ends["lo90"] < fit["constants"]["alpha"] < ends["hi90"]
    main(["fit", str(table), "--law", "tied", "--bootstrap", "0", "--profile"])
    assert "profile from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("law", "kind"),
    [
        ("experts", "one_expert_count"),
        ("sparse", "one_density"),
        ("chinchilla_total", ""),
        ("repeated", "no_unique_tokens"),
        ("broken", "too_few_runs"),
    ],
)
def test_laws_that_the_table_cannot_identify_refuse_by_name(
    law: str, kind: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (table, "--law", law, "--bootstrap", 0)
    if not kind:
        assert run(capsys, *words)["constants"]["irreducible"] > 1
    else:
        assert run(capsys, *words, status=1)["error"]["kind"] == kind


def test_repeated_runs_are_kept_for_the_law_that_is_about_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.read_csv(surface(tmp_path / "runs.csv"))
    rows["unique_tokens"] = rows["tokens"] / 5
    rows["epochs_web"] = 5.0
    rows.to_csv(tmp_path / "runs.csv", index=False)
    words = (tmp_path / "runs.csv", "--bootstrap", 0)
    assert run(capsys, *words, "--law", "chinchilla", status=1)["error"]["kind"] == "all_screened"
    assert len(run(capsys, *words, "--law", "repeated")["runs_used"]) == 25


def test_the_published_refit_is_reached_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Besiroglu et al. 2024 (arXiv:2404.10102): objective 1.0182740e-3, 245 runs less the worst 5.

    A and B to 0.1 %: the notebook's own BFGS stops that far from the optimum.
    """
    folder = os.environ.get("WORKBENCH_TABLES")
    source = Path(folder or "") / "runs" / "chinchilla_epoch.csv"
    if not folder or not source.exists():
        pytest.skip("the public tables are not here (WORKBENCH_TABLES)")
    path = tmp_path / "epoch.csv"
    pd.read_csv(source).sort_values("loss").iloc[:-5].to_csv(path, index=False)
    fit = run(capsys, path, "--law", "chinchilla", "--bootstrap", 0)
    assert len(fit["runs_used"]) == 240
    assert fit["objective"] <= 0.0010182740 * (1 + 1e-7)
    found = fit["constants"]
    assert found["irreducible"] == pytest.approx(1.8172, abs=1e-4)
    assert [found["alpha"], found["beta"]] == pytest.approx([0.34731, 0.36718], abs=2e-5)
    assert [found["a"], found["b"]] == pytest.approx([477.84, 2143.86], rel=1e-3)
