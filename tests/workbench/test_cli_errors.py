"""What a person or a program is told when a command fails, and its exit status."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fits.observations import FitError
from workbench.cli import COMMANDS, main
from workbench.errors import InputError, explain
from workbench.ledger import LedgerError
from workbench.output import cell, json_text

ROOT = Path(__file__).resolve().parents[2]


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("error", "status", "what", "remedy"),
    [
        (ValueError("depth is 0; at least 1"), 2, "depth is 0", "correct this"),
        (ValueError("bad\nmake it good"), 2, "bad", "make it good"),
        (InputError("no such file", "check the path"), 2, "no such file", "check the path"),
        (FitError("too_few_budgets", "2 budgets"), 1, "2 budgets", "more different compute"),
        (FitError("no_name_of_ours", "no"), 1, "no", "a refusal, not a crash"),
        (FitError("one_line", "bad. Vary the sizes"), 1, "bad", "vary the sizes"),
        (LedgerError("broken"), 1, "broken", "compare it with a copy"),
        (OSError(errno.ENOSPC, "No space left", "/d/x"), 1, "/d/x: no space left", "free some"),
        (PermissionError(errno.EACCES, "Denied", "/x"), 1, "/x: denied", "may write"),
        (FileNotFoundError(errno.ENOENT, "No such file", "y"), 1, "y: no such", "check the path"),
        (ModuleNotFoundError("No module", name="torch.nn"), 1, "needs torch", "[train]"),
        (ModuleNotFoundError("No module named 'z'", name="z"), 1, "No module named 'z'", "install"),
        (KeyboardInterrupt(), 130, "interrupted", "goes on from there"),
        (ZeroDivisionError("division"), 1, "unexpected ZeroDivisionError", "--debug"),
    ],
)
def test_every_error_is_two_lines(
    error: BaseException, status: int, what: str, remedy: str
) -> None:
    explained = explain(error)
    assert explained.status == status
    assert what in explained.what
    assert remedy in explained.remedy
    assert "\n" not in explained.what + explained.remedy


def test_a_refusal_is_told_by_name() -> None:
    assert explain(FitError("too_few_budgets", "2 budgets")).kind == "too_few_budgets"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        ["fit"],
        ["fit", "missing.csv", "--law", "power"],
        ["fit", "missing.csv", "--law", "magic"],
        ["fit", "missing.csv", "--law", "power", "--bootstrap", "-3"],
        ["backtest", "missing.csv"],
        ["predict", "missing.csv", "--target", "flops=1e23"],
        ["predict", "missing.csv"],
        ["report", "missing.csv"],
        ["import", "missing.csv"],
        ["import", "missing.csv", "--columns", "nonsense"],
        ["grade", "missing.jsonl"],
    ],
)
def test_bad_arguments_are_status_2_in_two_lines(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = told(capsys, *words)
    assert status == 2
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  do: ")


def test_with_json_an_error_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = told(capsys, "backtest", "missing.csv", "--json")
    error = json.loads(out)["error"]
    assert status == error["status"] == 2
    assert error["what"] in err


def test_debug_shows_where_it_happened() -> None:
    with pytest.raises(InputError):
        main(["backtest", "missing.csv", "--debug"])
    with pytest.raises(InputError):
        main(["--debug", "backtest", "missing.csv"])


def test_ctrl_c_is_told_and_is_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.estimate.fit_law", interrupted)
    status, out, err = told(capsys, "fit", "runs.csv", "--law", "power")
    assert (status, out) == (130, "")
    what, remedy = err.splitlines()
    assert what == "error: interrupted" and "goes on from there" in remedy


def test_a_refused_fit_is_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "runs.csv"
    table.write_text("flops,loss\n1e18,3.1\n")
    status, out, _ = told(capsys, "fit", str(table), "--law", "power", "--json")
    assert status == 1
    assert json.loads(out)["error"]["kind"] == "too_few_runs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = told(capsys, name, "--help")
    assert status == 0
    assert "--json" in out


def test_the_list_of_commands_needs_no_room_and_no_time() -> None:
    code = (
        "import sys; from workbench.cli import main; status = main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'matplotlib', 'fits', 'model', 'sweeps'}\n"
        "assert status == 0 and not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    times = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        times.append(time.monotonic() - started)
        assert done.returncode == 0, done.stderr
        assert all(entry.summary in " ".join(done.stdout.split()) for entry in COMMANDS.values())
    assert min(times) < 1.0  # 0.2 s on an idle core; the tests share theirs


def test_json_has_no_word_for_nan() -> None:
    import numpy as np
    import pandas as pd

    table = pd.DataFrame({"a": [1.5, float("nan")], "b": [np.int64(3), np.int64(4)]})
    value = {"x": float("inf"), "t": table, "n": np.float64("nan"), "p": Path("a/b"), "s": {1}}
    assert json.loads(json_text(value)) == {
        "x": None,
        "t": [{"a": 1.5, "b": 3}, {"a": None, "b": 4}],
        "n": None,
        "p": "a/b",
        "s": [1],
    }


def test_cells_are_short_and_say_what_is_missing() -> None:
    shown = [cell(value) for value in (None, float("nan"), 3, 2.0, 1.23456, 1.5e20, 2e-5, True)]
    assert shown == ["–", "–", "3", "2", "1.235", "1.500e+20", "2.000e-05", "True"]


@pytest.mark.parametrize(
    ("words", "what", "meant"),
    [
        (
            ("import", "runs.csv", "--out", "x.csv", "--columns", "n_actve=loss"),
            "n_actve=…",
            "n_active?",
        ),
        (("import", "runs.csv", "--out", "x.csv", "--columns", "tokns=loss"), "tokns=…", "tokens?"),
        (("predict", "runs.csv", "--target", "flop=1e23"), "no key 'flop'", "flops=1e23?"),
        (("fit", "runs.csv", "--law", "chinchila"), "'--law': 'chinchila' is not", "chinchilla?"),
        (("fit", "run.csv"), "run.csv: no such file", "runs.csv?"),
        (("plan", "swep.toml"), "swep.toml: cannot be read", "sweep.toml?"),
        (("status", "runs/dmo"), "runs/dmo: no plan there", "runs/demo?"),
    ],
)
def test_what_is_misspelt_comes_with_what_was_meant(
    words: tuple[str, ...],
    what: str,
    meant: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs.csv").write_text("flops,loss\n1e18,4\n1e19,3.5\n")
    Path("sweep.toml").write_text("")
    Path("runs/demo").mkdir(parents=True)
    Path("runs/demo/plan.json").write_text("{}")
    status, _, error = told(capsys, *words)
    assert status == 2
    first, second = error.splitlines()
    assert what in first and "Value error" not in first
    assert second.startswith(f"  do: did you mean {meant}")


def test_groups_of_parameters_may_have_any_name() -> None:
    from workbench.columns import parse_columns

    assert parse_columns(["n_router=a,n_unembedding=b,loss_code=c"])
