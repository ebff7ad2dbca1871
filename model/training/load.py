"""A trained model out of its run folder, for sampling and for looking at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from model.architecture.decoder import Decoder
from model.data.dataset import Dataset
from model.training.checkpoint import FOLDER_NAME, latest_checkpoint, read_checkpoint
from model.training.folder import data_folder_of, load_spec
from model.training.spec import Execution, RunSpec
from model.training.state import build_model


class TrainedModel(NamedTuple):
    """A model in evaluation mode, the data it was trained on, its spec and its finished steps."""

    model: Decoder
    dataset: Dataset
    spec: RunSpec
    step: int


def load_checkpoint_model(path: Path, data_folder: Path | None = None) -> TrainedModel:
    """The model of a run folder (its newest whole checkpoint) or of one checkpoint folder.

    `data_folder` replaces the place where the data lay in training. Raises ValueError, naming the
    path, where there is no whole checkpoint, no spec, or not the data the spec names.
    """
    run_folder = path.parent.parent if path.parent.name == FOLDER_NAME else path
    if not (run_folder / "spec.json").is_file():
        raise ValueError(f"{path}: not a run folder or a checkpoint (no spec.json was found)")
    if run_folder is path:
        checkpoint, notes = latest_checkpoint(path)
        if checkpoint is None:
            why = "; ".join(notes) or "nothing was saved yet"
            raise ValueError(f"{path}: no whole checkpoint ({why})\ntrain the run again")
    else:
        checkpoint = read_checkpoint(path)
    spec = load_spec(run_folder)
    folder = data_folder_of(run_folder) if data_folder is None else data_folder
    dataset = Dataset.open(folder, spec.mixture)
    if dataset.manifest.tokenizer != spec.tokenizer:
        raise ValueError(f"{folder}: its tokenizer is not the one that {path} was trained with")
    model = build_model(_runnable(spec), dataset.manifest.image_token)
    model.load_state_dict(checkpoint.weights)
    model.eval()
    return TrainedModel(model, dataset, spec, checkpoint.step)


def _runnable(spec: RunSpec) -> RunSpec:
    """The spec, on the CPU where it was trained on CUDA and there is none."""
    if spec.execution.device == "cuda" and not torch.cuda.is_available():
        return replace(spec, execution=Execution(threads=spec.execution.threads))
    return spec
