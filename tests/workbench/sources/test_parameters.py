"""Sizes from beside a table: joined by name, disagreements named, nothing invented."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.sources.parameters import add_parameters, parse_runs, read_parameters

WHERE = Path("runs.csv")


def cells(**columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(columns, dtype=object)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def test_rows_are_joined_by_name_in_any_order() -> None:
    own = cells(Name=["a", "b", "c"], loss=["3", "2", "1"])
    beside = cells(run=["c", "a"], n=["30", "10"])
    joined, findings = add_parameters(WHERE, own, beside, {})
    assert joined["n"].tolist() == ["10", "", "30"]
    assert joined["loss"].tolist() == ["3", "2", "1"]
    assert [f.sentence() for f in findings] == ["hparams, row 2: not in the table of --hparams (b)"]
    assert "n" not in own  # what was read is left as it was


def test_the_last_folder_names_a_run_where_it_is_of_one_alone() -> None:
    own = cells(run=["x/small", "y/small", "z/big"])
    joined, findings = add_parameters(WHERE, own, cells(run=["big", "small"], n=["2", "1"]), {})
    assert joined["n"].tolist() == ["", "", "2"]
    assert "of no run of the table: small" in findings[-1].text


def test_the_pair_of_names_that_agrees_most_is_used() -> None:
    own = cells(id=["q1", "q2"], Name=["a", "b"])
    joined, _ = add_parameters(WHERE, own, cells(name=["b", "a"], n=["2", "1"]), {})
    assert joined["n"].tolist() == ["1", "2"]


def test_the_first_table_wins_aloud_and_its_gaps_are_filled() -> None:
    own = cells(run=["a", "b"], tokens=["5", ""])
    joined, findings = add_parameters(WHERE, own, cells(run=["a", "b"], tokens=["7", "8"]), {})
    assert joined["tokens"].tolist() == ["5", "8"]
    assert findings[0].sentence() == "tokens, row 1: another value in --hparams (7), not taken"


def test_flags_overrule_and_name_their_run() -> None:
    own = cells(run=["a", "b"], n=["1", "2"])
    flags = parse_runs(["b:n=20, tokens=1,300", "b:layers=4"])
    joined, _ = add_parameters(WHERE, own, None, flags)
    assert joined["n"].tolist() == ["1", "20"]
    assert joined["tokens"].tolist() == ["", "1,300"]
    assert joined["layers"].tolist() == ["", "4"]
    with pytest.raises(InputError, match="no such run") as caught:
        add_parameters(WHERE, own, None, parse_runs(["z:n=1"]))
    assert caught.value.remedy == "its runs: a, b"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("n_active=1", "names no run"),
        ("a:", "names no run or no number"),
        ("a:n=", "has no value"),
        ("a:n=1,n=2", "n was 1 before"),
    ],
)
def test_a_flag_that_says_nothing_is_refused(text: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        parse_runs([text])


def test_names_with_colons_and_equal_signs_are_names() -> None:
    assert parse_runs(["lr=3e-4:v1:n_active=1B"]) == {"lr=3e-4:v1": {"n_active": "1B"}}


def test_tables_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    own = cells(run=["a", "b"])
    with pytest.raises(InputError, match="names no run of the table: q"):
        add_parameters(WHERE, own, cells(run=["q"], n=["1"]), {})
    with pytest.raises(InputError, match="rows 1 and 2 are both of run a"):
        add_parameters(WHERE, own, cells(run=["a", "a"], n=["1", "2"]), {})
    with pytest.raises(InputError, match="no column that names its runs"):
        add_parameters(WHERE, cells(loss=["1"]), cells(run=["a"], n=["1"]), {})
    path = tmp_path / "sizes.csv"
    path.write_text("n,tokens\n1,2\n")
    with pytest.raises(InputError, match="no column that names the runs"):
        read_parameters(path)
