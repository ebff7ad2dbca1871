"""Training one run, from its spec to its result, across any number of interruptions.

    result = train(spec, data_folder=…, run_folder=…)

A run that already has a result is not trained again. On a CPU, a run that was killed and resumed
ends with the same bits as one that was not. Of several ranks the first calls `train`, the others
`follow`: they run the same loop, and where one rank must stop or save, all do, at the same step.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model.records import from_json, to_json
from model.training.checkpoint import disk_error
from model.training.desk import Desk
from model.training.device import keep_freed_memory, reset_peak_memory
from model.training.finish import conclude
from model.training.folder import check_dataset, check_machine, claim, resume
from model.training.inputs import training_batches
from model.training.interruption import Interruption, RunInterrupted
from model.training.lock import RunLock, hold_lock
from model.training.loss import unigram_loss
from model.training.metrics import METRICS_NAME, MetricsWriter
from model.training.progress import Report, Reporter
from model.training.ranks import ALONE, JOB, Ranks
from model.training.result import RunResult, RunStatus, load_result, save_result
from model.training.schedule import evaluation_steps
from model.training.spec import RunSpec, run_id
from model.training.state import TrainingState, begin
from model.training.step import train_step

if TYPE_CHECKING:
    from model.data.dataset import Dataset

LINES = 256  # lines of training loss in a run, about
SEQUENCES_A_LINE = 32  # at least, so that every part occurs in most lines
STEPS_A_LINE = 64  # at most: a CUDA queue is read once a line
SAVE_SECONDS = 30.0  # between checkpoints, at least
SAVE_SHARE = 0.02  # of the wall time that checkpoints may take
SMOOTHING = 0.2  # weight of the newest line in the smoothed training loss


@dataclass(slots=True)
class Session:
    """One process's work on a run: the state and all that surrounds it."""

    spec: RunSpec
    dataset: Dataset
    state: TrainingState
    interruption: Interruption
    desk: Desk | None  # None: another rank writes
    last_save: float
    save_gap: float = SAVE_SECONDS


def train(
    spec: RunSpec,
    *,
    data_folder: Path,
    run_folder: Path,
    progress: Report | None = None,
    ledger_head: str | None = None,
    peak: float | None = None,
    interruption: Interruption | None = None,
    ranks: Ranks = ALONE,
) -> RunResult:
    """The result of the run, trained and evaluated as far as it was not yet.

    `ledger_head` goes into the first line of the metrics. `peak` is the device's FLOP/s for MFU;
    None leaves MFU empty. Raises RunInterrupted where `interruption` asked to stop, RunLocked
    where another process has the folder, ValueError where folder, data and spec do not belong
    together, OSError of one line where the disk is full. All of them leave the last checkpoint.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    try:
        with hold_lock(run_folder) as lock:
            result = load_result(run_folder)
            if result is None:
                claim(spec, run_folder, data_folder)
                ranks.check(spec)
                ranks.tell(JOB, {"spec": to_json(spec), "data_folder": str(data_folder.resolve())})
                asked = interruption or Interruption()
                return _train(
                    spec, data_folder, run_folder, progress, ledger_head, peak, asked, lock, ranks
                )
    except OSError as error:
        raise disk_error(error, run_folder) from error
    if result.run_id != run_id(spec):
        raise ValueError(
            f"{run_folder} holds the result of run {result.run_id}, not of {run_id(spec)}. "
            "Choose another run folder"
        )
    return result


def follow(ranks: Ranks, interruption: Interruption) -> None:
    """The part of a rank that writes nothing: the steps of the run that rank 0 trains.

    Raises RunInterrupted where any rank was asked to stop, ValueError where this machine has not
    the code, the hardware or the data of the run, RuntimeError where another rank is gone.
    """
    job = ranks.hear()
    if job is None:
        return
    spec = from_json(RunSpec, job["spec"], "the run that rank 0 trains")
    state, dataset, over = _open(spec, Path(job["data_folder"]), None, ranks)
    session = Session(spec, dataset, state, interruption, None, time.monotonic())
    _to_the_end(session, over)


def _train(
    spec: RunSpec,
    data_folder: Path,
    folder: Path,
    progress: Report | None,
    ledger_head: str | None,
    peak: float | None,
    interruption: Interruption,
    lock: RunLock,
    ranks: Ranks,
) -> RunResult:
    state, dataset, over = _open(spec, data_folder, folder, ranks)
    first = not (folder / METRICS_NAME).exists() or (folder / METRICS_NAME).stat().st_size == 0
    with MetricsWriter(folder / METRICS_NAME) as metrics:
        opening: dict[str, Any] = {"kind": "start" if first else "resume", "time": _utc()}
        opening |= {
            "schema": 1,
            "run_id": run_id(spec),
            "ledger_head": ledger_head,
            "from_step": state.step,
        }
        metrics.append(opening)
        metrics.flush(sync=True)
        many = "" if ranks.size == 1 else f" on {ranks.size} ranks"
        desk = Desk(folder, metrics, Reporter(progress, run_id(spec), spec.steps), lock)
        desk.log(f"{opening['kind']} at step {state.step} of {spec.steps}{many}")
        for note in state.notes:
            desk.log(note)
        session = Session(spec, dataset, state, interruption, desk, time.monotonic())
        status = _to_the_end(session, over)
        interruption.check(f"{folder}: stopped after training, before the evaluation")
        lock.check()
        desk.reporter.evaluate(None)
        result = conclude(state, dataset, folder, data_folder, metrics, status, peak, interruption)
    lock.check()
    save_result(folder, result)
    desk.log(f"{result.status} with loss {result.loss}")
    return result


def _open(
    spec: RunSpec, data_folder: Path, folder: Path | None, ranks: Ranks
) -> tuple[TrainingState, Dataset, bool]:
    """The state to go on from, its data, and whether training is over; no folder: rank 0 has it."""
    from model.data.dataset import Dataset

    torch.set_num_threads(spec.execution.threads)
    keep_freed_memory()
    reset_peak_memory(spec.execution.device)
    started = time.perf_counter()
    with ranks.agreed():
        if folder is None:
            check_machine(spec)
        dataset = Dataset.open(data_folder, spec.mixture)
        check_dataset(spec, dataset, data_folder)
    state = begin(spec, dataset, ranks)
    over = state.restore(None) if folder is None else resume(state, folder)
    state.watch.seconds["start"] += time.perf_counter() - started
    return state, dataset, over


def _to_the_end(session: Session, over: bool) -> RunStatus:
    """Train what is left; then the model stands in one piece at rank 0, and ranks part."""
    state, status = session.state, RunStatus.FINISHED
    if not over:
        state.world_size = max(state.world_size, state.ranks.size)
        with state.watch.stage("train"):
            status = _steps(session)
        if status is RunStatus.FINISHED:
            _save(session, over=True)
    state.model = state.whole_model() or state.model
    return status


def _steps(session: Session) -> RunStatus:
    """Train to the last step, or until the loss diverges."""
    spec, state, asked, desk = session.spec, session.state, session.interruption, session.desk
    ranks, every = state.ranks, line_steps(spec)
    points = frozenset(
        evaluation_steps(spec.evaluation.points, spec.schedule.warmup_steps, spec.steps)
    )
    unigram = unigram_loss(torch.from_numpy(session.dataset.log_unigram()))
    shown: float | None = None
    for batch, inputs in training_batches(session.dataset, spec, state.step, ranks):
        train_step(state, batch, inputs)
        if state.step % every == 0 or state.step == spec.steps:
            state.sums.gather(ranks)
            line = desk.line(state) if desk is not None else {}
            shown = line.get("loss") or shown
            if any(ranks.agree(_diverged(state, line, unigram))):
                _log(desk, f"diverged at step {state.step}: {line}")
                return RunStatus.DIVERGED
        if state.step in points:
            with state.watch.stage("evaluate"):
                model = state.whole_model()
                if desk is not None and model is not None:
                    desk.heldout(state, session.dataset, model)
        due = desk is not None and time.monotonic() - session.last_save > session.save_gap
        stop, save = ranks.agree(asked.stop, asked.save or due)
        if stop or save:
            asked.save = False
            _save(session)
        if stop:
            asked.stop = True  # whichever rank was asked
            _log(desk, f"stopped on request at step {state.step}")
            where = "this rank" if desk is None else desk.folder
            raise RunInterrupted(f"{where}: stopped at step {state.step}, as asked")
        if desk is not None:
            desk.reporter.train(state.step, shown)
    return RunStatus.FINISHED


def _log(desk: Desk | None, message: str) -> None:
    if desk is not None:
        desk.log(message)


def line_steps(spec: RunSpec) -> int:
    """Steps between two lines of training loss."""
    return min(STEPS_A_LINE, max(1, spec.steps // LINES, math.ceil(SEQUENCES_A_LINE / spec.batch)))


def _diverged(state: TrainingState, line: dict[str, Any], unigram: float) -> bool:
    """Not finite, or, past warm-up, a nat above a model that knows only token frequencies."""
    loss = line.get("loss_tokens")
    if loss is None:
        return False
    if not (math.isfinite(loss) and math.isfinite(line["grad_norm"])):
        return True
    state.smooth = (
        loss if state.smooth is None else state.smooth + SMOOTHING * (loss - state.smooth)
    )
    return state.step > state.spec.schedule.warmup_steps and state.smooth > unigram + 1


def _save(session: Session, *, over: bool = False) -> None:
    """Write a checkpoint; the next follows so late that saving stays a small share of the time."""
    with session.state.watch.stage("save"):
        started = time.monotonic()
        checkpoint = session.state.checkpoint(over=over)
        if session.desk is not None:
            session.desk.save(checkpoint, keep=1 if over else 2)
        session.last_save = time.monotonic()
        session.save_gap = max(SAVE_SECONDS, (session.last_save - started) / SAVE_SHARE)


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
