"""Training one run, from its spec to its result, across any number of interruptions.

    result = train(spec, data_folder=…, run_folder=…)

A run that already has a result is not trained again. On a CPU, a run that was killed and resumed
ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model.architecture.accounting import train_flops
from model.evaluation.heldout import evaluate_heldout
from model.training.checkpoint import disk_error, save_checkpoint
from model.training.device import keep_freed_memory, reset_peak_memory
from model.training.finish import conclude
from model.training.folder import check_dataset, claim, log, resume
from model.training.inputs import training_batches
from model.training.interruption import Interruption, RunInterrupted
from model.training.lock import RunLock, hold_lock
from model.training.loss import unigram_loss
from model.training.metrics import METRICS_NAME, MetricsWriter
from model.training.progress import Report, Reporter
from model.training.result import RunResult, RunStatus, load_result, save_result
from model.training.schedule import evaluation_steps, factor
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
    folder: Path
    dataset: Dataset
    state: TrainingState
    metrics: MetricsWriter
    reporter: Reporter
    interruption: Interruption
    lock: RunLock
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
                asked = interruption or Interruption()
                return _train(
                    spec, data_folder, run_folder, progress, ledger_head, peak, asked, lock
                )
    except OSError as error:
        raise disk_error(error, run_folder) from error
    if result.run_id != run_id(spec):
        raise ValueError(
            f"{run_folder} holds the result of run {result.run_id}, not of {run_id(spec)}. "
            "Choose another run folder"
        )
    return result


def _train(
    spec: RunSpec,
    data_folder: Path,
    folder: Path,
    progress: Report | None,
    ledger_head: str | None,
    peak: float | None,
    interruption: Interruption,
    lock: RunLock,
) -> RunResult:
    torch.set_num_threads(spec.execution.threads)
    keep_freed_memory()
    reset_peak_memory(spec.execution.device)
    state, dataset, over = _open(spec, data_folder, folder)
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
        log(folder, f"{opening['kind']} at step {state.step} of {spec.steps}")
        for note in state.notes:
            log(folder, note)
        reporter = Reporter(progress, run_id(spec), spec.steps)
        session = Session(
            spec, folder, dataset, state, metrics, reporter, interruption, lock, time.monotonic()
        )
        status = RunStatus.FINISHED
        if not over:
            with state.watch.stage("train"):
                status = _steps(session)
            if status is RunStatus.FINISHED:
                _save(session, over=True)
        interruption.check(f"{folder}: stopped after training, before the evaluation")
        lock.check()
        reporter.evaluate(None)
        result = conclude(state, dataset, folder, data_folder, metrics, status, peak, interruption)
    lock.check()
    save_result(folder, result)
    log(folder, f"{result.status} with loss {result.loss}")
    return result


def _open(spec: RunSpec, data_folder: Path, folder: Path) -> tuple[TrainingState, Dataset, bool]:
    """The state to go on from, its data, and whether training is over."""
    from model.data.dataset import Dataset

    started = time.perf_counter()
    dataset = Dataset.open(data_folder, spec.mixture)
    check_dataset(spec, dataset, data_folder)
    state = begin(spec, dataset)
    over = resume(state, folder)
    state.watch.seconds["start"] += time.perf_counter() - started
    return state, dataset, over


def _steps(session: Session) -> RunStatus:
    """Train to the last step, or until the loss diverges."""
    spec, state, asked = session.spec, session.state, session.interruption
    every = line_steps(spec)
    points = frozenset(
        evaluation_steps(spec.evaluation.points, spec.schedule.warmup_steps, spec.steps)
    )
    unigram = unigram_loss(torch.from_numpy(session.dataset.log_unigram()))
    shown: float | None = None
    for batch, inputs in training_batches(session.dataset, spec, state.step):
        train_step(state, batch, inputs)
        if state.step % every == 0 or state.step == spec.steps:
            line = _line(session)
            shown = line["loss"] if line["loss"] is not None else shown
            if _diverged(state, line, unigram):
                log(session.folder, f"diverged at step {state.step}: {line}")
                return RunStatus.DIVERGED
        if state.step in points:
            _evaluate_point(session)
        if asked.stop or asked.save or time.monotonic() - session.last_save > session.save_gap:
            asked.save = False
            _save(session)
        if asked.stop:
            log(session.folder, f"stopped on request at step {state.step}")
            raise RunInterrupted(f"{session.folder}: stopped at step {state.step}, as asked")
        session.reporter.train(state.step, shown)
    return RunStatus.FINISHED


def line_steps(spec: RunSpec) -> int:
    """Steps between two lines of training loss."""
    return min(STEPS_A_LINE, max(1, spec.steps // LINES, math.ceil(SEQUENCES_A_LINE / spec.batch)))


def _line(session: Session) -> dict[str, Any]:
    """Write one line of training loss and begin the next."""
    spec, state = session.spec, session.state
    session.lock.check(quick=True)
    line = state.sums.line(spec.loss_weights)
    state.sums.reset()
    state.entropy, state.dead = line["router_entropy"], line["dead_experts"]
    rate = spec.optimiser.learning_rate * factor(spec.schedule, state.step - 1, spec.steps)
    session.metrics.append(
        {
            "kind": "train",
            **_position(state),
            **line,
            "learning_rate": rate,
            "seconds": round(state.watch.read("train"), 4),
        }
    )
    return line


def _position(state: TrainingState) -> dict[str, Any]:
    sequences = state.step * state.spec.batch
    flops = train_flops(state.spec.shape, sequences=sequences, images=state.images)
    return {"step": state.step, "tokens": sequences * state.spec.shape.context, "flops": flops}


def _diverged(state: TrainingState, line: dict[str, Any], unigram: float) -> bool:
    """Not finite, or, past warm-up, a nat above a model that knows only token frequencies."""
    loss = line["loss_tokens"]
    if loss is None:
        return False
    if not (math.isfinite(loss) and math.isfinite(line["grad_norm"])):
        return True
    state.smooth = (
        loss if state.smooth is None else state.smooth + SMOOTHING * (loss - state.smooth)
    )
    return state.step > state.spec.schedule.warmup_steps and state.smooth > unigram + 1


def _evaluate_point(session: Session) -> None:
    spec, state = session.spec, session.state
    with state.watch.stage("evaluate"):
        loss, parts = evaluate_heldout(
            state.model,
            session.dataset,
            mixture=spec.mixture,
            loss_weights=spec.loss_weights,
            execution=spec.execution,
            subset=spec.evaluation.subset,
        )
        session.metrics.append(
            {
                "kind": "heldout",
                **_position(state),
                "loss": loss.mean,
                "loss_se": loss.se,
                **{f"loss_{part}": value.mean for part, value in parts.items()},
            }
        )


def _save(session: Session, *, over: bool = False) -> None:
    """Write a checkpoint; the next follows so late that saving stays a small share of the time."""
    with session.state.watch.stage("save"):
        started = time.monotonic()
        session.lock.check()
        session.metrics.flush(sync=True)
        save_checkpoint(session.folder, session.state.checkpoint(over=over), keep=1 if over else 2)
        session.last_save = time.monotonic()
        session.save_gap = max(SAVE_SECONDS, (session.last_save - started) / SAVE_SHARE)


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
