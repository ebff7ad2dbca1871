"""One tiny sweep, trained once for all tests of the command line, in whatever process they run."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.workbench.tiny import NAME, Finished, workbench, write_sweep

NEEDED = ("torch", "tokenizers", "safetensors", "sklearn", "typst")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The sweep after `workbench run`; shared, so read it only and change an `own` copy."""
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # that of all worker processes
    place = place / "whole-way"
    place.mkdir(exist_ok=True)
    kept = place / "finished.json"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _train(place, kept)
    known = json.loads(kept.read_text())
    return Finished(**{**known, "sweep": Path(known["sweep"]), "runs": Path(known["runs"])})


@pytest.fixture
def own(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of the finished sweep that a test may change; the sweep file stays where it is."""
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs)
    return replace(finished, runs=runs)


@pytest.fixture
def planned(finished: Finished, tmp_path: Path) -> Finished:
    """The same sweep before any training: data built, and the execution frozen as it was."""
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs / "data", runs / "data")
    (runs / NAME).mkdir()
    for name in ("execution.json", "execution-target.json"):
        shutil.copy2(finished.folder / name, runs / NAME / name)
    return replace(finished, runs=runs)


def _train(place: Path, kept: Path) -> None:
    sweep, runs, begun = write_sweep(place), place / "runs", time.monotonic()
    done = workbench("run", sweep, "--runs", runs, "--json")
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - begun
    found = Finished(sweep=sweep, runs=runs, seconds=seconds, out=done.stdout, err=done.stderr)
    kept.write_text(json.dumps(asdict(found) | {"sweep": str(sweep), "runs": str(runs)}))
