"""Simulated ladders for the reports: a planted law, noise by seed, counts, curves, a seal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fits.predictions.prediction import Estimate, Prediction
from reports.inputs import ReportInputs

PARTS = {"text": (3.1, 0.9), "code": (2.4, 0.7), "tasks": (1.1, 0.5), "vision": (1.4, 0.3)}
BUCKETS = [f"d{depth}-{rarity}" for depth in (1, 2, 3) for rarity in ("common", "mid", "rare")]
TARGET = 1.2e13
WEIGHTS = {"text": 0.4, "code": 0.3, "tasks": 0.2, "vision": 0.1}


def law(flops: float | np.ndarray[Any, Any], a: float = 2.6, c: float = 1.2) -> Any:
    """Planted loss: a·(C / 1e10)^-0.11 + c."""
    return a * (np.asarray(flops) / 1e10) ** -0.11 + c


def part_law(part: str, flops: Any) -> Any:
    """The planted law of one part."""
    return law(flops, *PARTS[part])


def solved(bucket: int, flops: Any) -> Any:
    """The planted pass rate of a bucket: a line in −log(rate) against log compute."""
    return np.exp(-(0.5 + 0.55 * bucket) * (np.asarray(flops) / TARGET) ** -0.16)


def estimate(median: Callable[[Any], Any], low: float, high: float, **fields: Any) -> Estimate:
    """An estimate whose band opens from nothing at `high` to 4 % at the target."""
    grid = np.geomspace(low, TARGET, 60)
    opening = 0.002 + 0.03 * np.clip(np.log(grid / high) / np.log(TARGET / high), 0, None)
    rows = tuple(
        {
            "flops": float(flops),
            "median": float(value),
            "lo50": float(value * (1 - wide * 0.4)),
            "hi50": float(value * (1 + wide * 0.4)),
            "lo90": float(value * (1 - wide)),
            "hi90": float(value * (1 + wide)),
        }
        for flops, value, wide in zip(grid, median(grid), opening, strict=True)
    )
    last = {key: value for key, value in rows[-1].items() if key != "flops"}
    given: dict[str, Any] = {
        "weights": {"power_floor": 0.7, "chinchilla": 0.3},
        "constants": {
            "power_floor": {"a": 2.6, "b": 0.11, "irreducible": 1.2},
            "chinchilla": {"irreducible": 1.1, "a": 45.2, "b": 210.0, "alpha": 0.31, "beta": 0.33},
        },
        "band": rows,
        **last,
        **fields,
    }
    return Estimate(**given)


def refusal(name: str, reason: str) -> Estimate:
    """An estimate that was refused."""
    return Estimate(refused=name, reason=reason, naive={})


def ladder(many: int = 20, seed: int = 0) -> pd.DataFrame:
    """Runs of a ladder over seven budgets, some repeated, and the target last."""
    rng = np.random.default_rng(seed)
    budgets = np.geomspace(6e8, TARGET / 31, 7)
    rows = []
    for place in range(many):
        flops = budgets[place % 7] * (1 if many < 30 else float(rng.uniform(0.7, 1.4)))
        rows.append(
            _run(f"r{place % 7}-s{place // 7}", "ladder", place % 7, flops, rng, place // 7)
        )
    rows.append(_run("target", "target", 7, TARGET, rng, 0))
    return pd.DataFrame(rows)


def _run(
    name: str, role: str, rung: int, flops: float, rng: np.random.Generator, seed: int
) -> dict[str, Any]:
    noise = 1 + 0.003 * rng.standard_normal()
    n_active = float(np.sqrt(flops / 6 / 22))
    row = {
        "run_id": f"id-{name}", "sweep": "demo", "name": name,
        "role": role, "rung": rung, "status": "finished", "seed": seed, "flops": flops,
        "n_active": n_active, "n_total": n_active * 2.7, "tokens": flops / 6 / n_active,
        "tokens_per_param": 22.0, "epochs_botocore": flops / TARGET * 0.8,
        "epochs_sympy": flops / TARGET * 1.3, "steps": 1000 + 150 * rung, "batch": 8 + 4 * rung,
        "learning_rate": 0.01 / (1 + rung), "layers": 2, "width": 32 + 16 * rung, "n_experts": 8,
        "unembedding_share": 0.62 / (1 + rung / 3), "loss": float(law(flops)) * noise,
        "loss_se": 0.004, "bits_per_byte_text": 1.9, "bits_per_byte_code": 1.4,
        "router_entropy": 0.98 - 0.01 * rung,
        "dead_experts": 1.0 if rung == 1 else 0.0, "mfu": 0.18, "seconds_start": 1.2,
        "seconds_train": flops / 6e10, "seconds_evaluate": 2.0, "seconds_save": 0.2,
        "restarts": 0, "annealed": True, "dtype": "float32", "threads": 1, "device": "CPU, 2 cores",
        "attention": "eager", "data": "a1b2c3d4e5f60718", "model_source": "ffee00112233",
        "torch": "2.13.0+cpu",
    }  # fmt: skip
    for part in PARTS:
        row[f"loss_{part}"] = float(part_law(part, flops)) * noise
        row[f"bigram_{part}"] = 5.5
    return row


def counts(runs: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """Samples of every run: problems by bucket, and strips beside the blind baseline."""
    rng = np.random.default_rng(seed)
    rows = []
    for run in runs.to_dict("records"):
        shared = {key: run[key] for key in ("run_id", "name", "role", "rung", "seed", "flops")}
        for place, bucket in enumerate(BUCKETS):
            for problem in range(12):
                passed = int(rng.binomial(2, solved(place, run["flops"])))
                rows.append(shared | {"problem": f"{bucket}-{problem}", "bucket": bucket,
                                      "kind": "program", "n_samples": 2, "n_passed": passed,
                                      "gold_nll": 3.0})  # fmt: skip
        for kind, rate in (("strip", 0.9 * solved(0, run["flops"])), ("strip_blind", 0.04)):
            for problem in range(40):
                rows.append(shared | {"problem": f"s{problem}", "bucket": "k2", "kind": kind,
                                      "n_samples": 1, "n_passed": int(rng.binomial(1, rate)),
                                      "gold_nll": 1.0})  # fmt: skip
    return pd.DataFrame(rows)


def loss_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Held-out and training losses of every run on the way."""
    rng = np.random.default_rng(2)
    rows = []
    for run in runs.to_dict("records"):
        done = np.linspace(0.02, 1, 14)
        loss = run["loss"] * (1 + 0.5 * (done**-0.25 - 1)) * (1 + 0.004 * rng.standard_normal(14))
        loss[-1] = run["loss"]
        for share, value in zip(done, loss, strict=True):
            point = {"kind": "heldout", "flops": run["flops"] * share, "loss": value}
            rows.append({key: run[key] for key in ("run_id", "name", "role", "rung")} | point)
    return pd.DataFrame(rows)


def prediction(name: str, ratio: float, runs: pd.DataFrame, **fields: Any) -> Prediction:
    """A prediction of every quantity from runs of at most target / ratio."""
    used = runs[(runs["role"] != "target") & (runs["flops"] <= TARGET / ratio)]
    low, high = float(used["flops"].min()), float(used["flops"].max())
    ids = tuple(used["run_id"])
    naive = {"last_rung": float(law(high)), "last_two_rungs": float(law(TARGET)) * 0.98}
    conventions = {
        "flops": float(law(TARGET)),
        "flops_6nd": float(law(TARGET)) * 1.006,
        "without_unembedding": float(law(TARGET)) * 0.991,
    }
    left = ({"run_id": str(ids[0]), "reason": "800 steps; at least 1,000 are asked"},)
    given: dict[str, Any] = {
        "name": name,
        "ratio_asked": ratio,
        "compute_ratio": TARGET / high,
        "target": {"flops": TARGET, "n_active": 3.0e5, "tokens": 6.6e6, "run_id": "target"},
        "loss": estimate(law, low, high, naive=naive, runs_used=ids[1:], left_out=left,
                         conventions=conventions, cautions=("the floor rests on one rung",)),
        "parts": {
            part: estimate(lambda c, part=part: part_law(part, c), low, high, runs_used=ids[1:])
            for part in PARTS
        },
        "pass_rate": estimate(lambda c: solved(2, c), low, high, naive={"last_rung": 0.08}),
        "buckets": {
            bucket: estimate(lambda c, place=place: solved(place, c), low, high)
            if place < 8
            else refusal("no_passes", "no run on the ladder passed a problem of this bucket")
            for place, bucket in enumerate(BUCKETS)
        },
        "inputs_hash": "0f1e2d3c4b5a6978", "seed": 0,
        **fields,
    }  # fmt: skip
    return Prediction(**given)


def actual_of(runs: pd.DataFrame, samples: pd.DataFrame) -> dict[str, Any]:
    """What the target run came out with."""
    run = runs[runs["role"] == "target"].iloc[0]
    mine = samples[(samples["role"] == "target") & (samples["kind"] == "program")]
    rate = mine.groupby("bucket")["n_passed"].sum() / mine.groupby("bucket")["n_samples"].sum()
    found = {f"loss_{part}": float(run[f"loss_{part}"]) for part in PARTS}
    return found | {
        "loss": float(run["loss"]), "loss_se": 0.004, "flops": TARGET, "run_id": run["run_id"],
        "pass_rate": float(rate.mean()), "pass_rate_buckets": dict(rate),
    }  # fmt: skip


def seal(state: str = "unanchored", **fields: Any) -> dict[str, Any]:
    """A seal made 42 seconds before the target started."""
    return {
        "state": state, "sealed_before_target": True, "head": "9f8e7d6c5b4a39281706",
        "sealed_at": "2026-11-22T15:03:11+00:00", "target_started_at": "2026-11-22T15:03:53+00:00",
        "problems": [], "prior_targets_seen": 0, **fields,
    }  # fmt: skip


MANIFEST = {
    "hash": "a1b2c3d4e5f60718", "tokenizer": "77665544", "vocab": 1024, "context": 64,
    "sources": {
        name: {"kind": kind, "origin": name, "version": version, "licence": "Apache-2.0",
               "documents_train": 812, "documents_heldout": 40, "tokens_train": 5_300_000,
               "windows_heldout": 320, "overlap": overlap, "bytes_per_token": 3.12,
               "windows_train": 82000, "images_per_window": 0, "sha256": "00"}
        for name, kind, version, overlap in (
            ("botocore", "text", "1.44.5", 0.008), ("sympy", "code", "1.14.0", 0.0131),
            ("programs", "tasks", "1", 0.0), ("digits", "vision", "1.9.1", 0.0))
    },
}  # fmt: skip


def simulate(many: int = 20, **fields: Any) -> ReportInputs:
    """Everything a full demo hands to the report; fields replace what they name."""
    runs = ladder(many)
    samples = counts(runs)
    given: dict[str, Any] = {
        "title": "Demo family: 1.2 × 10¹³ FLOPs from two cores",
        "family": {"recipe": "demo", "cores": 2, "host": "Debian 12", "experts": "8, top-2"},
        "runs": runs,
        "curves": loss_curves(runs),
        "samples": samples,
        "predictions": (prediction("x30", 30, runs), prediction("x1000", 1000, runs)),
        "loss_weights": WEIGHTS,
        "actual": actual_of(runs, samples),
        "seal": seal(),
        "manifest": MANIFEST,
        "wall": {"data": 21.0, "ladder": 402.5, "fit": 11.2, "target": 190.0, "report": 3.1},
        "notes": (),
        **fields,
    }
    return ReportInputs(**given)


def outside(many: int = 12) -> ReportInputs:
    """Only a table of flops and loss, from elsewhere, and no actual."""
    flops = np.geomspace(1e18, 4e20, many)
    runs = pd.DataFrame({"flops": flops, "loss": law(flops / 1e8)})
    grid = np.geomspace(1e18, 1e22, 50)
    rows = tuple(
        {"flops": float(c), "median": float(v), "lo50": v * 0.99, "hi50": v * 1.01,
         "lo90": v * 0.97, "hi90": v * 1.03}
        for c, v in zip(grid, law(grid / 1e8), strict=True)
    )  # fmt: skip
    last = {key: value for key, value in rows[-1].items() if key != "flops"}
    loss = Estimate(**last, band=rows, weights={"power_floor": 1.0})
    item = Prediction(
        name="target", ratio_asked=1, compute_ratio=25.0, target={"flops": 1e22}, loss=loss,
        parts={}, pass_rate=refusal("no_samples", "no samples were given"), buckets={},
        inputs_hash="", seed=0,
    )  # fmt: skip
    return ReportInputs(title="A table from elsewhere", runs=runs, predictions=(item,))


@pytest.fixture(scope="session")
def demo() -> ReportInputs:
    """The full demo, both predictions and the actual."""
    return simulate()


@pytest.fixture(scope="session", name="outside")
def outside_table() -> Callable[..., ReportInputs]:
    """A maker of inputs from an outside table of so many rows."""
    return outside
