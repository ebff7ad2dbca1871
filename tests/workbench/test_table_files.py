"""Files of tables: every format in, the same table out, and what cannot be read or written."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.importers import import_table, write_table


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("none.csv", None, "no such file"),
        ("table.xlsx", "x", "type .xlsx"),
        ("empty.csv", "", "is empty"),
        ("header.csv", "flops,loss\n", "holds no runs"),
        ("short.csv", "flops,loss\n1e18,3\n2e18\n", "row 2 has 1 cells"),
        ("quote.csv", 'flops,loss\n1e18,"3\n2e18,4\n', "unexpected end of data"),
        ("twice.csv", "flops,loss,loss\n1,2,3\n", "columns loss stand there twice"),
        ("noloss.csv", "flops,x\n1e18,3\n", "no column for loss"),
        ("noflops.csv", "n_active,loss\n1e18,3\n", "no column for flops"),
        ("bad.jsonl", '{"flops": 1e18, "loss": 3}\n{oops\n', "line 2 is not JSON"),
        ("bad.json", '{"flops": 1}', "not a list of objects"),
        ("bad.parquet", "PAR1 nonsense", "bad.parquet"),
        ("binary.csv", "\udcff\udcfe", "decode"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(
    tmp_path: Path, name: str, text: str | None, match: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=match) as caught:
        import_table(path)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_every_format_gives_the_same_table(tmp_path: Path) -> None:
    rows = [{"id": f"r{k}", "flops": 10.0**k, "loss": 6 - k / 5} for k in range(16, 20)]
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "b.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "semicolon.csv", index=False, sep=";")
    table.to_parquet(tmp_path / "c.parquet")
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "e.json").write_text(json.dumps(rows))
    names = ("a.csv", "b.tsv", "semicolon.csv", "c.parquet", "d.jsonl", "e.json")
    tables = [import_table(tmp_path / name).table for name in names]
    assert tables[0]["loss"].tolist() == table["loss"].tolist()
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other)


def test_nested_json_maps_by_dotted_names(tmp_path: Path) -> None:
    line = json.dumps({"config": {"n": 1e8, "tokens": 2e9}, "summary": {"loss": 3.0}})
    path = tmp_path / "w.jsonl"
    path.write_text(line + "\n")
    columns = {"n_active": "config.n", "tokens": "config.tokens", "loss": "summary.loss"}
    assert import_table(path, columns).table["loss"].tolist() == [3.0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_importing_what_was_imported_changes_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(
        "params,tokens,loss,note,annealed\n1.3B,26e9,3.1,x,True\n7B,140e9,nan,,False\n"
        "2B,4e10,0.30000000000000004,y,True\n2B,4e10,0.30000000000000004,y,True\n"
    )
    first = import_table(path).table
    out = tmp_path / f"runs{suffix}"
    write_table(first, out)
    again = import_table(out)
    expected = first.reset_index(drop=True)
    pd.testing.assert_frame_equal(
        again.table.reset_index(drop=True), expected, check_dtype=suffix == ".csv"
    )
    assert again.left_out == ()
    assert again.table["annealed"].tolist() == [True, False, True]


def test_writing_to_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a table"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "runs.xlsx")
