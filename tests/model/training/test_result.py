"""A result is whole or refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from model.training.result import (
    NgramLosses,
    PartLoss,
    RunResult,
    RunStatus,
    StageSeconds,
    load_result,
    save_result,
)

RESULT = RunResult(
    run_id="abc",
    status=RunStatus.FINISHED,
    loss=3.5,
    loss_se=0.01,
    losses={"text": PartLoss(mean=3.5, se=0.01)},
    bits_per_byte={"text": 2.0},
    ngrams={"text": NgramLosses(bigram=4.2, trigram=3.9)},
    tokens=1000,
    sequences=10,
    images=0,
    flops=1e9,
    flops_6nd=9e8,
    epochs={"prose": 0.5},
    steps=5,
    seconds=StageSeconds(start=0.1, train=1.0, evaluate=0.2, save=0.01),
    tokens_per_second=1000.0,
    flops_per_second=1e9,
    mfu=None,
    peak_flops_per_second=None,
    peak_memory_bytes=10**8,
    router_entropy=None,
    dead_experts=None,
    device="cpu",
    versions={"torch": "2"},
    restarts=1,
    annealed=True,
    notes=("a note",),
)


def test_save_then_load_is_identity(tmp_path: Path) -> None:
    assert load_result(tmp_path) is None
    save_result(tmp_path, RESULT)
    assert load_result(tmp_path) == RESULT


def test_loss_and_status_agree() -> None:
    with pytest.raises(ValueError, match=r"status diverged with loss 3\.5"):
        dataclasses.replace(RESULT, status=RunStatus.DIVERGED)
    with pytest.raises(ValueError, match="status finished with loss None"):
        dataclasses.replace(RESULT, loss=None)


@pytest.mark.parametrize("damage", ["", "{", '{"schema":1}', "[]"])
def test_a_corrupt_result_says_what_to_do(tmp_path: Path, damage: str) -> None:
    (tmp_path / "result.json").write_text(damage)
    with pytest.raises(ValueError, match=r"result.json.*Delete .*result.json: the run then goes"):
        load_result(tmp_path)
