"""Sizes in another unit than the rest: named by row, kept out, and never a real ladder's."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.importers import Imported, import_table, write_table
from workbench.targets import suggest_target

Pair = tuple[float, float]
LADDER = [(1e8 * 2**k, 2e9 * 2**k) for k in range(8)]


def imported(folder: Path, pairs: list[Pair], header: str = "n_active", **options: str) -> Imported:
    """A table whose losses follow a law at LADDER's sizes, or at `pairs` where those are real."""
    real = LADDER if options.get("real") is None else pairs
    losses = [1.7 + 400 / n**0.34 + 410 / tokens**0.28 for n, tokens in real]
    flops = options.get("flops")
    lines = [f"{header},tokens,loss{',flops' if flops else ''}"]
    for (n, tokens), loss in zip(pairs, losses, strict=True):
        lines.append(f"{n!r},{tokens!r},{loss!r}{f',{6.2 * n * tokens!r}' if flops else ''}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return import_table(path)


def cautions(found: Imported) -> list[str]:
    return [f.sentence() for f in found.findings if f.doubt]


@pytest.mark.parametrize("row", range(1, 9))
@pytest.mark.parametrize(
    ("column", "factor", "remedy"),
    [
        ("n_active", 1e6, "divide by 1e6"),
        ("n_active", 1e-6, "multiply by 1e6"),
        ("tokens", 1e9, "divide by 1e9"),
        ("tokens", 1e-9, "multiply by 1e9"),
    ],
)
def test_a_size_far_from_all_others_is_named(
    tmp_path: Path, row: int, column: str, factor: float, remedy: str
) -> None:
    pairs = list(LADDER)
    n, tokens = pairs[row - 1]
    pairs[row - 1] = (n * factor, tokens) if column == "n_active" else (n, tokens * factor)
    found = imported(tmp_path, pairs)
    [caution] = cautions(found)
    assert caution.startswith(f"{column}, row {row}: ")
    assert f"in row {row} of the source {remedy}" in caution
    assert found.table["status"].eq("missing").tolist() == [k == row for k in range(1, 9)]
    assert suggest_target(found.table)["n_active"] < 1e11


@pytest.mark.parametrize(("row", "factor"), [(1, 1e3), (3, 1e3), (5, 1e3), (6, 1e-3), (8, 1e-3)])
def test_a_thousandfold_that_the_loss_contradicts_is_named(
    tmp_path: Path, row: int, factor: float
) -> None:
    pairs = list(LADDER)
    pairs[row - 1] = (pairs[row - 1][0] * factor, pairs[row - 1][1])
    [caution] = cautions(imported(tmp_path, pairs))
    assert f"n_active, row {row}: " in caution and "its loss contradicts it" in caution


def test_plain_counts_under_a_header_of_millions_are_named(tmp_path: Path) -> None:
    pairs = [(n / 1e6, tokens) for n, tokens in LADDER]
    pairs[2] = LADDER[2]
    [caution] = cautions(imported(tmp_path, pairs, "params (M)"))
    assert "n_active, row 3: 4e+14 where the others have 1e+08 to 1.28e+10" in caution
    assert "4e+08 would be among them: in row 3 of the source divide by 1e6" in caution


def test_two_rows_in_two_units_are_named_apart(tmp_path: Path) -> None:
    pairs = [*LADDER]
    pairs[1], pairs[4] = (pairs[1][0] * 1e6, pairs[1][1]), (pairs[4][0] * 1e9, pairs[4][1])
    found = cautions(imported(tmp_path, pairs))
    assert len(found) == 2
    assert any("row 2 of the source divide by 1e6" in text for text in found)
    assert any("row 5 of the source divide by 1e9" in text for text in found)


@pytest.mark.parametrize(
    "pairs",
    [
        [(10.0**k, 20 * 10.0**k) for k in range(6, 12)],
        [(1e7, 2e8), (1e9, 2e10), (7e10, 1.4e12)],
        [(n, tokens) for n in (1e7, 1e9, 7e10) for tokens in (1e9, 1e10, 1e11)],
        [(n * 2.0**-k, 2e9 * 2.0**k) for n in (1e7, 1e8, 1e9) for k in range(-4, 5)],
        [(1e6, 1e9)] * 8 + [(1e9, 1e9)] * 4,
    ],
)
def test_a_real_ladder_is_left_alone(tmp_path: Path, pairs: list[Pair]) -> None:
    assert cautions(imported(tmp_path, pairs, real="yes")) == []


def test_a_far_run_is_believed_where_its_own_flops_and_its_loss_agree(tmp_path: Path) -> None:
    pairs = [*LADDER[:7], (LADDER[6][0] * 600, 1e13)]
    [caution] = cautions(imported(tmp_path, pairs, real="yes"))
    assert "row 8" in caution and "if it is right, add a column flops that agrees" in caution
    assert cautions(imported(tmp_path, pairs, real="yes", flops="yes")) == []


def test_few_rows_suffice_where_a_size_is_no_count(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("n_active,tokens,loss\n1e9,2e10,3\n2e9,4e10,2.9\n0.35,7e9,3.3\n")
    found = import_table(path)
    assert found.table["status"].tolist() == ["finished", "finished", "missing"]
    assert "n_active, row 3: 0.35 where the others have 1e+09 to 2e+09" in cautions(found)[0]
    write_table(found.table, path)
    assert import_table(path).table["status"].tolist() == found.table["status"].tolist()
