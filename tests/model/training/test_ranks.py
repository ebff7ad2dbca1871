"""Several processes that train one run: the same batches, nearly the same loss, one end for all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from model.architecture.shape import RouterSpec  # noqa: E402
from model.data.dataset import Dataset  # noqa: E402
from model.records import canonical  # noqa: E402
from model.training import loop  # noqa: E402
from model.training.checkpoint import latest_checkpoint  # noqa: E402
from model.training.inputs import Inputs, training_batches  # noqa: E402
from model.training.interruption import Interruption, RunInterrupted  # noqa: E402
from model.training.metrics import read_metrics  # noqa: E402
from model.training.ranks import Ranks  # noqa: E402
from model.training.result import RunResult, load_result  # noqa: E402
from model.training.spec import Execution, OptimiserSpec, RunSpec  # noqa: E402
from tests.model.training.conftest import CONTEXT  # noqa: E402

SpecMaker = Callable[..., RunSpec]
# Nats per token between one rank and several, in float32, where every token visits every expert:
# rounding alone. Measured: 3e-7. Where tokens choose, one near a tie may choose otherwise, as it
# does when the first weights are moved by their last bit: that moved losses here by up to 6e-3.
ROUNDING, CHOICE = 1e-5, 2e-2
FEW_IMAGES = {"prose": 0.9, "strips": 0.1}  # of five or six sequences: none in some batches


class Group:
    """The workers of one run; the first has been given it."""

    def __init__(self, spec: RunSpec, data_folder: Path, run: Path, size: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        place = ("--size", str(size), "--master", f"127.0.0.1:{port}")
        self.ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "model.training.worker", "--rank", str(rank), *place],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]
        path = run.with_suffix(".spec.json")
        path.write_text(canonical(spec))
        job = {"spec": str(path), "data_folder": str(data_folder), "run_folder": str(run)}
        assert self.ranks[0].stdin is not None
        self.ranks[0].stdin.write(json.dumps(job) + "\n")
        self.ranks[0].stdin.flush()

    def until(self, *events: str) -> dict[str, Any]:
        """The first rank's next message of one of these events; empty where it ended."""
        assert self.ranks[0].stdout is not None
        for line in self.ranks[0].stdout:
            message: dict[str, Any] = json.loads(line)
            if message["event"] in events:
                return message
        return {}

    def ended(self, seconds: float = 20) -> list[int]:
        """The exit status of each rank."""
        limit = time.monotonic() + seconds
        try:
            return [rank.wait(max(0.1, limit - time.monotonic())) for rank in self.ranks]
        finally:
            for rank in self.ranks:
                rank.kill()


def alone(spec: RunSpec, data_folder: Path, run: Path) -> RunResult:
    return loop.train(spec, data_folder=data_folder, run_folder=run)


def trained(run: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] != "start"]


def assert_close(run: Path, expected: Path) -> None:
    """All lines of both metrics are of the same steps, and their numbers differ by rounding."""
    lines, wanted = trained(run), trained(expected)
    assert len(lines) == len(wanted)
    for line, want in zip(lines, wanted, strict=True):
        assert {**line, "seconds": 0}.keys() == {**want, "seconds": 0}.keys()
        for key in ("kind", "step", "tokens", "flops", "dead_experts", "learning_rate"):
            assert line.get(key) == want.get(key)
        for key in {key for key in want if key.startswith("loss")} | {"grad_norm"}:
            if want.get(key) is not None:
                assert line[key] == pytest.approx(want[key], abs=ROUNDING)


def parts(inputs: list[Inputs], name: str) -> Any:
    """The ranks' tensors of that name, one behind the other; patches that are shown, only."""
    shown = [i for i in inputs if name not in ("patches", "image_ids") or i.image_ids is not None]
    found = [getattr(one, name) for one in shown if getattr(one, name) is not None]
    return torch.cat(found) if found else None


@pytest.mark.parametrize("size", [2, 4, 6])
def test_the_shares_of_all_ranks_are_the_batch_in_its_order(
    size: int, make_spec: SpecMaker, data_folder: Path
) -> None:
    spec = make_spec(vision=True, batch=6, steps=9, mixture=FEW_IMAGES)
    dataset = Dataset.open(data_folder, spec.mixture)
    whole = list(training_batches(dataset, spec, 0))
    shares = [list(training_batches(dataset, spec, 0, Ranks(r, size))) for r in range(size)]
    for step, (batch, inputs) in enumerate(whole):
        own = [share[step][1] for share in shares]
        for name in Inputs._fields:
            want, got = getattr(inputs, name), parts(own, name)
            assert (want is None) == (got is None) and (want is None or torch.equal(want, got))
        assert len({one.patches is None for one in own}) == 1  # all encode, or none does
        for share in shares:
            assert np.array_equal(share[step][0].source, batch.source)
    assert {inputs.patches is None for _, inputs in whole} == {False, True}


@pytest.mark.parametrize(("size", "balance"), [(2, "loss"), (4, "bias")])
def test_several_ranks_learn_what_one_learns(
    size: int, balance: Any, make_spec: SpecMaker, data_folder: Path, tmp_path: Path
) -> None:
    router = RouterSpec(window=CONTEXT, balance=balance)
    changes: Any = {"router": router, "mixture": FEW_IMAGES}
    changes["optimiser"] = OptimiserSpec(learning_rate=0.005)
    spec = make_spec(experts=2, vision=True, batch=5, steps=24, **changes)
    group = Group(spec, data_folder, tmp_path / "group", size)
    expected = alone(spec, data_folder, tmp_path / "alone")
    assert group.until("done", "failed")["message"] == "finished"
    assert group.ended() == [0] * size
    assert_close(tmp_path / "group", tmp_path / "alone")
    result = load_result(tmp_path / "group")
    assert result is not None and expected.loss is not None
    assert result.loss == pytest.approx(expected.loss, abs=ROUNDING)
    assert (result.world_size, expected.world_size) == (size, 1)
    for name in ("run_id", "tokens", "images", "flops", "epochs", "steps", "ngrams", "restarts"):
        assert getattr(result, name) == getattr(expected, name)


def test_a_run_goes_from_one_rank_to_two_and_back(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(vision=True, batch=5, steps=60)
    run = tmp_path / "run"
    asked, real = Interruption(), loop.train_step

    def stepping(*arguments: Any) -> None:
        real(*arguments)
        asked.stop = arguments[0].step == 3

    monkeypatch.setattr(loop, "train_step", stepping)
    with pytest.raises(RunInterrupted, match="stopped at step 3"):
        loop.train(spec, data_folder=data_folder, run_folder=run, interruption=asked)
    monkeypatch.setattr(loop, "train_step", real)

    group = Group(spec, data_folder, run, 2)
    assert group.until("progress")["step"] > 3
    group.ranks[1].send_signal(signal.SIGTERM)  # one is asked, both stop
    assert group.until("stopped")["message"].endswith("as asked")
    assert group.ended() == [0, 0]
    checkpoint, notes = latest_checkpoint(run)
    assert checkpoint is not None and notes == () and 3 < checkpoint.step < 60
    assert f"stopped on request at step {checkpoint.step}" in (run / "log.txt").read_text()

    result, expected = alone(spec, data_folder, run), alone(spec, data_folder, tmp_path / "alone")
    assert result.loss == pytest.approx(expected.loss, abs=CHOICE)
    assert result.router_entropy == pytest.approx(expected.router_entropy, abs=CHOICE)
    assert (result.world_size, result.restarts) == (2, 2)


def test_the_death_of_a_rank_ends_the_others_and_leaves_the_run_to_be_tried_again(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    group = Group(make_spec(steps=100_000), data_folder, run, 2)
    assert group.until("progress")
    group.ranks[1].kill()
    assert group.until("failed", "stopped", "done") == {}
    assert group.ended() == [1, -signal.SIGKILL]
    assert not (run / "result.json").exists() and not (run / "heartbeat.json").exists()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_what_another_rank_has_against_the_run_fails_it_by_name(
    make_spec: SpecMaker, data_folder: Path, tmp_path: Path
) -> None:
    spec = make_spec(steps=100_000, execution=Execution(threads=2))
    group = Group(spec, data_folder, tmp_path / "run", 2)
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(group.ranks[1].pid, {core})  # long before it looks
    told = group.until("failed", "progress", "done")
    assert told["event"] == "failed" and "rank 1 on " in told["message"]
    assert "threads = 2" in told["message"]
    assert group.ended() == [0, 1]


def test_what_several_ranks_cannot_train_is_refused(make_spec: SpecMaker) -> None:
    with pytest.raises(ValueError, match=r"batch of 3 sequences cannot be shared by 4 ranks"):
        Ranks(0, 4).check(make_spec(batch=3))
    with pytest.raises(ValueError, match="compile = true is for one process"):
        Ranks(0, 4).check(make_spec(execution=Execution(compile=True)))
    Ranks().check(make_spec(batch=1, execution=Execution(compile=True)))
