"""A packed dataset is found by its spec where its corpora are missing, and is the same dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

import model.data.build as build
import model.data.packed as packed
from model.data.dataset import Dataset
from model.data.manifest import read_manifest
from model.data.packed import pack_dataset, packed_key, unpack_dataset
from model.data.spec import DataSpec


@pytest.fixture(scope="module")
def archive(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "packed.tar.xz"
    size = pack_dataset(built, path)
    whole = sum(file.bytes for file in read_manifest(built).files.values())
    assert 0 < size == path.stat().st_size < whole
    return path


def no_corpora(spec: DataSpec) -> str:
    raise ValueError("a corpus is not installed")


def test_found_by_the_spec_alone(
    archive: Path, built: Path, spec: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "data_key", no_corpora)
    with pytest.raises(ValueError, match="not installed"):
        build.build_dataset(spec, tmp_path)
    folder = unpack_dataset(archive, tmp_path)
    assert folder == build.dataset_folder(spec, tmp_path) == tmp_path / packed_key(spec)
    manifest = build.build_dataset(spec, tmp_path)
    assert manifest.key == folder.name
    assert manifest.hash == read_manifest(built).hash
    dataset = Dataset.open(folder)
    dataset.check()
    here, there = dataset.batch(3, 5, 8), Dataset.open(built).batch(3, 5, 8)
    assert (here.tokens == there.tokens).all()


def test_of_another_spec_it_is_not_taken(
    archive: Path, spec: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack_dataset(archive, tmp_path)
    monkeypatch.setattr(build, "data_key", no_corpora)
    with pytest.raises(ValueError, match="not installed"):
        build.dataset_folder(dataclasses.replace(spec, seed=1), tmp_path)


def test_packed_by_other_code_it_is_refused(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "folder_hash", lambda folder: "other code")
    with pytest.raises(ValueError, match="packed by other code"):
        unpack_dataset(archive, tmp_path)
    assert not list(tmp_path.iterdir())


def test_twice_is_once(archive: Path, tmp_path: Path) -> None:
    folder = unpack_dataset(archive, tmp_path)
    assert unpack_dataset(archive, tmp_path) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("harm", ["cut", "missing", "other"])
def test_damage_is_named_and_leaves_nothing(archive: Path, tmp_path: Path, harm: str) -> None:
    broken, folder = tmp_path / "broken.tar.xz", tmp_path / "data"
    if harm == "cut":
        broken.write_bytes(archive.read_bytes()[:-2000])
    elif harm == "other":
        broken.write_bytes(b"no archive at all" * 100)
    with pytest.raises(ValueError, match=r"broken\.tar\.xz"):
        unpack_dataset(broken, folder)
    assert not folder.exists() or not list(folder.iterdir())
