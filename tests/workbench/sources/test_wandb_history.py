"""The export of a Weights & Biases chart: a column a run becomes a row a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import InputError
from workbench.importers import Imported, import_runs, import_table
from workbench.sources.parameters import parse_runs, read_parameters
from workbench.sources.wandb_history import is_history


def export(path: Path, curves: dict[str, list[float | str]], *, axis: str = "Step") -> Path:
    """As W&B writes it: every cell in quotes, empty where a run has nothing at that step."""
    names = [axis, *(f"{name}{end}" for name in curves for end in ("", "__MIN", "__MAX"))]
    lines = [",".join(f'"{name}"' for name in names)]
    for row in range(max(map(len, curves.values()))):
        cells = [str(100 * (row + 1))]
        for values in curves.values():
            cells += [str(values[row]) if row < len(values) else ""] * 3
        lines.append(",".join(f'"{cell}"' for cell in cells))
    path.write_text("\n".join(lines) + "\n")
    return path


def told(imported: Imported) -> str:
    return "\n".join(finding.sentence() for finding in imported.findings)


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    path = tmp_path / "sizes.csv"
    path.write_text("run,params,tokens\nsmall,124M,2.5B\nbig - v2,1.3B,26B\n")
    return path


def test_each_run_has_its_last_value(tmp_path: Path, sizes: Path) -> None:
    curves: dict[str, list[float | str]] = {
        "small - eval/loss": [4, 3.5, 3.2],
        "small - _step": [100, 200, 300],
        "big - v2 - eval/loss": [3.8, 2.8, "", 2.9],
    }
    path = export(tmp_path / "chart.csv", curves)
    imported = import_runs(path, parameters=read_parameters(sizes))
    assert imported.table["run_id"].tolist() == ["small", "big - v2"]
    assert imported.table["loss"].tolist() == [3.2, 2.9]
    assert imported.table["last_step"].tolist() == [300, 400]
    assert imported.table["n_active"].tolist() == [124e6, 1.3e9]
    assert imported.table["flops"].tolist() == [6 * 124e6 * 2.5e9, 6 * 1.3e9 * 26e9]
    assert "loss: each run's value at its last Step, not its lowest" in told(imported)
    assert "_step" not in imported.table


def test_an_axis_of_tokens_is_what_a_run_was_trained_on(tmp_path: Path) -> None:
    curves: dict[str, list[float | str]] = {"a - loss": [3, 2.8], "b - loss": [3, 2.8, 2.7]}
    path = export(tmp_path / "chart.csv", curves, axis="train/tokens")
    flags = parse_runs(["a:n_active=2e4", "b:n_active=3e4"])
    imported = import_runs(path, {"tokens": "train/tokens*1e4"}, flags=flags)
    assert imported.table["tokens"].tolist() == [2e6, 3e6]


def test_rows_out_of_order_and_without_a_step_are_no_last_row(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text('"Step","a - loss","b - loss"\n300,2.8,2.7\n100,3.5,3.4\n,1.0,1.0\n')
    flags = parse_runs(["a:n_active=1e8,tokens=2e9", "b:n_active=2e8,tokens=4e9"])
    imported = import_runs(path, flags=flags)
    assert imported.table["loss"].tolist() == [2.8, 2.7]
    assert "Step, row 3: empty: the row is left out" in told(imported)


def test_a_run_that_ends_in_nan_diverged_and_one_without_values_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text('"Step","a - loss","b - loss","c - loss"\n1,3,3.1,\n2,2.9,NaN,\n')
    flags = parse_runs([f"{run}:n_active=1e8,tokens=2e9" for run in "ab"])
    imported = import_runs(path, flags=flags)
    assert imported.table["run_id"].tolist() == ["a", "b"]
    assert imported.table["status"].tolist() == ["finished", "diverged"]
    assert "no value at all in the chart: c" in told(imported)


def test_a_thinned_last_point_is_doubted(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text('"Step","a - loss","a - loss__MIN","a - loss__MAX"\n1,3,3,3\n9,2.9,2.8,3.1\n')
    imported = import_runs(path, flags=parse_runs(["a:n_active=1e8,tokens=2e9"]))
    assert "loss, row 1: the export thinned the curve" in told(imported)
    assert "a over 10.3 %" in told(imported)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('"Step","loss","loss__MIN","loss__MAX"\n1,3,3,3\n', "column 'loss' names no run"),
        ('"Step","a - loss","a - loss__MIN","a - loss__MAX"\n1,,,\n', "no value of any run"),
        ('"Step","a - loss"\n1,3\n2,bad\n', "a - loss, row 2: 'bad' is no plain number"),
        ('"Step","a - loss"\n1,3\n', "no column for flops"),
    ],
)
def test_a_chart_that_says_too_little_is_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "chart.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        import_table(path)
    assert caught.value.remedy
    if "flops" in match:
        assert "--hparams" in caught.value.remedy


def test_tokens_of_a_chart_are_its_steps_times_the_tokens_of_one(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text('"Step","a - loss","b - loss"\n100,3.5,3.4\n300,2.8,2.7\n')
    with pytest.raises(InputError) as caught:
        import_table(path)
    assert "tokens=last_step*TOKENS_PER_STEP" in caught.value.remedy
    flags = parse_runs(["a:n_active=1e8", "b:n_active=2e8"])
    for name in ("last_step", "Step"):
        imported = import_runs(path, {"tokens": f"{name}*1e7"}, flags=flags)
        assert imported.table["tokens"].tolist() == [3e9, 3e9]


def test_a_table_of_runs_is_no_chart() -> None:
    assert not is_history(["Name", "State", "a - b", "eval/loss"])
    assert not is_history(["step", "loss"])
    assert is_history(["Step", "run - loss"])
    assert is_history(["epoch", "run - loss", "run - loss__MIN", "run - loss__MAX"])
