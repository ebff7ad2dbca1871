"""Training ends the same however often it was interrupted, and says what it did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from model.architecture.accounting import train_flops  # noqa: E402
from model.architecture.shape import RouterSpec  # noqa: E402
from model.records import canonical  # noqa: E402
from model.training import loop  # noqa: E402
from model.training.checkpoint import latest_checkpoint  # noqa: E402
from model.training.interruption import Interruption, RunInterrupted  # noqa: E402
from model.training.loop import train  # noqa: E402
from model.training.metrics import read_metrics  # noqa: E402
from model.training.result import RunResult, RunStatus  # noqa: E402
from model.training.schedule import evaluation_steps  # noqa: E402
from model.training.spec import Execution, OptimiserSpec, RunSpec, run_id  # noqa: E402

SpecMaker = Callable[..., RunSpec]
TIMES = ("seconds", "time")

KILLED = """
import os, signal, sys
from pathlib import Path
from model.records import from_json, read_json
from model.training import loop
from model.training.interruption import Interruption
from model.training.spec import RunSpec

data, run, spec = (Path(argument) for argument in sys.argv[1:])
asked, real = Interruption(), loop.train_step

def step(state, batch, inputs):
    real(state, batch, inputs)
    asked.save = state.step == 13
    if state.step == 22:
        os.kill(os.getpid(), signal.SIGKILL)

loop.train_step = step
spec = from_json(RunSpec, read_json(spec))
loop.train(spec, data_folder=data, run_folder=run, interruption=asked)
"""


def weights(folder: Path) -> dict[str, Any]:
    checkpoint, _ = latest_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint.weights


def lines(folder: Path) -> list[dict[str, Any]]:
    """Metrics without clocks and without the lines that a restart adds."""
    found = read_metrics(folder / "metrics.jsonl")
    return [
        {key: value for key, value in line.items() if key not in TIMES}
        for line in found
        if line["kind"] not in ("start", "resume")
    ]


def assert_same(one: Path, other: Path, first: RunResult, second: RunResult) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert (first.loss, first.losses, first.loss_se) == (second.loss, second.losses, second.loss_se)
    assert (first.router_entropy, first.images) == (second.router_entropy, second.images)
    assert lines(one) == lines(other)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Interruption:
    """A request to stop that comes during the given step, once."""
    asked, real = Interruption(), loop.train_step

    def stepping(state: Any, batch: Any, inputs: Any) -> None:
        real(state, batch, inputs)
        asked.stop = state.step == step

    monkeypatch.setattr(loop, "train_step", stepping)
    return asked


@pytest.mark.parametrize(
    "kind",
    [
        {"experts": 4, "vision": True},
        {"experts": 1},
        {"experts": 4, "router": RouterSpec(balance="bias", window=32)},
    ],
    ids=["moe and vision", "dense", "bias"],
)
def test_resumed_equals_uninterrupted_to_the_bit(
    kind: dict[str, Any],
    make_spec: SpecMaker,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = make_spec(**kind)
    whole = train(spec, data_folder=data_folder, run_folder=tmp_path / "whole")
    for step in (1, 14, 27):
        with pytest.raises(RunInterrupted, match=f"stopped at step {step}"):
            train(
                spec,
                data_folder=data_folder,
                run_folder=tmp_path / "parts",
                interruption=stop_at(step, monkeypatch),
            )
        monkeypatch.undo()
    parts = train(spec, data_folder=data_folder, run_folder=tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts", whole, parts)
    assert (whole.restarts, parts.restarts) == (0, 3)


def test_killed_and_resumed_equals_uninterrupted_to_the_bit(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path
) -> None:
    spec, run = make_spec(), tmp_path / "killed"
    (tmp_path / "spec.json").write_text(canonical(spec))
    arguments = [sys.executable, "-c", KILLED, str(data_folder), str(run)]
    killed = subprocess.run([*arguments, str(tmp_path / "spec.json")], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    checkpoint, _ = latest_checkpoint(run)
    assert checkpoint is not None and checkpoint.step == 13
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind":"train","step":22,"lo')
    resumed = train(spec, data_folder=data_folder, run_folder=run)
    whole = train(spec, data_folder=data_folder, run_folder=tmp_path / "whole")
    assert_same(tmp_path / "whole", run, whole, resumed)


def test_same_seed_same_bits_and_another_seed_others(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path
) -> None:
    results = {
        name: train(
            make_spec(seed=seed, steps=20), data_folder=data_folder, run_folder=tmp_path / name
        )
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    assert_same(tmp_path / "a", tmp_path / "b", results["a"], results["b"])
    assert results["c"].loss != results["a"].loss


def test_a_run_learns_and_its_records_agree(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path
) -> None:
    spec, told = make_spec(vision=True, steps=60), []
    result = train(
        spec,
        data_folder=data_folder,
        run_folder=tmp_path,
        progress=told.append,
        ledger_head="head",
        peak=1e12,
    )
    found = read_metrics(tmp_path / "metrics.jsonl")
    assert (found[0]["kind"], found[0]["ledger_head"]) == ("start", "head")
    assert found[0]["run_id"] == run_id(spec) == result.run_id
    training = [line for line in found if line["kind"] == "train"]
    held = [line for line in found if line["kind"] == "heldout"]
    assert [line["step"] for line in held] == [*evaluation_steps(3, 4, 60), 60]
    assert held[-1]["loss"] == result.loss and held[-1]["final"]
    assert result.loss == pytest.approx(
        0.8 * result.losses["text"].mean + 0.2 * result.losses["vision"].mean
    )
    assert result.losses["text"].mean < training[0]["loss_text"] - 0.5
    assert result.images == 216  # 30 % of 240 sequences hold three images each
    assert result.flops == train_flops(spec.shape, sequences=240, images=216) == held[-1]["flops"]
    assert result.mfu == pytest.approx(result.flops / result.seconds.train / 1e12)
    assert result.epochs["strips"] == pytest.approx(72 / (2000 // 3))
    assert result.ngrams["text"].trigram > 0 and "vision" not in result.ngrams
    assert set(result.bits_per_byte) == {"text"} and result.annealed
    assert told[-1].stage == "evaluate" and told[0].steps == 60


def test_a_finished_run_is_not_trained_again(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(make_spec(), data_folder=data_folder, run_folder=tmp_path)
    monkeypatch.setattr(loop, "train_step", None)
    assert train(make_spec(), data_folder=data_folder, run_folder=tmp_path) == first
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(ValueError, match=r"Delete .*result\.json"):
        train(make_spec(), data_folder=data_folder, run_folder=tmp_path)
    (tmp_path / "result.json").unlink()
    again = train(make_spec(), data_folder=data_folder, run_folder=tmp_path)
    assert (again.loss, again.restarts) == (first.loss, 1)
    finals = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line.get("final")]
    assert len(finals) == 1


def test_divergence_is_a_result(make_spec: SpecMaker, data_folder: Path, tmp_path: Path) -> None:
    spec = make_spec(optimiser=OptimiserSpec(learning_rate=5.0), steps=200)
    result = train(spec, data_folder=data_folder, run_folder=tmp_path)
    assert (result.status, result.loss, result.annealed) == (RunStatus.DIVERGED, None, False)
    assert result.steps < 200 and result.losses == {}
    assert train(spec, data_folder=data_folder, run_folder=tmp_path) == result


def test_not_finite_is_divergence(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.train_step

    def spoiled(state: Any, batch: Any, inputs: Any) -> None:
        real(state, batch, inputs)
        if state.step == 20:
            with torch.no_grad():
                state.model.embedding.fill_(float("nan"))

    monkeypatch.setattr(loop, "train_step", spoiled)
    result = train(make_spec(), data_folder=data_folder, run_folder=tmp_path)
    assert result.status is RunStatus.DIVERGED and 20 < result.steps <= 30


def test_bfloat16_gives_nearly_the_same_loss(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)  # else it refuses
    losses = {}
    for dtype in ("float32", "bfloat16"):
        spec = make_spec(execution=Execution(dtype=dtype), steps=20)
        losses[dtype] = train(spec, data_folder=data_folder, run_folder=tmp_path / dtype).loss
    assert losses["float32"] == pytest.approx(losses["bfloat16"], abs=0.05)
    assert losses["float32"] != losses["bfloat16"]
