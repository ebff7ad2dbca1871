"""The real packaged corpora, a little of each."""

import re

import numpy as np
import pytest

from model.data.corpus import origin_version, read_documents
from model.data.spec import DataSpec, SourceSpec

REAL = {"botocore": "text", "sympy": "code", "stdlib": "code"}
# What a forgotten tag, entity or Markdown link would leave behind.
RESIDUE = re.compile(
    r"</?(?:p|code|li|ul|a|i|b|note|dt|dd)\b[^\n]{0,40}>|&(?:lt|gt|quot);|\]\(http"
)


@pytest.mark.parametrize("origin", REAL)
def test_real_text_is_clean_and_repeatable(origin: str) -> None:
    if origin != "stdlib":
        pytest.importorskip(origin)
    source = SourceSpec(
        name="s",
        kind=REAL[origin],  # type: ignore[arg-type]
        origin=origin,
        weight=1,
        max_bytes=400_000,
    )
    documents = read_documents(source)
    assert sum(len(document.text.encode()) for document in documents) > 350_000
    assert len({document.unit for document in documents}) >= 20
    assert documents == read_documents(source)
    assert origin_version(source)[0].isdigit()
    if origin == "botocore":
        assert not [found for one in documents for found in RESIDUE.findall(one.text)]
        sentences = [line for one in documents for line in one.text.split("\n")]
        assert len(set(sentences)) == len(sentences)
    else:
        assert not any("tests" in one.unit.split(".") for one in documents)


def test_real_dataset_meets_the_overlap_rule(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("botocore")
    pytest.importorskip("sympy")
    pytest.importorskip("tokenizers")
    from model.data.build import build_dataset
    from model.data.dataset import Dataset

    spec = DataSpec(
        vocab=512,
        context=64,
        heldout_windows=30,
        sources=(
            SourceSpec(name="prose", kind="text", origin="botocore", weight=1, max_bytes=500_000),
            SourceSpec(name="code", kind="code", origin="sympy", weight=1, max_bytes=500_000),
            SourceSpec(name="tasks", kind="tasks", origin="programs", weight=1, max_bytes=100_000),
        ),
    )
    folder = tmp_path_factory.mktemp("real")
    manifest = build_dataset(spec, folder)
    dataset = Dataset.open(folder / manifest.key)
    for name, source in manifest.sources.items():
        assert source.overlap <= spec.heldout_overlap, name
        assert 1.5 < source.bytes_per_token < 3.5, name
    assert manifest.sources["code"].overlap_raw > 0  # else the rule had nothing to do
    # The rule once more, slowly: 13-grams of the held-out windows, by their tokens.
    shard = dataset.shards["prose"].rows(np.arange(dataset.shards["prose"].count)).tokens
    known = {bytes(row[at : at + 13].data) for row in shard for at in range(53)}
    grams = [row[at : at + 13] for row in dataset.heldout("prose").tokens for at in range(53)]
    assert np.mean([bytes(np.ascontiguousarray(gram).data) in known for gram in grams]) <= 0.01
