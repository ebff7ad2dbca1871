"""Status and tables from hand-made run folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from model.training.result import RunStatus
from sweeps.layout import freeze_execution, run_folder
from sweeps.lock import hold
from sweeps.planned import Plan
from sweeps.status import status
from sweeps.table import collect, curves, samples, write_tables
from sweeps.throughput import CPU

Finish = Callable[..., Path]
COLUMNS = [
    "run_id",
    "sweep",
    "name",
    "role",
    "rung",
    "status",
    "seed",
    "budget",
    "flops",
    "flops_6nd",
    "n_active",
    "n_total",
    "n_embedding",
    "n_unembedding",
    "n_attention",
    "n_experts_total",
    "n_router",
    "n_vision",
    "tokens",
    "tokens_per_param",
    "epochs_digits",
    "epochs_prose",
    "steps",
    "batch",
    "learning_rate",
    "weight_decay",
    "warmup_steps",
    "width",
    "layers",
    "heads",
    "kv_heads",
    "head_dim",
    "n_experts",
    "top_k",
    "expert_hidden",
    "vocab",
    "context",
    "unembedding_share",
    "loss",
    "loss_se",
    "loss_text",
    "loss_text_se",
    "loss_vision",
    "loss_vision_se",
    "bits_per_byte_text",
    "bits_per_byte_vision",
    "bigram_text",
    "bigram_vision",
    "trigram_text",
    "trigram_vision",
    "router_entropy",
    "dead_experts",
    "tokens_per_second",
    "flops_per_second",
    "mfu",
    "peak_memory_bytes",
    "seconds_start",
    "seconds_train",
    "seconds_evaluate",
    "seconds_save",
    "restarts",
    "world_size",
    "annealed",
    "dtype",
    "threads",
    "device",
    "attention",
    "data",
    "model_source",
    "torch",
]


@pytest.fixture
def mixed(folder: Path, resolved: Plan, finish: Finish) -> Iterator[Path]:
    """One run finished, one diverged, one corrupt; the target is running."""
    first, second, third, target = resolved.runs
    finish(folder, first)
    finish(folder, second, status=RunStatus.DIVERGED, loss=None, loss_se=None, losses={})
    (finish(folder, third) / "result.json").write_text('{"schema": 1, "run_')
    home = run_folder(folder, str(target.run_id))
    home.mkdir()
    line = {"kind": "train", "step": 50, "loss": 4.5, "seconds": 25.0, "tokens": 1, "flops": 1}
    (home / "metrics.jsonl").write_text(
        json.dumps({"kind": "resume"}) + "\n" + json.dumps(line) + '\n{"kind": "tr'
    )
    with hold(home, "lock"):
        yield folder


def test_run_table_has_exactly_the_documented_columns(mixed: Path) -> None:
    table = collect(mixed)
    assert list(table.columns) == COLUMNS
    assert list(table["status"]) == ["finished", "diverged", "corrupt", "running"]


def test_missing_measurements_are_empty_and_present_ones_kept(mixed: Path) -> None:
    finished, diverged, corrupt, _ = collect(mixed).to_dict("records")
    assert finished["loss_text"] == 4.0 and finished["bigram_text"] == 4.5
    assert finished["epochs_prose"] == 0.5 and finished["torch"] == "2.13.0"
    for name in ("mfu", "bits_per_byte_vision", "trigram_vision"):
        assert pd.isna(finished[name]), name
    assert collect(mixed)["trigram_vision"].dtype == float
    assert pd.isna(diverged["loss"]) and diverged["flops"] > 0
    for name in ("flops", "loss", "tokens", "seconds_train", "annealed", "epochs_prose"):
        assert pd.isna(corrupt[name]), name
    assert corrupt["n_active"] > 0  # known from the plan


def test_corrupt_result_is_named_with_what_to_do(mixed: Path, resolved: Plan) -> None:
    (problem,) = collect(mixed).attrs["problems"]
    path = run_folder(mixed, str(resolved.runs[2].run_id)) / "result.json"
    assert str(path) in problem and "Delete" in problem


def test_samples_and_curves_keep_counts_and_order(mixed: Path, resolved: Plan) -> None:
    table = samples(mixed)
    assert len(table) == 4  # two problems of each of two ended runs
    first = table.iloc[0]
    assert (first["n_samples"], first["n_passed"], first["kind"]) == (4, 1, "program")
    assert first["flops"] == resolved.runs[0].flops
    assert table["gold_nll"].isna().tolist() == [False, True, False, True]
    lines = curves(mixed)
    own = lines[lines["run_id"] == resolved.runs[0].run_id]
    assert own["kind"].tolist() == ["train", "heldout", "train"]
    assert own["loss"].isna().tolist() == [False, False, True]
    assert lines[lines["role"] == "target"]["step"].tolist() == [50]


def test_tables_are_written_and_read_back(mixed: Path) -> None:
    runs, _, lines = write_tables(mixed)
    assert list(pd.read_csv(mixed / "runs.csv").columns) == COLUMNS
    pd.testing.assert_frame_equal(
        pd.read_parquet(mixed / "runs.parquet"), runs, check_dtype=False, check_names=False
    )
    assert len(pd.read_parquet(mixed / "curves.parquet")) == len(lines)
    assert not list(mixed.glob("*.tmp"))


def test_status_tells_state_step_and_what_is_left(mixed: Path, resolved: Plan) -> None:
    table = status(mixed)
    assert table["state"].tolist() == ["finished", "diverged", "corrupt", "running"]
    target = table.iloc[3]
    assert (target["step"], target["loss"], target["restarts"]) == (50, 4.5, 1)
    assert target["eta_seconds"] == pytest.approx(0.5 * (resolved.target.steps - 50))


def test_status_without_lock_is_interrupted_failed_or_waiting(folder: Path, resolved: Plan) -> None:
    stopped, failed = (run_folder(folder, str(run.run_id)) for run in resolved.runs[:2])
    stopped.mkdir()
    (stopped / "metrics.jsonl").write_text('{"kind": "start"}\n')
    failed.mkdir()
    (failed / "failed.json").write_text('{"message": "out of memory", "log": ""}')
    table = status(folder)
    assert table["state"].tolist() == ["interrupted", "failed", "waiting", "waiting"]
    assert table["message"][1] == "out of memory"
    assert set(collect(folder)["status"]) == {"missing"}
    (stopped / "metrics.jsonl").write_text('{"kind": "start"}\nnonsense\n{"kind": "x"}\n')
    assert "line 2" in status(folder)["message"][0]
    assert "line 2" in curves(folder).attrs["problems"][0]


def test_execution_is_chosen_once(tmp_path: Path) -> None:
    from model.training.spec import Execution

    chosen = freeze_execution(tmp_path, lambda: Execution(attention="sdpa"))
    again = freeze_execution(tmp_path, lambda: Execution(threads=7))
    assert again == chosen == Execution(attention="sdpa")
    target = freeze_execution(tmp_path, lambda: Execution(threads=7), role="target")
    assert target.threads == 7


def test_expected_times_grow_with_steps_and_speed_with_width_and_threads() -> None:
    assert CPU.seconds(1e10, width=32, steps=2000) > CPU.seconds(1e10, width=32, steps=1000)
    assert CPU.at(16) < CPU.at(20) < CPU.at(24) and CPU.at(32, threads=2) > CPU.at(32)
