"""What a run finds in its folder: its spec, an earlier checkpoint, the lines it wrote before."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from model.records import canonical, from_json, read_json, write_atomic
from model.training.checkpoint import FOLDER_NAME, latest_checkpoint, set_aside_damaged
from model.training.device import lacks
from model.training.metrics import METRICS_NAME, truncate_metrics
from model.training.spec import RunSpec, model_source_hash, run_id
from model.training.state import TrainingState

if TYPE_CHECKING:
    from model.data.dataset import Dataset

SPEC_NAME, PLACE_NAME, LOG_NAME = "spec.json", "place.json", "log.txt"


def load_spec(run_folder: Path) -> RunSpec:
    """The spec that a run folder was made for."""
    path = run_folder / SPEC_NAME
    return from_json(RunSpec, read_json(path), str(path))


def claim(spec: RunSpec, run_folder: Path, data_folder: Path) -> None:
    """Write the spec, and where its data lies, into the folder.

    Raises ValueError where the folder is another run's, where this machine lacks what the spec's
    execution asks for, or where it was planned with other model code than this.
    """
    check_machine(spec)
    path = run_folder / SPEC_NAME
    if not path.exists():
        write_atomic(path, canonical(spec) + "\n")
    elif run_id(load_spec(run_folder)) != run_id(spec):
        raise ValueError(
            f"{path} is another run's spec, not that of {run_id(spec)}. Choose another run folder"
        )
    write_atomic(
        run_folder / PLACE_NAME, canonical({"data_folder": str(data_folder.resolve())}) + "\n"
    )


def check_machine(spec: RunSpec) -> None:
    """Raise ValueError where this machine, or this code, would train something else.

    Other model code than the spec's would give a result that its id does not name.
    """
    if spec.model_source != model_source_hash():
        raise ValueError(
            f"run {run_id(spec)} was planned with model code {spec.model_source}, and this is "
            f"{model_source_hash()}. Plan the sweep again, or go back to that code"
        )
    lacking = lacks(spec.execution, spec.shape.head_dim)
    if lacking:
        raise ValueError(
            f"{socket.gethostname()} cannot train run {run_id(spec)} as it was planned: {lacking}. "
            "Run it where that is given, or plan again for such a machine"
        )


def data_folder_of(run_folder: Path) -> Path:
    """The data folder that the run was last trained with."""
    return Path(read_json(run_folder / PLACE_NAME)["data_folder"])


def check_dataset(spec: RunSpec, dataset: Dataset, data_folder: Path) -> None:
    """Raise ValueError where the data in the folder is not what the spec was planned with."""
    manifest = dataset.manifest
    found = {
        "data": manifest.hash,
        "tokenizer": manifest.tokenizer,
        "vocab": manifest.vocab,
        "context": manifest.context,
    }
    wanted = {
        "data": spec.data,
        "tokenizer": spec.tokenizer,
        "vocab": spec.shape.vocab,
        "context": spec.shape.context,
    }
    for name, value in wanted.items():
        if found[name] != value:
            raise ValueError(
                f"{data_folder}: {name} is {found[name]}, but run {run_id(spec)} was planned with "
                f"{value}. Build that data again, or plan again with this"
            )
    kinds = {str(manifest.sources[name].kind) for name in spec.mixture}
    for part in spec.loss_weights:
        if part not in kinds:
            raise ValueError(
                f"loss_weights names {part}, but the mixture has only {', '.join(sorted(kinds))}"
            )
    if "vision" in kinds and spec.shape.vision is None:
        raise ValueError("the mixture has images, but shape.vision is None: give it an encoder")


def resume(state: TrainingState, run_folder: Path) -> bool:
    """Bring the state to the newest whole checkpoint; True where training was already over.

    Leftovers of a process that died while writing are removed, and so are the metrics of steps
    that will be trained again. Damaged checkpoints are set aside.
    """
    for leftover in (run_folder / FOLDER_NAME).glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    checkpoint, notes = latest_checkpoint(run_folder)
    set_aside_damaged(run_folder, -1 if checkpoint is None else checkpoint.step)
    state.notes.extend(notes)
    over = state.restore(checkpoint)
    if checkpoint is None and (run_folder / METRICS_NAME).exists():
        state.restarts += 1
    truncate_metrics(run_folder / METRICS_NAME, state.step)
    return over


def log(run_folder: Path, message: str) -> None:
    """Add a line, with the time, to the run's log."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with (run_folder / LOG_NAME).open("a", encoding="utf-8") as file:
        file.write(f"{stamp} {message}\n")
