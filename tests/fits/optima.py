"""Simulated tables whose compute-optimal size is known, for the tests of allocation."""

import numpy as np
import pandas as pd

E, A, B, ALPHA, BETA = 1.8, 480.0, 2100.0, 0.35, 0.37
EXPONENT = BETA / (ALPHA + BETA)
LEVELS = np.geomspace(1e19, 1e22, 7)


def loss_of(n, tokens):
    """The planted law."""
    return E + A * n**-ALPHA + B * tokens**-BETA


def best_n(flops):
    """Its compute-optimal size where a token costs 6 n."""
    return (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (flops / 6) ** EXPONENT


def isoflop_table(levels=LEVELS, sizes=7, spread=4.0, noise=0.0, seed=0, shift=1.0):
    """Runs at equal compute, sizes around the optimum (times shift) within a factor of spread."""
    rng = np.random.default_rng(seed)
    flops = np.repeat(levels, sizes)
    around = np.tile(np.geomspace(1 / spread, spread, sizes), len(levels))
    n = around * best_n(flops) * shift
    tokens = flops / (6 * n)
    loss = loss_of(n, tokens) * np.exp(noise * rng.standard_normal(n.size))
    return pd.DataFrame({"flops": flops, "n_active": n, "tokens": tokens, "loss": loss})


def curve_table(sizes, checkpoints=60):
    """Checkpoints of one run a size, each trained from 2 to 100 tokens a parameter."""
    n = np.repeat(sizes, checkpoints)
    tokens = n * np.tile(np.geomspace(2, 100, checkpoints), len(sizes))
    return pd.DataFrame({
        "run_id": [f"n{value:.3g}" for value in n], "flops": 6 * n * tokens, "n_active": n,
        "tokens": tokens, "loss": loss_of(n, tokens),
    })  # fmt: skip
