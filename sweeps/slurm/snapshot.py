"""A copy of the code that a submission runs, so that later edits of the checkout change no job."""

from __future__ import annotations

from pathlib import Path

from model.training.spec import model_source_hash

ROOMS = ("fits", "model", "reports", "sweeps", "workbench")
ROOT = Path(__file__).resolve().parents[2]


def snapshot(target: Path) -> str:
    """Copy the packages into `target`; returns the hash of the model code among them."""
    for source in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*"))):
        parts = source.relative_to(ROOT).parts
        hidden = source.suffix == ".pyc" or any(part.startswith(".") for part in parts)
        if source.is_file() and not hidden:
            copy = target.joinpath(*parts)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    return model_source_hash()
