"""What a run wrote: its own log, the lines of its jobs about it, its workers' standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.layout import run_folder
from sweeps.planned import PlannedRun, load_outlines
from sweeps.slurm import attempts
from sweeps.slurm.submission import JOBS_FOLDER, job_log, last_tasks, slurm_folder, submissions

LOG_NAME = "log.txt"
POLL_SECONDS = 1.0
LOOK_SECONDS = 10.0  # between two questions of whether more is to come: each asks Slurm


@dataclass(slots=True)
class Source:
    """A file that is read as it grows; without the lines about runs in `others`."""

    path: Path
    others: frozenset[str] = frozenset()
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
        return [line for line in found if not self._is_of_another(line)]

    def _is_of_another(self, line: str) -> bool:
        """Whether a job wrote it about another run: "TIME NAME: …" (sweeps/slurm/turns.py, say)."""
        words = line.split(maxsplit=2)
        return len(words) > 1 and words[1].removesuffix(":") in self.others


def sources(folder: Path, run: PlannedRun, others: frozenset[str]) -> list[Source]:
    """The files that hold something about the run, as far as they are there yet.

    The log of the job that it was last submitted in is one of them, whether or not it began there.
    """
    home = run_folder(folder, str(run.run_id))
    found = {home / LOG_NAME: Source(home / LOG_NAME)}
    for attempt in attempts.read(home):
        jobs = slurm_folder(folder) / f"{attempt.submission:04d}" / JOBS_FOLDER
        worker = Path(attempt.log)
        ranks = [*jobs.glob(f"{attempt.job}_[1-9]*_log.out"), *worker.parent.glob("rank-*.log")]
        path = job_log(jobs.parent, attempt.job)
        found.setdefault(path, Source(path, others))
        for path in (worker, *sorted(ranks)):  # of several ranks, which have the job to themselves
            found.setdefault(path, Source(path))
    task = last_tasks(submissions(folder)).get(str(run.run_id))
    if task is not None and task.job.job_id is not None:
        path = job_log(task.place, f"{task.job.job_id}_{task.index}")
        found.setdefault(path, Source(path, others))
    return list(found.values())


def read_logs(
    folder: Path, run: PlannedRun, *, follow: Callable[[], bool] | None = None
) -> Iterator[tuple[Path, str]]:
    """(file, line) of all there is about the run; with `follow`, on until that returns False."""
    known: dict[Path, Source] = {}
    others = frozenset(one.name for one in load_outlines(folder)) - {run.name}
    going, looked = follow is not None, -LOOK_SECONDS
    while True:
        if follow is not None and time.monotonic() - looked > LOOK_SECONDS:
            going, looked = follow(), time.monotonic()
        for source in sources(folder, run, others):
            known.setdefault(source.path, source)
        for source in known.values():
            for line in source.lines():
                yield source.path, line
        if not going:
            return
        time.sleep(POLL_SECONDS)
