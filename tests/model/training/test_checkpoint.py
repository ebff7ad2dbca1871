"""A checkpoint is whole, or passed over with a note; the previous one outlives a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from model.training.checkpoint import (  # noqa: E402
    Checkpoint,
    latest_checkpoint,
    save_checkpoint,
    set_aside_damaged,
)


def checkpoint(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    return Checkpoint(
        step=step,
        weights={"w": torch.randn(3, 5, generator=generator), "i": torch.arange(4)},
        training={"exp_avg.w": torch.randn(3, 5, generator=generator).t(), "n": torch.tensor(2.0)},
        state={"rows": [1, 2], "smooth": 0.1 + 0.2, "nothing": None},
    )


def same(one: Checkpoint, other: Checkpoint) -> bool:
    assert one.training is not None and other.training is not None
    pairs = [(one.weights, other.weights), (one.training, other.training)]
    return (one.step, one.state) == (other.step, other.state) and all(
        left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
        for left, right in pairs
    )


def test_save_then_load_is_identity_and_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, checkpoint(step))
    found, notes = latest_checkpoint(tmp_path)
    assert found is not None and same(found, checkpoint(15)) and notes == ()
    kept = sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-0000000010", "step-0000000015"]


@pytest.mark.parametrize("name", ["weights.safetensors", "training.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["missing", "torn", "flipped"])
def test_damage_falls_back_to_the_previous_one(tmp_path: Path, name: str, how: str) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    path = save_checkpoint(tmp_path, checkpoint(2)) / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if how == "torn":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    found, notes = latest_checkpoint(tmp_path)
    assert found is not None and same(found, checkpoint(1))
    assert len(notes) == 1 and "step-0000000002" in notes[0]


def test_what_is_saved_after_damage_stays(tmp_path: Path) -> None:
    for step in (900, 1000):
        (save_checkpoint(tmp_path, checkpoint(step)) / "weights.safetensors").write_bytes(b"torn")
    assert latest_checkpoint(tmp_path)[0] is None
    assert save_checkpoint(tmp_path, checkpoint(100)).exists()  # though two are newer by name
    set_aside_damaged(tmp_path, 100)
    for step in (200, 300):
        save_checkpoint(tmp_path, checkpoint(step))
    found, notes = latest_checkpoint(tmp_path)
    assert found is not None and same(found, checkpoint(300)) and notes == ()
    kept = sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir())
    assert kept == ["damaged-step-0000001000", "step-0000000200", "step-0000000300"]


def test_a_moment_of_io_errors_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(1))

    def refused(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(OSError, match=r"Input/output error: .*step-0000000001"):
        latest_checkpoint(tmp_path)


def test_nothing_whole_starts_over_with_a_note(tmp_path: Path) -> None:
    (save_checkpoint(tmp_path, checkpoint(1)) / "state.json").write_text("")
    found, notes = latest_checkpoint(tmp_path)
    assert found is None and notes[-1].endswith("training started over")
    assert latest_checkpoint(tmp_path / "elsewhere") == (None, ())


def test_full_disk_keeps_the_old_one_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    real, calls = os.fsync, []

    def fills_up(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fills_up)
    with pytest.raises(OSError, match=r"no space left on the disk while writing .*step-0000000002"):
        save_checkpoint(tmp_path, checkpoint(2))
    monkeypatch.undo()
    found, notes = latest_checkpoint(tmp_path)
    assert found is not None and same(found, checkpoint(1)) and notes == ()
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["step-0000000001"]
