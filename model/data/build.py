"""Builds a dataset once: read, split, tokenise, pack, draw held-out windows, hash, rename.

The folder is named by the spec, the versions of what is read and the code that reads it. It appears
whole or not at all, and of two builds at once the second waits for the first.
"""

import contextlib
import fcntl
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from model.data.assemble import assemble
from model.data.corpus import folder_hash, origin_version
from model.data.manifest import MANIFEST, Manifest, read_manifest
from model.data.packed import packed_key
from model.data.spec import DataSpec
from model.records import content_hash, sync_folder, to_json
from model.training.lock import try_lock

Progress = Callable[[str, float], None]  # what is being done, and the share that is done


def data_key(spec: DataSpec) -> str:
    """Name of the folder that `spec` is built in; ValueError where an origin is missing.

    Changes with the spec, the versions of the corpora, tokenizers and this code.
    """
    return content_hash(
        {
            "spec": to_json(spec),
            "origins": {source.name: origin_version(source) for source in spec.sources},
            "tokenizers": metadata.version("tokenizers"),
            "python": ".".join(platform.python_version_tuple()[:2]),
            "code": folder_hash(Path(__file__).parent),
        }
    )


def dataset_folder(spec: DataSpec, folder: Path) -> Path:
    """Where the dataset of `spec` lies, or would be built.

    One that was brought packed comes first, and asks for none of the corpora; else ValueError
    where an origin is missing.
    """
    packed = folder / packed_key(spec)
    return packed if (packed / MANIFEST).is_file() else folder / data_key(spec)


def build_dataset(spec: DataSpec, folder: Path, progress: Progress | None = None) -> Manifest:
    """The manifest of the dataset in dataset_folder(spec, folder), built there if it is not yet.

    Raises ValueError for a corpus that is missing, empty, unreadable or too small, or a built
    dataset that was damaged; OSError where the disk is full, leaving nothing behind.
    """
    report = progress or (lambda message, share: None)
    target = dataset_folder(spec, folder)
    key = target.name
    if (target / MANIFEST).is_file():
        return read_manifest(target)
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / f".{key}.lock", report):
        if target.exists():
            return read_manifest(target)
        for stale in folder.glob(f".{key}.*.tmp"):  # of a build that was killed
            shutil.rmtree(stale)
        temporary = folder / f".{key}.{os.getpid()}.tmp"
        temporary.mkdir()
        try:
            assemble(spec, key, temporary, report)
            os.replace(temporary, target)
        except OSError as error:
            raise OSError(
                error.errno,
                f"the dataset could not be written ({error.strerror or error})\n"
                "free some space or choose another folder",
                str(folder),
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(folder)
    return read_manifest(target)


@contextlib.contextmanager
def _lock(path: Path, report: Progress) -> Iterator[None]:
    """Holds an exclusive lock; the system frees it when the process ends, however it ends.

    Where the file system has no locks, two builds at once may disturb each other.
    """
    with path.open("w") as file:
        if try_lock(file.fileno()) is False:
            report("waiting for another build of the same dataset", 0.0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
