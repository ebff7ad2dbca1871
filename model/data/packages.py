"""Text that installed packages bring: API prose and Python source, by service and by module.

Each reader yields (unit, text) lazily in the given order of units; a unit is never divided between
training and held-out windows. Nothing is imported from the packages: their files are read.
"""

import gzip
import importlib.util
import json
import os
import platform
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from model.data.markup import plain_html, plain_markdown

Order = Callable[[str], str]  # sort key of a unit's name
Texts = Iterator[tuple[str, str]]

# Origin: (module whose folder is read, distribution whose version counts, licence of the text).
PACKAGES = {
    "botocore": ("botocore", "botocore", "Apache-2.0"),
    "googleapiclient": ("googleapiclient", "google-api-python-client", "Apache-2.0"),
    "sympy": ("sympy", "sympy", "BSD-3-Clause"),
    "torch": ("torch", "torch", "BSD-3-Clause"),
}
# Tests repeat what they test; the others are generated tables or copies of other packages.
_SKIPPED_FOLDERS = {
    *("test", "tests", "testing", "benchmarks", "idle_test", "site-packages", "dist-packages"),
    *("_antlr", "encodings", "pydoc_data", "_vendor", "_bundled", "__pycache__", "lib2to3"),
    *("ensurepip", "_pyrepl", "bin", "include"),
}
_LARGEST_FILE = 400_000  # bytes; larger Python files are tables


def package_folder(origin: str) -> Path:
    """Folder of an origin's package; ValueError saying what to install where it is missing."""
    if origin == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"])
    module, distribution, _ = PACKAGES[origin]
    found = importlib.util.find_spec(module)
    places = [] if found is None else list(found.submodule_search_locations or [])
    if not places:
        raise ValueError(
            f"origin {origin!r}: the package {module!r} is not installed\n"
            f"install it with: pip install {distribution}"
        )
    return Path(places[0])


def package_version(origin: str) -> str:
    """Version of the text: of the distribution, or of Python itself for `stdlib`."""
    if origin == "stdlib":
        return platform.python_version()
    package_folder(origin)
    return metadata.version(PACKAGES[origin][1])


def package_licence(origin: str) -> str:
    """SPDX name of the licence of an origin's text."""
    return "PSF-2.0" if origin == "stdlib" else PACKAGES[origin][2]


def read_package(origin: str, order: Order) -> Texts:
    """(unit, cleaned text) of one packaged origin, units sorted by `order`."""
    folder = package_folder(origin)
    if origin == "botocore":
        return _botocore(folder / "data", order)
    if origin == "googleapiclient":
        return _google(folder / "discovery_cache" / "documents", order)
    return _python_files(folder, order)


def _strings_under(node: Any, key: str) -> Iterator[str]:
    """Every string stored under `key`, in document order."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key and isinstance(value, str):
                yield value
            else:
                yield from _strings_under(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _strings_under(value, key)


def _fresh(node: Any, key: str, seen: set[str]) -> list[str]:
    """Strings under `key` that are not in `seen`, which they join: cleaning is the slow part."""
    fresh = []
    for raw in _strings_under(node, key):
        if raw not in seen:
            seen.add(raw)
            fresh.append(raw)
    return fresh


def _botocore(folder: Path, order: Order) -> Texts:
    """A unit is a service; of several API versions the latest is read."""
    seen: set[str] = set()
    models = {
        service.name: max(service.glob("*/service-2.json*"))
        for service in folder.iterdir()
        if any(service.glob("*/service-2.json*"))
    }
    for name in sorted(models, key=order):
        raw = models[name].read_bytes()
        model = json.loads(gzip.decompress(raw) if models[name].suffix == ".gz" else raw)
        yield name, plain_html("<br>".join(_fresh(model, "documentation", seen)))


def _google(folder: Path, order: Order) -> Texts:
    """A unit is an API with all its versions, since they repeat each other."""
    seen: set[str] = set()
    models: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.json")):
        models.setdefault(path.name.split(".")[0], []).append(path)
    for name in sorted(models, key=order):
        fresh: list[str] = []
        for path in reversed(models[name]):
            fresh += _fresh(json.loads(path.read_bytes()), "description", seen)
        yield name, plain_markdown("\n\n".join(fresh))


def _python_files(folder: Path, order: Order) -> Texts:
    """A unit is a module, that is a file; tests, generated tables and vendored copies are left."""
    modules: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        for path in (Path(place, name) for name in names if name.endswith(".py")):
            if 0 < path.stat().st_size <= _LARGEST_FILE:
                modules[".".join(path.relative_to(folder).with_suffix("").parts)] = path
    for name in sorted(modules, key=order):
        with tokenize.open(modules[name]) as file:
            yield name, file.read()
