"""What goes wrong is named in one line, and nothing already done is lost."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from model.training import checkpoint as checkpoints  # noqa: E402
from model.training import finish, loop  # noqa: E402
from model.training.checkpoint import latest_checkpoint  # noqa: E402
from model.training.interruption import Interruption, RunInterrupted  # noqa: E402
from model.training.load import load_checkpoint_model  # noqa: E402
from model.training.lock import RunLocked, hold_lock  # noqa: E402
from model.training.loop import train  # noqa: E402
from model.training.spec import Execution, RunSpec  # noqa: E402

SpecMaker = Callable[..., RunSpec]
STEPS = 40


def interrupted(spec: RunSpec, data: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave checkpoints of steps 10 and 20 in the folder."""
    asked, real = Interruption(), loop.train_step

    def stepping(state: Any, batch: Any, inputs: Any) -> None:
        real(state, batch, inputs)
        asked.save, asked.stop = state.step == 10, state.step == 20

    monkeypatch.setattr(loop, "train_step", stepping)
    with pytest.raises(RunInterrupted):
        train(spec, data_folder=data, run_folder=run, interruption=asked)
    monkeypatch.undo()


def test_damaged_checkpoints_cost_steps_but_not_the_result(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(steps=STEPS)
    whole = train(spec, data_folder=data_folder, run_folder=tmp_path / "whole")
    for damaged in (1, 2):
        run = tmp_path / f"damaged-{damaged}"
        interrupted(spec, data_folder, run, monkeypatch)
        newest = sorted((run / "checkpoints").iterdir(), reverse=True)
        for folder in newest[:damaged]:
            (folder / "weights.safetensors").write_bytes(b"rubbish")
        result = train(spec, data_folder=data_folder, run_folder=run)
        assert (result.loss, result.losses) == (whole.loss, whole.losses)
        assert "weights.safetensors: damaged" in result.notes[0]
        assert ("started over" in result.notes[-1]) == (damaged == 2)
        assert len(list(run.glob("checkpoints/damaged-*"))) == damaged


def test_full_disk_while_saving(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(steps=STEPS)
    interrupted(spec, data_folder, tmp_path, monkeypatch)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "_write", full)
    with pytest.raises(
        OSError, match=r"^no space left on the disk while writing .*step-0000000040"
    ):
        train(spec, data_folder=data_folder, run_folder=tmp_path)
    monkeypatch.undo()
    kept, notes = latest_checkpoint(tmp_path)
    assert kept is not None and kept.step == 20 and notes == ()
    assert not (tmp_path / "result.json").exists()
    assert train(spec, data_folder=data_folder, run_folder=tmp_path).loss is not None


def test_full_disk_while_writing_the_result(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, real = make_spec(steps=10), os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "result.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"no space left on the disk"):
        train(spec, data_folder=data_folder, run_folder=tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob("*result*"))
    monkeypatch.setattr(loop, "train_step", None)  # only the evaluation is left to do
    assert train(spec, data_folder=data_folder, run_folder=tmp_path).restarts == 1


def test_a_stop_during_the_pass_rates_leaves_no_samples_and_no_result(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = Interruption(), finish.pass_rates

    def signalled(*about: Any) -> Any:
        asked.stop = True
        return real(*about)

    monkeypatch.setattr(finish, "pass_rates", signalled)
    with pytest.raises(RunInterrupted, match="during the pass rates"):
        train(make_spec(steps=10), data_folder=data_folder, run_folder=tmp_path, interruption=asked)
    assert not (tmp_path / "samples.csv").exists() and not (tmp_path / "result.json").exists()
    asked.stop = False
    monkeypatch.undo()
    assert train(make_spec(steps=10), data_folder=data_folder, run_folder=tmp_path).restarts == 1


def test_second_trainer_is_refused(make_spec: SpecMaker, data_folder: Path, tmp_path: Path) -> None:
    with hold_lock(tmp_path), pytest.raises(RunLocked, match=r"being worked on by pid"):
        train(make_spec(), data_folder=data_folder, run_folder=tmp_path)


def test_folder_data_and_code_must_be_the_specs(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    spec = make_spec(steps=10)
    for change, message in (
        ({"model_source": "other"}, r"was planned with model code other"),
        (
            {"execution": Execution(device="cuda", attention="sdpa")},
            r"cannot train run .*no CUDA device is visible",
        ),
        ({"data": "other"}, r"data is [0-9a-f]+, but run [0-9a-f]+ was planned with other"),
        ({"tokenizer": "other"}, r"tokenizer is"),
        ({"loss_weights": {"code": 1.0}}, r"loss_weights names code, but the mixture has only"),
        ({"mixture": {"prose": 0.5, "strips": 0.5}}, r"the mixture has images, but shape\.vision"),
        ({"mixture": {"poems": 1.0}}, r"poems"),
    ):
        changed = dataclasses.replace(spec, **change)
        with pytest.raises(ValueError, match=message):
            train(changed, data_folder=data_folder, run_folder=tmp_path / message[:9])
    train(spec, data_folder=data_folder, run_folder=tmp_path)
    with pytest.raises(ValueError, match=r"holds the result of run"):
        train(make_spec(steps=11), data_folder=data_folder, run_folder=tmp_path)


def test_loaded_model_is_the_trained_one(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path
) -> None:
    result = train(make_spec(steps=10, vision=True), data_folder=data_folder, run_folder=tmp_path)
    loaded = load_checkpoint_model(tmp_path)
    assert loaded.step == 10 and loaded.spec == make_spec(steps=10, vision=True)
    from model.evaluation.heldout import evaluate_heldout

    loss, _ = evaluate_heldout(
        loaded.model,
        loaded.dataset,
        mixture=loaded.spec.mixture,
        loss_weights=loaded.spec.loss_weights,
        execution=loaded.spec.execution,
    )
    assert loss.mean == result.loss
    assert load_checkpoint_model(next((tmp_path / "checkpoints").iterdir())).step == 10
    with pytest.raises(ValueError, match=r"not a run folder or a checkpoint"):
        load_checkpoint_model(tmp_path / "nowhere")
