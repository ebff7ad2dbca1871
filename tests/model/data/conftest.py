"""A small dataset of all four kinds, built once from generated files."""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model.data.spec import DataSpec, SourceSpec

if TYPE_CHECKING:  # these need packages that an environment without training lacks
    from model.data.dataset import Dataset


def prose(rng: random.Random, words: int) -> str:
    """Sentences of a small language in which each word is followed by few others."""
    lexicon = [f"{a}{b}{c}" for a in "bdklm" for b in "aeiou" for c in "nrst"]
    followers = {word: random.Random(word).sample(lexicon, 5) for word in lexicon}
    word = rng.choice(lexicon)
    text = []
    for _ in range(words):
        text.append(word)
        word = rng.choice(followers[word])
        if rng.random() < 0.1:
            text[-1] += rng.choice([".", "\n", f" {rng.randrange(1000)}"])
    return " ".join(text)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 40 .txt files under prose/ and 5,000 programs in tasks.jsonl."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    (folder / "prose").mkdir()
    for number in range(40):
        (folder / "prose" / f"{number:02}.txt").write_text(prose(rng, 2000))
    rows = [{"text": f"def f(x):\n return x + {rng.randrange(10**6)}"} for _ in range(5000)]
    (folder / "tasks.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


@pytest.fixture(scope="session")
def spec(corpus: Path) -> DataSpec:
    """Two text sources of unequal weight, tasks and digits."""
    return DataSpec(
        vocab=400,
        context=48,
        heldout_windows=24,
        sources=(
            SourceSpec(name="prose", kind="text", origin=str(corpus / "prose"), weight=4),
            SourceSpec(name="code", kind="code", origin=str(corpus / "prose"), weight=3),
            SourceSpec(name="sums", kind="tasks", origin=str(corpus / "tasks.jsonl"), weight=1),
            SourceSpec(name="digits", kind="vision", origin="digits", weight=2, max_bytes=10**5),
        ),
        heldout_overlap=1.0,  # prose and code are the same text here
    )


@pytest.fixture(scope="session")
def built(spec: DataSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the dataset of `spec`."""
    pytest.importorskip("tokenizers")
    pytest.importorskip("sklearn")
    from model.data.build import build_dataset

    folder = tmp_path_factory.mktemp("data")
    return folder / build_dataset(spec, folder).key


@pytest.fixture
def dataset(built: Path) -> "Dataset":
    """The dataset of `spec`, freshly opened."""
    from model.data.dataset import Dataset

    return Dataset.open(built)
