"""From a sweep file to a plan whose every run has its id: data built, execution frozen.

`preview` plans without torch and without building anything; `prepare` builds what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from model.data.build import build_dataset, dataset_folder
from model.data.manifest import MANIFEST, Manifest, read_manifest
from model.data.spec import DataSpec
from model.records import from_json, read_json
from model.training.spec import Execution
from sweeps.layout import EXECUTION_NAMES, freeze_execution, keep_sweep
from sweeps.plan import plan
from sweeps.planned import Plan, save_plan
from sweeps.slurm.arrays import Assumed
from sweeps.sweep_file import Place, Sweep, load_sweep
from workbench.own_text import own_text_cautions

DATA_FOLDER = "data"
LEDGER_NAME = "ledger.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A sweep that is ready to train."""

    sweep: Sweep
    folder: Path  # of the sweep: runs/<name>
    data_folder: Path  # of the built data set
    manifest: Manifest
    plan: Plan

    @property
    def ledger(self) -> Path:
        """One ledger beside all sweeps, so that every target ever trained is counted."""
        return self.folder.parent / LEDGER_NAME

    @property
    def workers(self) -> int:
        """Ladder runs at a time."""
        return worker_count(self.sweep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What is known of the machines that will train, where they are not this one."""

    execution: Execution | None  # None: they are like this one, so it is measured here
    target_threads: int
    gpus: bool = False  # whether their jobs hold any


def cores() -> int:
    """CPU cores that this process may use; a cluster's cpuset counts."""
    return len(os.sched_getaffinity(0))


def worker_count(sweep: Sweep) -> int:
    """As many as the sweep asks for; else one a core, or one on a GPU."""
    if sweep.execution.workers:
        return sweep.execution.workers
    return 1 if sweep.execution.device == "cuda" else cores()


def preview(
    sweep_path: Path, runs: Path, elsewhere: Elsewhere | None = None
) -> tuple[Sweep, Plan, Assumed | None]:
    """The plan and how its runs compute, as far as known before anything is built or measured."""
    sweep = load_sweep(sweep_path)
    with _about(sweep_path):
        assumed = _executions(sweep, runs / sweep.name, elsewhere)
        ladder, target = (assumed.ladder, assumed.target) if assumed else (None, None)
        manifest = find_manifest(sweep.data.spec(), runs / DATA_FOLDER)
        planned = plan(sweep, manifest, ladder, target_execution=target)
        doubts = [] if manifest else list(own_text_cautions(sweep, planned))
    return sweep, replace(planned, warnings=(*planned.warnings, *doubts)), assumed


def prepare(
    sweep: Sweep,
    sweep_path: Path,
    runs: Path,
    progress: Callable[[str, float], None] | None = None,
    *,
    elsewhere: Elsewhere | None = None,
    check: Callable[[Plan], None] | None = None,
) -> Prepared:
    """Build the data set, freeze the execution, plan, and write `plan.json`.

    `progress(stage, fraction)` follows the building of the data set; `check(plan)` may still refuse
    a plan before it is written. Raises ValueError on a missing corpus, or a budget that fits no
    shape.
    """
    folder = runs / sweep.name
    spec = sweep.data.spec()
    with _about(sweep_path):  # a bad grid should fail before minutes go into the data
        plan(sweep)
        _executions(sweep, folder, elsewhere)
        dataset_folder(spec, runs / DATA_FOLDER)
    manifest = build_dataset(spec, runs / DATA_FOLDER, progress)
    data_folder = runs / DATA_FOLDER / manifest.key
    place = sweep.execution

    def choose() -> Execution:
        if elsewhere is not None and elsewhere.execution is not None:
            return _agreed(elsewhere.execution, place)
        from model.training.execution import choose_execution

        shape = plan(sweep, manifest).ladder[-1].shape
        measured = choose_execution(1, shape, device=place.device, dtype=place.dtype)
        return _used(measured, elsewhere, "name device, dtype and attention in its [execution]")

    execution = freeze_execution(folder, choose, "ladder")
    threads = place.target_threads or (elsewhere.target_threads if elsewhere else cores())
    target_execution = freeze_execution(
        folder, lambda: replace(execution, threads=threads), "target"
    )
    planned = plan(sweep, manifest, execution, target_execution=target_execution)
    if check is not None:
        check(planned)
    keep_sweep(folder, sweep_path, sweep)
    save_plan(planned, folder)
    return Prepared(
        sweep=sweep, folder=folder, data_folder=data_folder, manifest=manifest, plan=planned
    )


def _executions(sweep: Sweep, folder: Path, elsewhere: Elsewhere | None) -> Assumed | None:
    """As an earlier run froze it, or else as it is known of the machines elsewhere.

    Raises ValueError where the sweep or the profile names something else.
    """
    place, ladder, target = sweep.execution, _frozen(folder, "ladder"), _frozen(folder, "target")
    threads = place.target_threads or (elsewhere.target_threads if elsewhere else 1)
    if ladder is None and elsewhere is not None:
        gpus = place.device == "cuda" or (place.device == "auto" and elsewhere.gpus)
        named = Execution(device="cuda" if gpus else "cpu")
        ladder = _agreed(elsewhere.execution, place) if elsewhere.execution else named
    elif ladder is not None:
        _refuse_other(ladder, folder / EXECUTION_NAMES["ladder"], place, elsewhere)
    if ladder is None:
        return None
    _used(ladder, elsewhere, "set gpus = 0, or plan for GPUs in another folder (--runs)")
    return Assumed(ladder=ladder, target=target or replace(ladder, threads=threads))


def _refuse_other(frozen: Execution, path: Path, place: Place, elsewhere: Elsewhere | None) -> None:
    """Raise ValueError where sweep or profile name what is not in the file of an earlier run."""
    profile = elsewhere.execution if elsewhere else None
    for name in ("device", "dtype", "attention"):
        given = getattr(frozen, name)
        for who, where in (("the sweep", place), ("the profile's [execution]", profile)):
            asked = getattr(where, name, "auto")
            if asked not in ("auto", given):
                raise ValueError(
                    f"{who} asks for {name} = {asked!r}, and {path} has frozen {given!r}\n"
                    f"ask for {given!r}, or plan anew in another folder (--runs)"
                )


def _used(execution: Execution, elsewhere: Elsewhere | None, remedy: str) -> Execution:
    """The execution; ValueError where it would leave GPUs idle that its jobs hold."""
    if elsewhere and elsewhere.gpus and execution.device == "cpu":
        raise ValueError(f"the profile's jobs hold GPUs, and the runs are for the CPU\n{remedy}")
    return execution


def _agreed(execution: Execution, place: Place) -> Execution:
    """The profile's execution; ValueError where the sweep file asks for another."""
    for name in ("device", "dtype"):
        asked, given = getattr(place, name), getattr(execution, name)
        if asked not in ("auto", given):
            raise ValueError(
                f"the sweep asks for {name} = {asked!r}, the profile's [execution] for {given!r}\n"
                "make them agree, or leave the sweep at 'auto'"
            )
    return execution


@contextmanager
def _about(sweep_path: Path) -> Iterator[None]:
    """Name the sweep file in what is wrong with its content."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{sweep_path}: {error}") from error


def _frozen(folder: Path, role: str) -> Execution | None:
    """The execution that an earlier run froze, if there was one."""
    path = folder / EXECUTION_NAMES[role]
    return from_json(Execution, read_json(path), where=str(path)) if path.exists() else None


def find_manifest(spec: DataSpec, data: Path) -> Manifest | None:
    """The manifest of the data set in the folder of all data sets; None until it is built."""
    folder = dataset_folder(spec, data)
    return read_manifest(folder) if (folder / MANIFEST).is_file() else None


def is_built(sweep: Sweep, sweep_path: Path, runs: Path) -> bool:
    """Whether the sweep's data set lies ready; ValueError for a missing corpus."""
    with _about(sweep_path):
        return find_manifest(sweep.data.spec(), runs / DATA_FOLDER) is not None


def data_line(prepared: Prepared) -> str:
    """One line on the data set: sizes and what held-out text was seen in training."""
    sources = prepared.manifest.sources.items()
    facts = [f"{name} {s.tokens_train / 1e6:.1f}M, overlap {s.overlap:.2%}" for name, s in sources]
    return f"data {prepared.manifest.hash[:12]}: " + "; ".join(facts)


@contextmanager
def data_progress() -> Iterator[Callable[[str, float], None]]:
    """A bar for the building of the data set."""
    from workbench.output import progress as bars

    with bars() as display:
        tasks: dict[str, object] = {}

        def show(name: str, fraction: float) -> None:
            if name not in tasks:
                tasks[name] = display.add_task(f"data: {name}", total=100)
            display.update(tasks[name], completed=round(100 * fraction))  # type: ignore[arg-type]

        yield show
