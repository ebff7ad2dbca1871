"""Checkpoints: tensors as safetensors, counters as JSON, no pickle; whole or not there at all.

A checkpoint is a folder `checkpoints/step-0000001200` holding `weights.safetensors`,
`training.safetensors` (optimiser moments and running sums; absent once a run is over) and
`state.json` with the SHA-256 of both. It is written under a temporary name, synced and renamed.
Reading takes the newest that is whole; damaged ones are passed over, with a note, and whoever goes
on from there sets them aside as `damaged-step-…`. A read that the system refuses is no damage.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from model.records import canonical, content_hash, read_json, sync_folder

FOLDER_NAME = "checkpoints"
WEIGHTS, TRAINING, STATE = "weights.safetensors", "training.safetensors", "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything a run needs to go on as if it had never stopped."""

    step: int  # finished steps
    weights: dict[str, Tensor]
    training: dict[str, Tensor] | None  # None: training is over
    state: dict[str, Any]  # plain JSON


def save_checkpoint(run_folder: Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write the checkpoint, keep it and the newest others, `keep` in all; returns its folder.

    Raises OSError of one line where the disk is full; earlier checkpoints are untouched by that.
    """
    parent = run_folder / FOLDER_NAME
    target = parent / _name(checkpoint.step)
    temporary = parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        _remove(temporary)
        temporary.mkdir(parents=True)
        files = {WEIGHTS: save(_ready(checkpoint.weights))}
        if checkpoint.training is not None:
            files[TRAINING] = save(_ready(checkpoint.training))
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        state = {"schema": 1, "step": checkpoint.step, "files": hashes, "state": checkpoint.state}
        state["hash"] = content_hash(state)
        files[STATE] = canonical(state).encode()
        for name, content in files.items():
            _write(temporary / name, content)
        _remove(target)
        os.replace(temporary, target)
        sync_folder(parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            _remove(temporary)
        raise disk_error(error, target) from error
    others = [folder for folder in _folders(parent) if folder != target]
    for old in others[keep - 1 :]:
        _remove(old)
    return target


def latest_checkpoint(run_folder: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest whole checkpoint, or None, and a note for each damaged one passed over.

    OSError is passed on: what cannot be read for a moment may be whole.
    """
    notes: list[str] = []
    for folder in _folders(run_folder / FOLDER_NAME):
        try:
            return read_checkpoint(folder), tuple(notes)
        except ValueError as error:
            notes.append(str(error))
    if notes:
        notes.append("no whole checkpoint was left: training started over")
    return None, tuple(notes)


def set_aside_damaged(run_folder: Path, step: int) -> None:
    """Rename the checkpoints above `step`, that of the newest whole one: they count no more."""
    for folder in _folders(run_folder / FOLDER_NAME):
        if folder.name > _name(step):
            aside = folder.with_name(f"damaged-{folder.name}")
            _remove(aside)  # an earlier one of that step
            os.replace(folder, aside)


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`; ValueError naming the file where it is damaged or missing."""
    try:
        state = read_json(folder / STATE)
        stated = state.pop("hash")
        if stated != content_hash(state):
            raise ValueError(f"{folder / STATE}: does not match its own hash")
        tensors = {name: _read(folder / name, digest) for name, digest in state["files"].items()}
        return Checkpoint(
            step=state["step"],
            weights=tensors[WEIGHTS],
            training=tensors.get(TRAINING),
            state=state["state"],
        )
    except (FileNotFoundError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder}: damaged checkpoint ({error})") from None


def disk_error(error: OSError, path: Path) -> OSError:
    """`error`, in one line of what, where and what to do, where it means a full disk."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return OSError(
        f"no space left on the disk while writing {path}. Free some space and run again: "
        "the run goes on from its last checkpoint"
    )


def _name(step: int) -> str:
    return f"step-{step:010d}"


def _folders(parent: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted(parent.glob("step-*"), reverse=True)


def _ready(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, digest: str) -> dict[str, Tensor]:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path}: damaged (its content does not match its hash)")
    tensors: dict[str, Tensor] = load(content)
    return tensors


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
