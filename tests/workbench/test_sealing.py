"""Fit, seal, train, report on runs that follow a known law: the interval, and what it held."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.records import canonical
from model.training.result import NgramLosses, PartLoss, RunResult, RunStatus, save_result
from model.training.result import StageSeconds as Seconds
from sweeps.layout import run_folder
from sweeps.local import Outcome
from sweeps.planned import PlannedRun
from tests.workbench.tiny import NAME, Finished, write_sweep
from workbench import ledger, pipeline
from workbench.pipeline import run_sweep

LADDER = "[2.5e9, 5e9, 1e10, 2e10, 4e10, 9.6e10]"
LAW = {"text": (1.8, 40.0, 0.16), "tasks": (0.9, 60.0, 0.18), "vision": (0.4, 30.0, 0.17)}


def lawful(run: PlannedRun) -> RunResult:
    """A finished run whose every part follows irreducible + a · flops^-b, with a little noise."""
    assert run.run_id is not None
    noise = 1e-3 * math.sin(7.0 * run.seed + run.rung)
    mean = {part: e + a * run.flops**-b + noise for part, (e, a, b) in LAW.items()}
    weights = {"text": 0.6, "tasks": 0.2, "vision": 0.2}
    return RunResult(
        run_id=run.run_id,
        status=RunStatus.FINISHED,
        loss=sum(weights[part] * mean[part] for part in weights),
        loss_se=1e-3,
        losses={part: PartLoss(mean=value, se=1e-3) for part, value in mean.items()},
        bits_per_byte={},
        ngrams={p: NgramLosses(bigram=mean[p] + 1, trigram=mean[p] + 0.5) for p in mean},
        tokens=run.tokens,
        sequences=run.batch * run.steps,
        images=run.images,
        flops=run.flops,
        flops_6nd=6.0 * run.n_active * run.tokens,
        epochs={},
        steps=run.steps,
        seconds=Seconds(start=0.1, train=1.0, evaluate=0.1, save=0.0),
        tokens_per_second=1.0,
        flops_per_second=1.0,
        mfu=None,
        peak_flops_per_second=None,
        peak_memory_bytes=1,
        router_entropy=0.9,
        dead_experts=0,
        device="none",
        versions={"torch": "0"},
        restarts=0,
        annealed=True,
    )


def samples_of(run: PlannedRun) -> str:
    """Counts that rise with compute, the same at every seed."""
    rate = 1 - math.exp(-((run.flops / 4e11) ** 0.5))
    rows = ["problem,bucket,kind,n_samples,n_passed,gold_nll"]
    rows += [f"p{n},d1-head,program,100,{round(100 * rate)},1.0" for n in range(24)]
    return "\n".join(rows) + "\n"


def pretend(planned: Sequence[PlannedRun], *, folder: Path, **job: Any) -> Outcome:
    """Stands in for `train_runs`."""
    for run in planned:
        home = run_folder(folder, str(run.run_id))
        home.mkdir(exist_ok=True)
        if run.role == "target":
            said = ledger.read(folder.parent / "ledger.jsonl").entries
            assert [entry.kind for entry in said] == ["prediction", "prediction", "target_started"]
        start = {"kind": "start", "time": time.time(), "run_id": run.run_id}
        start["ledger_head"] = job["ledger_head"]
        (home / "metrics.jsonl").write_text(canonical(start) + "\n")
        (home / "spec.json").write_text(canonical(run.spec))
        (home / "samples.csv").write_text(samples_of(run))
        save_result(home, lawful(run))
    return Outcome(done=tuple(str(run.run_id) for run in planned), failed={})


@pytest.mark.slow
def test_a_lawful_ladder_predicts_its_target(
    finished: Finished, planned: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = write_sweep(
        planned.sweep.parent,  # beside the text, so that the data set is the one that is built
        ("[1.6e8, 2.4e8, 1.2e9]", LADDER),
        ("seeds = [2, 1, 1]", "seeds = [2]"),
        ("flops = 5e9", "flops = 3e12"),
        ("ratios = [3, 30]", "ratios = [30, 1000]"),
        ("minimum_steps = 60", "minimum_steps = 1000"),
        ("tokens_per_param = 2", "tokens_per_param = 20"),
        name="lawful",
    )
    folder = planned.runs / "lawful"
    (planned.folder).rename(folder)  # with the execution that was frozen
    monkeypatch.setattr(pipeline, "train_runs", pretend)
    lines: list[str] = []
    done = run_sweep(sweep, planned.runs, lines.append)
    report = json.loads(done.files.json.read_text())
    truth = report["loss"]["actual"]
    assert truth == pytest.approx(
        sum(
            w * (LAW[p][0] + LAW[p][1] * report["target"]["flops"] ** -LAW[p][2])
            for p, w in (("text", 0.6), ("tasks", 0.2), ("vision", 0.2))
        ),
        abs=2e-3,
    )
    assert report["loss"].get("refused") is None, lines
    assert report["loss"]["lo"] < truth < report["loss"]["hi"]
    assert report["loss"]["predicted"] == pytest.approx(truth, rel=0.05)
    assert report["compute_ratio"] == pytest.approx(3e12 / 9.6e10, rel=0.03)
    rates = report["pass_rate"]
    assert 0 <= rates["lo"] <= rates["predicted"] <= rates["hi"] <= 1
    assert rates["actual"] == pytest.approx(0.94, abs=0.02)
    assert report["x1000"]["loss"]["refused"] and report["x1000"]["loss"]["predicted"] is None
    assert report["x1000"]["loss"]["actual"] == truth
    assert report["sealed_before_target"] is True and report["seal"]["state"] == "unanchored"
    head = next(line.split()[-1] for line in lines if line.startswith("ledger head"))
    held = pipeline.report_sweep(folder, anchor=head)
    assert json.loads(held.json.read_text())["seal"]["state"] == "held"
    assert any("inside" in sentence for sentence in done.verdict)
    assert NAME not in {entry.family for entry in ledger.read(planned.ledger).entries}
