"""A thousand runs in the queue of a cluster: how long `submit` and `status` take, what they ask.

Every run has a job of its own, and its partition starts none: nothing trains.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.measured import Row
from benchmarks.slurm_trial import DOWN, Timed, Trial
from model.records import read_json
from model.training.spec import Execution
from sweeps.layout import METRICS_NAME, run_folder
from sweeps.plan import plan
from sweeps.planned import load_outlines
from sweeps.slurm.attempts import ATTEMPTS_NAME
from sweeps.slurm.submission import Job, load_submission, slurm_folder
from sweeps.sweep_file import load_sweep
from workbench.prepare import find_manifest

RUNS = 1000
LADDER = """lowest = 1e10
highest = 3e12
per_decade = 3.2
grid = [0.25, 1, 4]
seeds = [37]"""  # 9 budgets × 3 × 37, and the target
TARGET = 9e13
SUBMITS, LOOKS = 3, 7  # times that each is measured
SUBMIT_SECONDS, STATUS_SECONDS, CALLS_A_SHAPE = 5.0, 1.0, 3
FINISHED, BEGUN = 500, 100  # of the runs, for the second look
IMPORTS = "import workbench.cli, workbench.commands.status, sweeps.status, rich.console"
QUERIES = ("squeue", "sacct", "scontrol", "sacctmgr", "sinfo")


def queue_rows(trial: Trial, trained: Sequence[Path]) -> list[Row]:
    """Rows on submission and status; `trained` are folders of finished runs to copy files from."""
    folder, submits = _submitted(trial)
    rows = [_submit_row(submits), _plan_row(trial), _calls_row(folder, submits[-1])]
    imports = _imports(trial)
    waiting = _looks(trial, folder)
    lend_files(folder, trained)
    mixed = _looks(trial, folder)
    share = f"{FINISHED} finished, {BEGUN} begun, {RUNS - FINISHED - BEGUN} queued"
    rows += [_status_row("all queued", waiting), _status_row(share, mixed)]
    queries = [sum(look.calls[name] for name in QUERIES) for look in (*waiting, *mixed)]
    return [
        *rows,
        Row(
            what=f"queries of Slurm, a status of {RUNS:,} runs",
            measured=float(max(queries)),
            at_least=1,
            at_most=1,
            detail=f"calls of {', '.join(QUERIES)}; the most of {len(queries)} looks",
        ),
        Row(
            what="status / Python and its imports",
            measured=_median(mixed) / imports,
            detail=f"{_median(mixed):.2f} s over {imports:.2f} s ({IMPORTS})",
        ),
    ]


def _submitted(trial: Trial) -> tuple[Path, list[Timed]]:
    """The folder of the sweep that is queued at the end, and every submission."""
    profile = trial.profile(partition=DOWN)
    submits = []
    for number in range(SUBMITS):
        trial.lab.empty()
        sweep = trial.sweep(f"wide{number}", LADDER, TARGET)
        submits.append(trial.submit(sweep, profile))
    return trial.runs / sweep.stem, submits


def _submit_row(submits: Sequence[Timed]) -> Row:
    calls = sum(submits[-1].calls.values())
    return Row(
        what=f"submit of {RUNS:,} runs",
        measured=_median(submits),
        unit="s",
        at_most=SUBMIT_SECONDS,
        detail=(
            f"{_spread(submits)}; the whole command: planning, plan file, copy of the code, "
            f"{calls} calls of Slurm; data built and [execution] given before"
        ),
    )


def _plan_row(trial: Trial) -> Row:
    sweep = load_sweep(trial.sweep("plan", LADDER, TARGET))
    manifest = find_manifest(sweep.data.spec(), trial.runs / "data")
    begun = time.perf_counter()
    planned = plan(sweep, manifest, Execution())
    seconds = time.perf_counter() - begun
    if len(planned.runs) != RUNS:
        raise AssertionError(f"the sweep has {len(planned.runs)} runs, not {RUNS}")
    return Row(
        what=f"a plan of {RUNS:,} runs",
        measured=seconds,
        unit="s",
        detail="once, in memory; a submit plans twice, and that is in its time",
    )


def _calls_row(folder: Path, submit: Timed) -> Row:
    jobs = load_submission(slurm_folder(folder) / "0001").jobs
    if submit.calls["sbatch"] != len(jobs):
        raise AssertionError(f"{submit.calls['sbatch']} sbatch calls for {len(jobs)} jobs")
    shapes = calls_a_shape(jobs)
    arrays = ", ".join(f"{job.label} {len(job.tasks)}" for job in jobs if job.tasks)
    return Row(
        what="sbatch calls, of a resource shape the most",
        measured=float(max(shapes)),
        at_most=CALLS_A_SHAPE,
        detail=f"{len(jobs)} calls, {len(shapes)} shapes; jobs of the arrays: {arrays}",
    )


def calls_a_shape(jobs: Iterable[Job]) -> list[int]:
    """How many sbatch calls each resource shape took."""
    return list(Counter(job.resources for job in jobs).values())


def _looks(trial: Trial, folder: Path) -> list[Timed]:
    return [trial.timed("-m", "workbench", "status", folder) for _ in range(LOOKS)]


def _imports(trial: Trial) -> float:
    return _median([trial.timed("-c", IMPORTS) for _ in range(LOOKS)])


def _status_row(how: str, looks: Sequence[Timed]) -> Row:
    return Row(
        what=f"status of {RUNS:,} runs, {how}",
        measured=_median(looks),
        unit="s",
        at_most=STATUS_SECONDS,
        detail=_spread(looks),
    )


def lend_files(folder: Path, trained: Sequence[Path]) -> None:
    """Give the first runs of a plan the files of finished runs, and some more those of begun ones.

    Only what a status reads is there; results bear the id of their new run.
    """
    runs = load_outlines(folder)[: FINISHED + BEGUN]
    for number, run in enumerate(runs):
        source, home = trained[number % len(trained)], run_folder(folder, str(run.run_id))
        home.mkdir()
        for name in (METRICS_NAME, ATTEMPTS_NAME):
            shutil.copyfile(source / name, home / name)
        if number < FINISHED:
            result = read_json(source / "result.json") | {"run_id": run.run_id}
            (home / "result.json").write_text(json.dumps(result))


def _median(timed: Iterable[Timed]) -> float:
    return statistics.median(one.seconds for one in timed)


def _spread(timed: Sequence[Timed]) -> str:
    seconds = [one.seconds for one in timed]
    cpu = statistics.median(one.cpu_seconds for one in timed)
    return f"median of {len(timed)}, {min(seconds):.2f} to {max(seconds):.2f} s, {cpu:.2f} s of CPU"
