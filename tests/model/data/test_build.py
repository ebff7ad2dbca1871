"""Building: cached, repeatable, whole or not at all, one at a time."""

import errno
import json
import multiprocessing
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from model.data import assemble, build
from model.data.build import build_dataset, data_key
from model.data.dataset import Dataset
from model.data.manifest import Manifest, read_manifest
from model.data.spec import DataSpec, SourceSpec


@pytest.fixture
def small(corpus: Path) -> DataSpec:
    source = SourceSpec(name="prose", kind="text", origin=str(corpus / "prose"), weight=1)
    return DataSpec(vocab=300, context=16, sources=(source,), heldout_windows=8)


def test_twice_gives_the_same_bytes_and_reads_the_cache(small: DataSpec, tmp_path: Path) -> None:
    said: list[float] = []
    first = build_dataset(small, tmp_path / "a", lambda message, share: said.append(share))
    assert said == sorted(said) and said[-1] == 1
    assert build_dataset(small, tmp_path / "b") == first
    (tmp_path / "a" / first.key / "marker").touch()
    assert build_dataset(small, tmp_path / "a") == first
    assert (tmp_path / "a" / first.key / "marker").exists()
    assert first.key == data_key(small) != data_key(replace(small, seed=1))


def test_manifest_counts_what_is_there(built: Path, spec: DataSpec) -> None:
    manifest = read_manifest(built)
    assert manifest.spec == spec
    assert manifest.mixture == pytest.approx(spec.mixture)
    for name, source in manifest.sources.items():
        assert source.tokens_train == source.windows_train * spec.context
        assert source.windows_heldout == len(np.load(built / f"{name}.heldout.npy"))
        assert source.documents_train > source.documents_heldout > 0
    assert manifest.sources["digits"].images_per_window == 5
    assert manifest.sources["sums"].overlap_of == "document"
    assert manifest.sources["sums"].overlap == 0
    assert manifest.sources["digits"].overlap == 0
    assert 0 < manifest.sources["sums"].padding < 0.5


def test_planted_copies_are_not_drawn(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    shutil.copytree(corpus / "prose", folder)
    # Under kind "code" lines of 40 characters or less are kept, hence so are these copies.
    for path in sorted(folder.glob("*.txt")):
        short = "\n".join(f"{number} is the same" for number in range(400))
        path.write_text(path.read_text() + "\n" + short)
    source = SourceSpec(name="code", kind="code", origin=str(folder), weight=1)
    spec = DataSpec(vocab=300, context=32, sources=(source,), heldout_windows=30)
    made = build_dataset(spec, tmp_path / "data").sources["code"]
    assert made.overlap_raw > 0.1
    assert made.overlap <= 0.01
    with pytest.raises(ValueError, match=r"only 0 of .* held-out windows share at most 1\.0%"):
        for path in folder.glob("*.txt"):
            path.write_text(f"{path.stem}\n{short}\n" * 4)
        build_dataset(spec, tmp_path / "data")
    assert not list((tmp_path / "data").glob("*.tmp"))


def test_too_little_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Not much to read here.")
    source = SourceSpec(name="mine", kind="text", origin=str(tmp_path), weight=1)
    with pytest.raises(ValueError, match="source mine: too little text"):
        build_dataset(DataSpec(vocab=300, context=16, sources=(source,)), tmp_path / "data")


def test_full_disk_leaves_nothing(
    small: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, array: object) -> None:
        path.write_bytes(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(assemble, "save_array", full)
    with pytest.raises(OSError, match=r"could not be written \(No space left on device") as caught:
        build_dataset(small, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    monkeypatch.undo()
    assert build_dataset(small, tmp_path).sources["prose"].windows_train > 0


def test_killed_build_is_swept_up(small: DataSpec, tmp_path: Path) -> None:
    stale = tmp_path / f".{data_key(small)}.123.tmp"
    stale.mkdir()
    build_dataset(small, tmp_path)
    assert not stale.exists()


def test_builds_where_there_are_no_kernel_locks(
    small: DataSpec, tmp_path: Path, no_kernel_locks: None
) -> None:
    assert build_dataset(small, tmp_path).sources["prose"].windows_train > 0


def test_two_builds_at_once(
    small: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, said, results = [], [], []
    real = assemble.assemble

    def slow(*arguments: object) -> None:
        calls.append(1)
        time.sleep(0.3)
        real(*arguments)  # type: ignore[arg-type]

    def one() -> None:
        results.append(build_dataset(small, tmp_path, lambda message, share: said.append(message)))

    monkeypatch.setattr(build, "assemble", slow)
    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert results[0] == results[1]
    assert "waiting for another build of the same dataset" in said


@pytest.mark.parametrize("damage", ["cut", "gone", "edited", "flipped", "no json"])
def test_damage_is_named(built: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    shard, manifest = folder / "prose.train.npy", folder / "manifest.json"
    named = shard
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif damage == "gone":
        shard.unlink()
    elif damage == "flipped":
        raw = bytearray(shard.read_bytes())
        raw[-1] ^= 1
        shard.write_bytes(raw)
        Dataset.open(folder)  # only a full check sees it
    elif damage == "edited":
        named = manifest
        manifest.write_text(manifest.read_text().replace('"max_epochs":1.0', '"max_epochs":9.0'))
    else:
        named = manifest
        manifest.write_text("{")
    with pytest.raises(ValueError, match=named.name):
        Dataset.open(folder).check()


def _open_and_draw(folder: Path, step: int) -> list[list[int]]:
    tokens: list[list[int]] = Dataset.open(folder).batch(3, step, 6).tokens.tolist()
    return tokens


def test_other_processes_draw_the_same(built: Path, dataset: Dataset) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        drawn = pool.starmap(_open_and_draw, [(built, step) for step in (5, 0, 9)])
    assert drawn == [dataset.batch(3, step, 6).tokens.tolist() for step in (5, 0, 9)]


def test_manifest_is_plain_json(built: Path) -> None:
    raw = json.loads((built / "manifest.json").read_text())
    assert raw["schema"] == 1
    assert set(raw["files"]) == {path.name for path in built.iterdir()} - {"manifest.json"}
    assert isinstance(read_manifest(built), Manifest)
