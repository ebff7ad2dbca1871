"""A folder of TensorBoard runs as a table: every tag's last value, a row a run.

A run is a folder that holds event files, named by its path below the folder that was given. What
a program logs beside a run in folders of its own (train/, validation/, …, or the time stamp that
torch's `add_hparams` makes), or below the run's own event files, belongs to that run, with the
folder's name before the tag. Several event files in one folder are restarts: the later one
overrules the steps that it repeats.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from workbench.errors import InputError
from workbench.sources.curves import Curve, Source, source_of
from workbench.sources.events import Points, read_event_file
from workbench.table_checks import Finding

SIDE = re.compile(r"train|training|val|valid|validation|eval|evaluation|test|dev")
STAMP = re.compile(r"\d{9,}(\.\d+)?")
MARK = "tfevents"
_WRITTEN = re.compile(r"tfevents\.(\d+)")


def event_files(folder: Path) -> list[Path]:
    """Every event file below the folder, in the order of writing within a folder of its own."""
    found = [path for path in folder.rglob("*") if MARK in path.name and path.is_file()]
    return sorted(found, key=lambda path: (str(path.parent), _written(path), path.name))


def _written(path: Path) -> int:
    stamp = _WRITTEN.search(path.name)
    return int(stamp[1]) if stamp else 0


def read_runs(folder: Path, step: Callable[[int, int], None] | None = None) -> Source:
    """The table of the runs in a folder; `step` is told files done and files in all.

    Raises InputError where there is no event file, no scalar, or a damaged file.
    """
    files = event_files(folder)
    if not files:
        raise InputError(
            f"{folder} holds no TensorBoard event file (…{MARK}…)",
            "name the folder whose subfolders are the runs, or a table file",
        )
    points: dict[str, dict[str, Points]] = {}
    facts: dict[str, dict[str, str]] = {}
    cut: list[str] = []
    homes = {path.parent.relative_to(folder).parts for path in files}
    for done, path in enumerate(files, start=1):
        run, prefix = _place(path.parent.relative_to(folder).parts, homes)
        read = read_event_file(path)
        if read.cut:
            cut.append(str(path.relative_to(folder)))
        facts.setdefault(run, {}).update(read.hparams)
        known = points.setdefault(run, {})
        for tag, fresh in read.points.items():
            name = f"{prefix}{tag}"
            known[name] = _resumed(known.get(name, []), fresh)
        if step:
            step(done, len(files))
    names = _short_names([run for run in points if points[run]], folder.resolve().name)
    curves = [
        _curve(names[run], tag, series)
        for run in sorted(names, key=_natural)
        for tag, series in points[run].items()
    ]
    if not curves:
        raise InputError(f"{folder}: its {len(files)} event files hold no scalar", "log the loss")
    known_facts = {names[run]: facts[run] for run in names}
    return source_of(curves, facts=known_facts, findings=_told(cut))


def _place(parts: tuple[str, ...], homes: set[tuple[str, ...]]) -> tuple[str, str]:
    """The run that a folder belongs to, and what stands before its tags."""
    own = next((k for k in range(1, len(parts)) if parts[:k] in homes), len(parts))
    while own and (STAMP.fullmatch(parts[own - 1]) or SIDE.fullmatch(parts[own - 1].lower())):
        own -= 1
    beside = [f"{part}/" for part in parts[own:] if not STAMP.fullmatch(part)]
    return "/".join(parts[:own]), "".join(beside)


def _resumed(before: Points, fresh: Points) -> Points:
    """A tag's points with those of a later file, which overrules the steps that it goes over."""
    first = min(step for step, _ in fresh)
    return [point for point in before if point[0] < first] + fresh


def _short_names(runs: list[str], own: str) -> dict[str, str]:
    """The runs' names without the folders that all of them share; the root's run has its name."""
    inside = [run for run in runs if run]
    shared = os.path.commonpath([os.path.dirname(run) for run in inside]) if inside else ""
    skipped = len(shared) + 1 if shared else 0
    return {run: run[skipped:] if run else own for run in runs}


def _natural(run: str) -> list[tuple[int, int, str]]:
    """run-2 before run-10."""
    pieces = re.findall(r"\d+|\D+", run)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in pieces]


def _curve(run: str, tag: str, series: Points) -> Curve:
    ordered = sorted(
        series, key=lambda point: point[0]
    )  # stable: of one step, the later stays last
    values = np.array([value for _, value in ordered], dtype=np.float64)
    single = np.float32(values[-1])
    if single == values[-1]:  # logged in single precision: 3.2, and not 3.2000000476837158
        values[-1] = float(str(single))
    steps = np.array([step for step, _ in ordered], dtype=np.float64)
    return Curve(run=run, metric=tag, steps=steps, values=values)


def _told(cut: list[str]) -> list[Finding]:
    if not cut:
        return []
    more = f" and {len(cut) - 3} more" if len(cut) > 3 else ""
    text = (
        f"{', '.join(cut[:3])}{more}: the last record is unfinished, what stands before it is read"
    )
    return [Finding.of("event files", (), text, doubt=True)]
