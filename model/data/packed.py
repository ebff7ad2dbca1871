"""A built dataset as one file, for a machine without the packages that its text comes from.

    pack_dataset(built, archive)             where it was built
    unpack_dataset(archive, folder)          there; `build.dataset_folder` then finds it

Its name holds the spec and the code that reads it, but not the versions of corpora, which cannot be
asked for where they are not installed. Its manifest's hash, which is part of every run's id, is
that of the original.
"""

import dataclasses
import lzma
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from model.data.corpus import folder_hash
from model.data.manifest import MANIFEST, check_hashes, read_manifest
from model.data.spec import DataSpec
from model.records import canonical, content_hash, sync_folder, to_json, write_atomic

PRESET: Final = 3  # of xz


def packed_key(spec: DataSpec) -> str:
    """Name of the folder that a packed dataset of `spec` is unpacked into.

    Changes with the spec and with the code that splits data, draws problems and reads shards.
    """
    here = Path(__file__).parent
    code = [folder_hash(folder) for folder in (here, here.parent / "tasks")]
    return f"packed-{content_hash({'spec': to_json(spec), 'code': code})}"


def pack_dataset(built: Path, archive: Path) -> int:
    """Write the dataset in the folder `built` as one .tar.xz file; returns its bytes.

    Raises ValueError where the dataset is damaged.
    """
    manifest = read_manifest(built)
    check_hashes(built, manifest)
    key = packed_key(manifest.spec)
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}.tmp")
    try:
        with tarfile.open(temporary, "w:xz", preset=PRESET) as tar:
            for name in (MANIFEST, *sorted(manifest.files)):
                tar.add(built / name, arcname=f"{key}/{name}")
        os.replace(temporary, archive)
    finally:
        temporary.unlink(missing_ok=True)
    return archive.stat().st_size


def unpack_dataset(archive: Path, folder: Path) -> Path:
    """The folder of the packed dataset, unpacked under `folder` if it is not there yet.

    Every file is checked against its SHA-256. Raises ValueError naming the archive where it is
    missing, damaged, or was packed by other code than this.
    """
    if not archive.is_file():
        raise ValueError(f"{archive}: no such file\npack the dataset where it can be built")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".packed.", suffix=".tmp", dir=folder))
    try:
        unpacked = _extracted(archive, temporary)
        target = folder / unpacked.name
        if not (target / MANIFEST).is_file():
            os.replace(unpacked, target)
            sync_folder(folder)
        return target
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extracted(archive: Path, temporary: Path) -> Path:
    """The checked dataset within the temporary folder, under its own name."""
    try:
        with tarfile.open(archive, "r:xz") as tar:
            tar.extractall(temporary, filter="data")
        unpacked = next(temporary.iterdir())
        manifest = read_manifest(unpacked)
        check_hashes(unpacked, manifest)
    except (tarfile.TarError, lzma.LZMAError, EOFError, StopIteration, ValueError) as error:
        reason = (str(error) or "it is empty").splitlines()[0]
        raise ValueError(
            f"{archive}: not a whole packed dataset ({reason})\npack it again"
        ) from None
    if unpacked.name != packed_key(manifest.spec):
        raise ValueError(f"{archive}: packed by other code of model/data or tasks\npack it again")
    renamed = dataclasses.replace(manifest, key=unpacked.name)
    write_atomic(unpacked / MANIFEST, canonical(renamed))
    return unpacked
