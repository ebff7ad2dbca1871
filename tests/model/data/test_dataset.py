"""Batches are a function of (manifest, seed, step), windows are used once an epoch."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.data.dataset import Batch, Dataset, permutation
from model.data.mixture import source_counts

REUSES_DATASET = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def same(a: Batch, b: Batch) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("tokens", "loss_weight", "source", "patches", "image_ids")
    )


@REUSES_DATASET
@given(st.integers(0, 5), st.lists(st.integers(0, 400), min_size=2, max_size=6), st.integers(1, 9))
def test_batches_do_not_depend_on_earlier_ones(
    built: Path, dataset: Dataset, seed: int, steps: list[int], batch: int
) -> None:
    for step in steps:
        assert same(dataset.batch(seed, step, batch), Dataset.open(built).batch(seed, step, batch))


def test_seeds_differ(dataset: Dataset) -> None:
    assert not np.array_equal(dataset.batch(0, 0, 8).tokens, dataset.batch(1, 0, 8).tokens)


def rows_of(dataset: Dataset, batch: int, steps: int) -> list[bytes]:
    return sorted(row.tobytes() for s in range(steps) for row in dataset.batch(0, s, batch).tokens)


def test_batch_size_does_not_change_the_sequences(dataset: Dataset) -> None:
    assert rows_of(dataset, 4, 30) == rows_of(dataset, 12, 10)


def test_each_window_once_an_epoch(dataset: Dataset) -> None:
    count = dataset.manifest.sources["sums"].windows_train
    for epoch in range(2):
        numbers = dataset.windows(0, "sums", epoch * count, (epoch + 1) * count)
        assert np.array_equal(np.sort(numbers), np.arange(count))
    across = dataset.windows(0, "sums", count - 3, count + 2)
    first, second = (dataset.windows(0, "sums", a, b) for a, b in ((0, count), (count, 2 * count)))
    assert across.tolist() == [*first[-3:], *second[:2]]
    assert not np.array_equal(first, second)


def test_mixture_in_batches(dataset: Dataset) -> None:
    seen = np.concatenate([dataset.batch(0, step, 10).source for step in range(40)])
    counts = {name: int((seen == n).sum()) for n, name in enumerate(dataset.names)}
    assert counts == source_counts(dataset.mixture, 400)
    assert counts == {"code": 120, "digits": 80, "prose": 160, "sums": 40}


def test_images_come_last_and_fit_their_rows(dataset: Dataset) -> None:
    batch = dataset.batch(0, 0, 20)
    vision = batch.source == dataset.names.index("digits")
    assert vision.sum() == 4 and vision[-4:].all()
    assert batch.patches is not None and batch.image_ids is not None
    assert batch.patches.shape == (20, 4, 64)
    places = batch.tokens[:, :-1] == dataset.manifest.image_token
    assert not places[:-4].any()
    assert np.array_equal(places[-4:], batch.image_ids > 0)
    assert batch.image_ids.max() == 5
    answers = batch.tokens[-4:, 1:][batch.loss_weight[-4:] > 0]
    assert set(answers) <= {*dataset.tokenizer.digit_tokens, dataset.manifest.end_token}


def test_types_and_no_images(built: Path) -> None:
    batch = Dataset.open(built, {"prose": 1.0}).batch(0, 0, 3)
    assert batch.tokens.dtype == np.int64 and batch.loss_weight.dtype == np.float32
    assert batch.tokens.shape == (3, 49) and batch.loss_weight.shape == (3, 48)
    assert batch.patches is None and batch.image_ids is None
    assert (batch.loss_weight == 1).all()
    with pytest.raises(ValueError, match="mixture names 'poetry'; the sources are"):
        Dataset.open(built, {"poetry": 1.0})


def test_tasks_start_with_their_documents(dataset: Dataset) -> None:
    rows = dataset.shards["sums"].rows(np.arange(5))
    for row in rows.tokens:
        text = dataset.decode(row.tolist())
        assert text.startswith("def f(x):") and text.count("def") == text.count("return")
    assert (rows.tokens[:, 1:][rows.loss_weight == 0] == dataset.manifest.end_token).all()


def test_epochs(dataset: Dataset) -> None:
    windows = dataset.manifest.sources["sums"].windows_train
    assert dataset.epochs("sums", 10 * windows) == pytest.approx(1.0, rel=0.01)
    assert dataset.epochs("sums", 0) == 0
    with pytest.raises(ValueError, match="source 'nope' is not one of"):
        dataset.epochs("nope", 1)


def test_heldout(dataset: Dataset) -> None:
    for name, source in dataset.manifest.sources.items():
        held = dataset.heldout(name)
        assert held.tokens.shape == (24, 49) and held.loss_weight.shape == (24, 48)
        assert held.documents.shape == (24,)
        assert (held.patches is None) == (source.kind != "vision")
    held = dataset.heldout("digits")
    assert held.patches is not None and held.patches.shape == (120, 4, 64)
    assert len(set(dataset.heldout("prose").documents.tolist())) > 1


def test_strips_eval(dataset: Dataset) -> None:
    strips = dataset.strips_eval(6)
    assert [len(answer) for answer in strips.answers] == [1, 2, 3, 4, 1, 2]


def test_log_unigram(dataset: Dataset, built: Path) -> None:
    logs = dataset.log_unigram()
    assert logs.dtype == np.float32 and logs.shape == (400,)
    assert np.exp(logs.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
    only = Dataset.open(built, {"prose": 1.0})
    targets = only.shards["prose"].rows(np.arange(only.shards["prose"].count)).tokens[:, 1:]
    counts = np.bincount(targets.ravel(), minlength=400) + 1
    np.testing.assert_allclose(only.log_unigram(), np.log(counts / counts.sum()), rtol=1e-5)


def test_round_trip(dataset: Dataset) -> None:
    assert dataset.decode(dataset.encode("def f(x): 12")) == "def f(x): 12"


def test_bad_requests(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch = 0"):
        dataset.batch(0, 0, 0)
    with pytest.raises(ValueError, match="no dataset here"):
        Dataset.open(tmp_path)


def test_permutation_is_frozen() -> None:
    """A change of these numbers would break the resumption of every run."""
    assert permutation(8, "0:prose:0").tolist() == [4, 6, 0, 2, 1, 3, 7, 5]
    assert sorted(permutation(1000, "key")) == list(range(1000))
