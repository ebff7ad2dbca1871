"""Outside tables: what is understood, what is doubted by row, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.importers import Imported, import_table, parse_columns, write_table
from workbench.quantities import PF_DAY, read_quantity
from workbench.table_checks import group_names, row_names


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def told(imported: Imported, *, doubt: bool | None = None) -> str:
    found = [f for f in imported.findings if doubt is None or f.doubt is doubt]
    return "\n".join(f.sentence() for f in found)


@pytest.mark.parametrize(
    ("cell", "column", "value"),
    [
        ("4.4 nats", "loss", 4.4),
        ("4.4nats/token", "loss", 4.4),
        ("2 bits", "loss", 2 * math.log(2)),
        ("1.3B", "n_active", 1.3e9),
        ("350 M params", "n_active", 350e6),
        ("1,300,000,000", "n_total", 1.3e9),
        ("1,300", "steps", 1300.0),
        ("1.4T tokens", "tokens", 1.4e12),
        ("1e9", "tokens", 1e9),
        ("3 PF-days", "flops", 3 * PF_DAY),
        ("2 EFLOPs", "flops", 2e18),
        ("7.5", "seed", 7.5),
        (4.5, "loss", 4.5),
    ],
)
def test_a_quantity_is_read_with_its_unit(cell: object, column: str, value: float) -> None:
    quantity = read_quantity(cell, column)
    assert quantity.kind == "number"
    assert quantity.value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("cell", "column", "kind"),
    [
        ("", "loss", "missing"),
        ("n/a", "loss", "missing"),
        (None, "loss", "missing"),
        ("NaN", "loss", "not finite"),
        ("-inf", "loss", "not finite"),
        ("1e999", "loss", "not finite"),
        ("1.1 bpb", "loss", "unreadable"),
        ("12 apples", "tokens", "unreadable"),
        ("3,21", "loss", "ambiguous"),
        ("3,532", "loss_code", "ambiguous"),
        ("0,001", "learning_rate", "ambiguous"),
        ("1_000", "tokens", "unreadable"),
        ("50 %", "loss", "unreadable"),
        ("about 3", "loss", "unreadable"),
        (True, "loss", "unreadable"),
    ],
)
def test_what_is_no_quantity_is_never_a_number(cell: object, column: str, kind: str) -> None:
    assert read_quantity(cell, column).kind == kind


def test_a_comma_in_a_loss_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text('flops,steps,loss\n1e18,"1,300",3.9\n2e18,"1,400","3,532"\n')
    with pytest.raises(InputError, match=r"loss, row 2: '3,532' is no plain number"):
        import_table(path)
    path.write_text('flops,steps,loss\n1e18,"1,300",3.9\n2e18,"1,400",3.532\n')
    assert import_table(path).table["steps"].tolist() == [1300, 1400]


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_every_float_survives_its_own_text(value: float) -> None:
    assert read_quantity(repr(value), "loss").value == value


def test_columns_are_mapped_by_name_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "size,toks,eval/loss,optimizer\n1e8,2e9,3.5,adam\n2e8,4e9,3.2,lion\n")
    mapping = parse_columns(["n_active=size,loss=eval/loss", "tokens=toks"])
    imported = import_table(path, mapping)
    assert imported.table["n_active"].tolist() == [1e8, 2e8]
    assert imported.table["loss"].tolist() == [3.5, 3.2]
    assert imported.table["optimizer"].tolist() == ["adam", "lion"]
    assert imported.table["flops"].tolist() == [6 * 1e8 * 2e9, 6 * 2e8 * 4e9]
    assert "computed as 6 × n_active × tokens" in told(imported)
    assert imported.table["status"].tolist() == ["finished", "finished"]


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        (["n_active"], "no pair of names"),
        (["n_active="], "no pair of names"),
        (["params=n"], "no run-table column"),
        (["loss=a", "loss=b"], "maps loss twice"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(texts: list[str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        parse_columns(texts)


def test_a_missing_source_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "flops,eval/loss\n1e18,3\n")
    with pytest.raises(InputError, match="no column 'eval/los'") as caught:
        import_table(path, {"loss": "eval/los"})
    assert "did you mean 'eval/loss'" in caught.value.remedy


def test_a_wandb_export_needs_no_mapping(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '"Name","State","params","train_tokens","eval/loss"\n'
        '"small","finished","1e8","2e9","3.5"\n"dead","crashed","1e8","2e9","3.6"\n',
    )
    imported = import_table(path)
    assert imported.table["run_id"].tolist() == ["small", "dead"]
    assert imported.table["status"].tolist() == ["finished", "failed"]
    assert "status, row 2: crashed, here failed: kept out of fits" in told(imported)


def test_of_many_columns_the_likely_ones_are_named(tmp_path: Path) -> None:
    names = [*(f"acc_{k}" for k in range(40)), "loss_val", "flops"]
    path = write(tmp_path, f"{','.join(names)}\n{','.join('1' * len(names))}\n")
    with pytest.raises(
        InputError, match=r"it has: loss_val, acc_0, .*acc_18 and 22 more"
    ) as caught:
        import_table(path)
    assert "--columns loss=loss_val" in caught.value.remedy


def test_why_a_run_ended_is_kept(tmp_path: Path) -> None:
    states = ["finished", "failed", "killed", "preempted", "running", "asleep", "failed"]
    rows = [f"{k}e18,{4 - k / 10},{state}" for k, state in enumerate(states, start=1)]
    path = write(tmp_path, "\n".join(["flops,loss,State", *rows]) + "\n")
    imported = import_table(path)
    expected = ["finished", "failed", "killed", "killed", "running", "missing", "failed"]
    assert imported.table["status"].tolist() == expected and imported.usable == 1
    assert "status, rows 2, 7: failed: kept out of fits" in told(imported)
    assert "status, row 4: preempted, here killed: kept out of fits" in told(imported)
    assert "status, row 6: unknown state 'asleep', taken as missing" in told(imported, doubt=True)
    write_table(imported.table, path)
    assert import_table(path).table["status"].tolist() == expected


def test_a_wandb_chart_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, '"Step","a - loss","a - loss__MIN","a - loss__MAX"\n1,3,3,3\n')
    with pytest.raises(InputError, match="chart"):
        import_table(path)


def test_bad_cells_are_named_by_row_and_kept_out_of_fits(tmp_path: Path) -> None:
    rows = ["1e18,4.0", "2e18,nan", "4e18,", "8e18,4.4 apples", "9e18,-1", "1e19,3.1", "2e19,inf"]
    imported = import_table(write(tmp_path, "flops,loss\n" + "\n".join(rows) + "\n"))
    status = imported.table["status"].tolist()
    assert status == [
        "finished",
        "diverged",
        "missing",
        "missing",
        "missing",
        "finished",
        "diverged",
    ]
    doubts = told(imported, doubt=True)
    assert "loss, rows 2, 7: not a finite number ('nan')" in doubts
    assert "loss, row 3: empty" in doubts
    assert "loss, row 4: not a number ('4.4 apples')" in doubts
    assert "loss, row 5: not above 0 (-1)" in doubts
    assert len(imported.table) == len(rows)


def test_empty_rows_and_exact_repeats_are_left_out_aloud(tmp_path: Path) -> None:
    path = write(tmp_path, "flops,loss\n1e18,4\n\n2e18,3.8\n1e18,4\n1e18,4.1\n")
    imported = import_table(path)
    assert imported.table["loss"].tolist() == [4, 3.8, 4.1]
    assert [f.sentence() for f in imported.left_out] == [
        "row 2: empty",
        "row 4: the same as a row above it in every cell",
    ]
    assert "loss, rows 1 and 5: the same settings with different losses" in told(imported)


def test_equal_settings_are_named_by_group_and_only_of_finished_runs(tmp_path: Path) -> None:
    rows = ["1e18,4.0,", "2e18,3.8,", "1e18,4.1,", "2e18,3.9,failed", "3e18,3.5,", "4e18,3.4,"]
    rows += ["3e18,3.6,", "3e18,3.7,"]
    imported = import_table(write(tmp_path, "flops,loss,status\n" + "\n".join(rows) + "\n"))
    assert "loss, rows 1 and 3; 5 and 7 and 8: the same settings" in told(imported)
    assert group_names([(k, k + 1) for k in range(1, 20, 2)]).endswith("and 4 more such groups")


def test_checkpoints_of_one_run_are_doubted(tmp_path: Path) -> None:
    imported = import_table(write(tmp_path, "run,flops,loss\na,1e18,4\na,2e18,3.8\nb,1e18,4\n"))
    assert "run_id, rows 1–2: run_id 'a' and its like repeat" in told(imported, doubt=True)


def test_flops_that_disagree_are_named_by_row(tmp_path: Path) -> None:
    lines = ["flops,n_active,tokens,loss"]
    for k in range(1, 8):
        factor = 5.0 if k == 4 else 1.1
        lines.append(f"{factor * 6 * k * 1e8 * 2e9!r},{k * 1e8!r},2e9,{4 - k / 10}")
    doubts = told(import_table(write(tmp_path, "\n".join(lines) + "\n")), doubt=True)
    assert "flops, row 4: disagrees with 6 × n_active × tokens" in doubts
    assert "flops, row 4: 5 × 6·n_active·tokens, where the table usually has 1.1" in doubts


def test_a_unit_in_a_header_is_applied_and_said(tmp_path: Path) -> None:
    path = write(tmp_path, "params (M),tokens_B,loss\n100,2,3.5\n200,4,3.2\n")
    imported = import_table(path)
    assert imported.table["n_active"].tolist() == [1e8, 2e8]
    assert imported.table["tokens"].tolist() == [2e9, 4e9]
    assert "n_active: read in units of 'm', as the name 'params (M)' says" in told(imported)


def test_a_scale_is_guessed_only_where_the_other_columns_confirm_it(tmp_path: Path) -> None:
    path = write(tmp_path, "params,tokens,loss\n0.1,2e9,3.5\n1.3,26e9,3.2\n7,140e9,2.9\n")
    imported = import_table(path)
    assert imported.table["n_active"].tolist() == [0.1e9, 1.3e9, 7e9]
    assert "n_active: guessed to be in billions" in told(imported, doubt=True)
    alone = write(tmp_path, "params,flops,loss\n0.1,2e19,3.5\n1.3,3e20,3.2\n", "alone.csv")
    with pytest.raises(InputError, match=r"n_active runs from 0\.1 to 1\.3") as caught:
        import_table(alone)
    assert "1e+09 (in billions)" in caught.value.remedy
    assert "n_active=params*FACTOR" in caught.value.remedy
    told_so = import_table(alone, {"n_active": "params*1e9"})
    assert told_so.table["n_active"].tolist() == [0.1e9, 1.3e9]


def test_a_table_that_carries_its_product_counts_plainly(tmp_path: Path) -> None:
    rows = [(3632, 5088, 1.6e8, 3.2), (9344, 20928, 1.6e9, 2.3)]
    text = "n_active,tokens,flops,flops_6nd,loss\n"
    text += "".join(f"{n},{t},{f},{6 * n * t},{loss}\n" for n, t, f, loss in rows)
    imported = import_table(write(tmp_path, text))
    assert imported.table["n_active"].tolist() == [3632, 9344]
    assert "guessed" not in told(imported)
    scaled = "n_active,tokens,flops_6nd,loss\n100,2,1200,3.5\n200,4,4800,3.2\n"  # M, B, 1e15
    with pytest.raises(InputError, match="in which unit"):
        import_table(write(tmp_path, scaled, "scaled.csv"))


def test_both_counts_small_is_a_question_not_a_guess(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in which unit") as caught:
        import_table(write(tmp_path, "params,tokens,loss\n1,20,3.5\n2,40,3.2\n"))
    assert "'n_active=params*FACTOR,tokens=tokens*FACTOR'" in caught.value.remedy
    for word in ("millions", "billions"):
        assert f"for n_active (in {word}) and" in caught.value.remedy


def test_a_perplexity_is_doubted(tmp_path: Path) -> None:
    imported = import_table(write(tmp_path, "flops,loss\n1e18,33.1\n2e18,28.4\n"))
    assert "loss, rows 1–2: above 15 nats per token (33.1); a perplexity?" in told(imported)


def test_rows_are_named_briefly() -> None:
    assert row_names([3]) == "row 3"
    assert row_names([7, 3, 8, 9, 3]) == "rows 3, 7–9"
    assert row_names(np.arange(0, 100, 2)).endswith("and 38 more")
