"""The same loop on CUDA: chosen there, trained, stopped, resumed, evaluated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from model.training.device import measure_peak, peak_flops  # noqa: E402
from model.training.execution import choose_execution  # noqa: E402
from model.training.load import load_checkpoint_model  # noqa: E402
from model.training.loop import train  # noqa: E402
from model.training.spec import RunSpec  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("vision", [False, True])
def test_trains_on_cuda(
    vision: bool, make_spec: Callable[..., RunSpec], data_folder: Path, tmp_path: Path
) -> None:
    spec = make_spec(vision=vision)
    execution = choose_execution(1, spec.shape)
    assert execution.device == "cuda"
    spec = make_spec(vision=vision, execution=execution, steps=60)
    cpu = make_spec(vision=vision, steps=60)
    result = train(
        spec,
        data_folder=data_folder,
        run_folder=tmp_path / "cuda",
        peak=peak_flops(execution),
    )
    plain = train(cpu, data_folder=data_folder, run_folder=tmp_path / "cpu")
    assert result.loss == pytest.approx(plain.loss, abs=0.1)  # bfloat16 and another order of sums
    assert load_checkpoint_model(tmp_path / "cuda").step == 60
    assert result.mfu is not None and 0 < result.mfu < 1


def test_measured_peak_is_below_the_cited_one() -> None:
    from model.training.spec import Execution

    execution = Execution(device="cuda", dtype="bfloat16", attention="sdpa")
    assert 0.3 < measure_peak(execution) / peak_flops(execution) < 1.05
