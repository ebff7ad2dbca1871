"""Which column becomes which: by name, by product, by logarithm; and what is said of the loss."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from workbench.errors import InputError
from workbench.importers import Imported, import_table, parse_columns, write_table


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def told(imported: Imported, *, doubt: bool | None = None) -> str:
    found = [f for f in imported.findings if doubt is None or f.doubt is doubt]
    return "\n".join(f.sentence() for f in found)


def test_tokens_are_a_product_of_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "n,steps,batch,seq_len,loss\n1e8,1000,1k,2048,3\n2e8,2000,1k,2048,2.9\n")
    imported = import_table(path, parse_columns(["tokens=steps*batch*seq_len*0.5,n_active=n"]))
    assert imported.table["tokens"].tolist() == [1.024e9, 2.048e9]
    assert imported.table["steps"].tolist() == [1000, 2000]  # kept as they are
    assert imported.columns["tokens"] == "steps*batch*seq_len*0.5"
    assert "tokens: computed as steps*batch*seq_len*0.5" in told(imported)


def test_a_cell_that_a_product_lacks_leaves_it_empty(tmp_path: Path) -> None:
    path = write(tmp_path, "n_active,steps,batch,loss\n1e8,1000,1e6,3\n2e8,,1e6,2.9\n")
    imported = import_table(path, {"tokens": "steps*batch"})
    assert imported.table["status"].tolist() == ["finished", "missing"]


def test_a_perplexity_becomes_nats_on_request_and_is_doubted_without(tmp_path: Path) -> None:
    path = write(tmp_path, f"flops,eval/ppl\n1e18,{math.exp(3)!r}\n2e18,{math.exp(2.5)!r}\n")
    imported = import_table(path, {"loss": "ln(eval/ppl)"})
    assert imported.table["loss"].tolist() == pytest.approx([3, 2.5])
    assert "eval/ppl" in imported.table
    plain = import_table(path, {"loss": "eval/ppl"})
    assert "loss: 'eval/ppl' is a perplexity by its name" in told(plain, doubt=True)
    assert "'loss=ln(eval/ppl)'" in told(plain)


@pytest.mark.parametrize(("base", "word"), [(2.0, "in bits"), (math.e, "in nats")])
def test_a_perplexity_beside_the_loss_tells_its_unit(
    tmp_path: Path, base: float, word: str
) -> None:
    rows = "".join(f"{c},{loss},{base**loss!r}\n" for c, loss in (("1e18", 4.1), ("1e19", 3.7)))
    imported = import_table(write(tmp_path, "flops,eval/loss,eval/perplexity\n" + rows))
    assert f"loss: {word}: 'eval/perplexity'" in told(imported, doubt=word == "in bits")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("eval/bpb", "in bits per byte"),
        ("bits_per_byte", "in bits per byte"),
        ("train/loss", "a training loss"),
        ("perplexity", "a perplexity"),
    ],
)
def test_a_name_that_speaks_against_nats_is_doubted(tmp_path: Path, name: str, words: str) -> None:
    imported = import_table(write(tmp_path, f"flops,{name}\n1e18,3\n"), {"loss": name})
    assert words in told(imported, doubt=True)


def test_a_loss_in_bits_by_its_header_is_converted(tmp_path: Path) -> None:
    imported = import_table(write(tmp_path, "flops,loss (bits)\n1e18,3\n"))
    assert imported.table["loss"].tolist() == pytest.approx([3 * math.log(2)])
    assert "loss: read in units of 'bit'" in told(imported)
    assert "nats" not in told(imported)
    bare = import_table(write(tmp_path, "flops,eval_loss\n1e18,3\n"))
    assert "loss: read as nats per token, as no unit is named" in told(bare)


def test_nested_names_are_found_where_only_one_fits(tmp_path: Path) -> None:
    path = write(tmp_path, "model.params,train/tokens,eval/loss\n1e8,2e9,3\n")
    imported = import_table(path)
    assert imported.columns["n_active"] == "model.params"
    assert imported.columns["tokens"] == "train/tokens"
    two = write(tmp_path, "flops,train/tokens,eval/tokens,loss\n1e18,2e9,3e9,3\n")
    assert "tokens" not in import_table(two).columns


def test_a_small_model_is_a_plain_count_if_one_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "n_active,tokens,flops,loss\n500,1e5,3e8,5\n900,2e5,1.1e9,4.8\n")
    with pytest.raises(InputError, match="in which unit") as caught:
        import_table(path)
    assert "or 1 (as it stands)" in caught.value.remedy
    given = parse_columns(["n_active=n_active*1,tokens=tokens*1,flops=flops*1"])
    assert import_table(path, given).table["n_active"].tolist() == [500, 900]


def test_an_own_column_that_a_mapping_covers_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "flops,loss,eval/loss\n1e18,9,3\n")
    imported = import_table(path, {"loss": "eval/loss"})
    assert imported.table["loss"].tolist() == [3]
    assert "loss: the source's own column of this name is left out" in told(imported, doubt=True)


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("tokens=12", "a number, and no column", "it has: n, steps, loss"),
        ("tokens=step*12", "no column 'step'", "did you mean 'steps'"),
        ("loss=ln(lss)", "no column 'lss'", "did you mean 'loss'"),
        ("tokns=steps", "no run-table column", "did you mean tokens"),
        ("n_active", "is no pair", "write it as"),
    ],
)
def test_a_mapping_that_cannot_be_says_what_to_write(
    tmp_path: Path, text: str, what: str, remedy: str
) -> None:
    path = write(tmp_path, "n,steps,loss\n1e8,1000,3\n")
    with pytest.raises(InputError) as caught:
        import_table(path, parse_columns([text]))
    assert what in str(caught.value) and remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("n_active,loss\n1e8,3\n", "--columns tokens=COLUMN, or flops=COLUMN alone"),
        ("n_active,steps,loss\n1e8,9,3\n", "--columns 'tokens=steps*TOKENS_PER_STEP'"),
        ("Model size,Tokens (B),loss\n8M,1.5,3\n", "--columns 'n_active=Model size'"),
        ("tokens,loss\n1e9,3\n", "--columns n_active=COLUMN"),
        ("my_flops,loss\n1e18,3\n", "--columns flops=my_flops"),
        ("flops,train/loss\n1e18,3\n", "--columns loss=train/loss"),
        ("flops,loss\n,3\n", "--columns n_active=COLUMN,tokens=COLUMN"),
    ],
)
def test_what_a_table_lacks_is_asked_for(tmp_path: Path, text: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        import_table(write(tmp_path, text))
    assert f"workbench import table.csv {remedy}" in caught.value.remedy


def test_of_two_sizes_the_one_that_is_missing_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "Model size,Tokens (B),loss\n8M,1.5,3\n")
    with pytest.raises(InputError, match="no column for flops, and none for n_active to compute"):
        import_table(path)
    assert import_table(path, {"n_active": "Model size"}).table["flops"].tolist() == [72e15]


def test_flops_that_are_the_product_are_said_to_be_computed(tmp_path: Path) -> None:
    path = write(tmp_path, "n_active,tokens,loss\n1e8,2e9,3.5\n2e8,4e9,3.2\n")
    imported = import_table(path)
    write_table(imported.table, path)
    assert "flops: computed: 6 × n_active × tokens in every row" in told(import_table(path))
    write_table(imported.table.assign(flops=imported.table["flops"] * 1.001), path)
    assert "computed" not in told(import_table(path))


@pytest.mark.parametrize(("usual", "doubted"), [(0.8, True), (1.9, False)])
def test_a_loss_too_low_for_nats_is_doubted(tmp_path: Path, usual: float, doubted: bool) -> None:
    for name in ("val loss", "loss"):
        path = write(tmp_path, f"flops,{name}\n1e18,{usual + 0.1}\n4e18,{usual}\n")
        text = told(import_table(path), doubt=True)
        assert ("predictions will be in the table's own unit" in text) is doubted
