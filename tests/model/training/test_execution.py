"""Which attention is chosen, with the measuring replaced by given times."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import model.training.execution as execution_file
from model.architecture.attention import generating
from model.architecture.shape import Shape
from model.training.execution import choose_execution
from model.training.spec import Execution

SHAPE = Shape(
    layers=1,
    width=64,
    heads=2,
    kv_heads=1,
    head_dim=32,
    experts=1,
    top_k=1,
    expert_hidden=96,
    vocab=64,
    context=16,
)


@pytest.mark.parametrize(
    ("device", "seconds", "chosen"),
    [
        ("cpu", {"eager": 1.0, "sdpa": 0.95}, "eager"),  # not clearly
        ("cpu", {"eager": 1.0, "sdpa": 0.5}, "sdpa"),
        ("cuda", {"flash": 1.0, "cudnn": 0.95, "sdpa": 1.0, "eager": 0.92}, "flash"),
        ("cuda", {"flash": 1.0, "cudnn": 0.5, "sdpa": 1.0, "eager": 2.0}, "cudnn"),
        ("cuda", {"sdpa": 1.0, "eager": 2.0}, "sdpa"),  # the others do not run there
    ],
)
def test_a_kernel_must_be_clearly_faster_than_the_usual_one(
    device: str, seconds: dict[str, float], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(shape: Shape, execution: Execution) -> float:
        if execution.attention not in seconds:
            raise RuntimeError("no such kernel")
        return seconds[execution.attention]

    monkeypatch.setattr(execution_file, "best_device", lambda: device)
    monkeypatch.setattr(execution_file, "flash_attn_importable", lambda: False)
    monkeypatch.setattr(execution_file, "measure_step", measured)
    dtype = "bfloat16" if device == "cuda" else "float32"
    assert choose_execution(1, SHAPE, device=device, dtype=dtype).attention == chosen


def test_generation_never_plans_anew_at_every_length() -> None:
    assert generating("cudnn") == "flash"
    assert generating("eager") == "eager" and generating("sdpa") == "sdpa"
