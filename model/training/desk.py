"""What a run writes while it trains: lines of its metrics, its log, its checkpoints.

Of several ranks only the first has a desk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.architecture.accounting import train_flops
from model.evaluation.heldout import evaluate_heldout
from model.training.checkpoint import Checkpoint, save_checkpoint
from model.training.folder import log
from model.training.lock import RunLock
from model.training.metrics import MetricsWriter
from model.training.progress import Reporter
from model.training.schedule import factor

if TYPE_CHECKING:
    from model.architecture.decoder import Decoder
    from model.data.dataset import Dataset
    from model.training.state import TrainingState


@dataclass(frozen=True, slots=True)
class Desk:
    """The run's folder, and the right to write into it."""

    folder: Path
    metrics: MetricsWriter
    reporter: Reporter
    lock: RunLock

    def line(self, state: TrainingState) -> dict[str, Any]:
        """Write one line of training loss and begin the next."""
        spec = state.spec
        self.lock.check(quick=True)
        line = state.sums.line(spec.loss_weights)
        state.sums.reset()
        state.entropy, state.dead = line["router_entropy"], line["dead_experts"]
        rate = spec.optimiser.learning_rate * factor(spec.schedule, state.step - 1, spec.steps)
        seconds = round(state.watch.read("train"), 4)
        about = {"kind": "train", **_position(state), **line}
        self.metrics.append(about | {"learning_rate": rate, "seconds": seconds})
        return line

    def heldout(self, state: TrainingState, dataset: Dataset, model: Decoder) -> None:
        """Write the held-out losses on the evaluation's subset; `model` is the state's, whole."""
        spec = state.spec
        loss, parts = evaluate_heldout(
            model,
            dataset,
            mixture=spec.mixture,
            loss_weights=spec.loss_weights,
            execution=spec.execution,
            subset=spec.evaluation.subset,
        )
        means = {f"loss_{part}": value.mean for part, value in parts.items()}
        about = {"kind": "heldout", **_position(state), "loss": loss.mean, "loss_se": loss.se}
        self.metrics.append(about | means)

    def save(self, checkpoint: Checkpoint, keep: int) -> None:
        """Write a checkpoint, behind all lines up to it."""
        self.lock.check()
        self.metrics.flush(sync=True)
        save_checkpoint(self.folder, checkpoint, keep=keep)

    def log(self, message: str) -> None:
        """Add a line to the run's log."""
        log(self.folder, message)


def _position(state: TrainingState) -> dict[str, Any]:
    sequences = state.step * state.spec.batch
    flops = train_flops(state.spec.shape, sequences=sequences, images=state.images)
    return {"step": state.step, "tokens": sequences * state.spec.shape.context, "flops": flops}
