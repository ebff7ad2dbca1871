"""A copy of the code that a submission runs, so that later edits of the checkout change no job."""

from __future__ import annotations

import shutil
from pathlib import Path

from model.training.spec import model_source_hash

ROOMS = ("fits", "model", "reports", "sweeps", "workbench")
ROOT = Path(__file__).resolve().parents[2]


def snapshot(target: Path) -> str:
    """Copy the packages into `target`; returns the hash of the model code among them."""
    for room in ROOMS:
        shutil.copytree(
            ROOT / room,
            target / room,
            ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"),
        )
    return model_source_hash()
