"""What a run wrote: its own log, the lines of its jobs about it, its workers' standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.layout import run_folder
from sweeps.planned import PlannedRun
from sweeps.slurm import attempts
from sweeps.slurm.submission import JOBS_FOLDER, slurm_folder

LOG_NAME = "log.txt"
POLL_SECONDS = 1.0
LOOK_SECONDS = 10.0  # between two questions of whether more is to come: each asks Slurm


@dataclass(slots=True)
class Source:
    """A file that is read as it grows; only lines with `about` in them, where that is given."""

    path: Path
    about: str = ""
    _place: int = 0
    _rest: bytes = field(default=b"")

    def lines(self) -> list[str]:
        """The lines that came since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._place)
                new = file.read()
        except FileNotFoundError:
            return []
        self._place += len(new)
        whole, _, self._rest = (self._rest + new).rpartition(b"\n")
        found = whole.decode(errors="replace").splitlines()
        return [line for line in found if self.about in line]


def sources(folder: Path, run: PlannedRun) -> list[Source]:
    """The files that hold something about the run, as far as they are there yet."""
    home = run_folder(folder, str(run.run_id))
    found = {home / LOG_NAME: Source(home / LOG_NAME)}
    for attempt in attempts.read(home):
        jobs = slurm_folder(folder) / f"{attempt.submission:04d}" / JOBS_FOLDER
        worker = Path(attempt.log)
        ranks = [*jobs.glob(f"{attempt.job}_[1-9]*_log.out"), *worker.parent.glob("rank-*.log")]
        path = jobs / f"{attempt.job}_0_log.out"
        found.setdefault(path, Source(path, f"{run.name}:"))
        for path in (worker, *sorted(ranks)):  # of several ranks, which have the job to themselves
            found.setdefault(path, Source(path))
    return list(found.values())


def read_logs(
    folder: Path, run: PlannedRun, *, follow: Callable[[], bool] | None = None
) -> Iterator[tuple[Path, str]]:
    """(file, line) of all there is about the run; with `follow`, on until that returns False."""
    known: dict[Path, Source] = {}
    going, looked = follow is not None, -LOOK_SECONDS
    while True:
        if follow is not None and time.monotonic() - looked > LOOK_SECONDS:
            going, looked = follow(), time.monotonic()
        for source in sources(folder, run):
            known.setdefault(source.path, source)
        for source in known.values():
            for line in source.lines():
                yield source.path, line
        if not going:
            return
        time.sleep(POLL_SECONDS)
