"""Simulated ladders with known truth, for the tests of this room."""

from collections.abc import Callable

import numpy as np
import pandas as pd

Truth = Callable[[np.ndarray], np.ndarray]
THREE = np.array([8e10, 2e11, 5e11])
SIX = np.geomspace(1e10, 1e12, 6)
PARTS = {"text": (30.0, 0.10, 1.0), "code": (40.0, 0.12, 0.8), "tasks": (60.0, 0.14, 0.5)}


def ladder(
    truth: Truth,
    budgets: np.ndarray = THREE,
    *,
    seeds: int = 2,
    noise: float = 0.003,
    seed: int = 0,
) -> pd.DataFrame:
    """A run table with seed noise in log loss."""
    rng = np.random.default_rng(seed)
    flops = np.repeat(budgets, seeds)
    loss = truth(flops) * np.exp(noise * rng.standard_normal(flops.size))
    return pd.DataFrame(
        {
            "flops": flops,
            "loss": loss,
            "seed": np.tile(np.arange(seeds), budgets.size),
            "run_id": [f"r{i}" for i in range(flops.size)],
        }
    )


def chinchilla_table(seed: int = 0, noise: float = 0.0) -> pd.DataFrame:
    """Runs on a grid of n and tokens under E 1.8, A 480, B 2100, alpha .35, beta .37."""
    rng = np.random.default_rng(seed)
    n, tokens = (
        g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5))
    )
    loss = 1.8 + 480 * n**-0.35 + 2100 * tokens**-0.37
    loss = loss * np.exp(noise * rng.standard_normal(n.size))
    return pd.DataFrame({"flops": 6 * n * tokens, "n_active": n, "tokens": tokens, "loss": loss})


def full_tables(seed: int = 0, noise: float = 0.002) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Run table, samples table and target as a finished sweep has them."""
    rng = np.random.default_rng(seed)
    runs, samples = [], []
    for rung, flops in enumerate(np.geomspace(8e10, 7e11, 4)):
        for copy in range(2):
            row = _run(f"r{rung}s{copy}", float(flops))
            for part, (a, b, floor) in PARTS.items():
                value = (floor + a * flops**-b) * np.exp(noise * rng.standard_normal())
                row |= {f"loss_{part}": value, f"bigram_{part}": 1.2 * value}
                row |= {f"trigram_{part}": 1.05 * value}
            row["loss"] = float(np.mean([row[f"loss_{p}"] for p in PARTS]))
            runs.append(row | {"role": "ladder", "status": "finished", "seed": copy})
            samples += _graded(row["run_id"], float(flops), rng)
    return pd.DataFrame(runs), pd.DataFrame(samples), _run("goal", 2e13)


def _run(name: str, flops: float) -> dict:
    n = float(np.sqrt(flops / 120))
    return {
        "run_id": name, "flops": flops, "flops_6nd": 0.9 * flops, "n_active": n, "n_total": 3 * n,
        "n_unembedding": 0.4 * n, "tokens": 20 * n, "steps": 1500, "layers": 2, "annealed": True,
    }  # fmt: skip


def _graded(name: str, flops: float, rng: np.random.Generator) -> list[dict]:
    rows = []
    for bucket, level in (("d1-top", 1.0), ("d2-mid", 1.6)):
        shift = np.exp(0.05 * rng.standard_normal())
        for problem in range(24):
            hardness = level * shift * np.exp(0.3 * np.sin(7.7 * problem)) * (flops / 1e12) ** -0.3
            rows.append({
                "run_id": name, "flops": flops, "problem": f"{bucket}-{problem}", "bucket": bucket,
                "kind": "program", "n_samples": 16,
                "n_passed": int(rng.binomial(16, np.exp(-hardness))), "gold_nll": 1.1 * hardness,
            })  # fmt: skip
    return rows
