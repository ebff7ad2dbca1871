"""One planted law of every name in the catalogue, and tables that can identify it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fits.laws.compute import BrokenPowerLaw, PowerLaw
from fits.laws.experts import ChinchillaTotalLaw, ClarkLaw, SparseLaw, SparseSizeLaw
from fits.laws.repeated import RepeatedDataLaw
from fits.laws.sizes import ChinchillaLaw, CoupledLaw, KaplanLaw, TiedLaw
from fits.observations import points


@dataclass(frozen=True)
class Planted:
    """A law, the runs that it is planted in, and a point far beyond them."""

    law: Any
    runs: pd.DataFrame
    far: pd.DataFrame

    def table(self, *, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
        """The run table, with seed noise in log loss."""
        rng = np.random.default_rng(seed)
        shock = np.exp(noise * rng.standard_normal(len(self.runs)))
        return self.runs.assign(loss=self.law.predict(points(self.runs)) * shock)


def compute(budgets: int, low: float = 1e16, high: float = 1e21) -> pd.DataFrame:
    return pd.DataFrame({"flops": np.geomspace(low, high, budgets)})


def grid(*, experts: tuple[int, ...] = (1,), tokens: tuple[float, ...] = ()) -> pd.DataFrame:
    """Sizes × tokens × experts; an expert adds 0.4 of a dense model's parameters."""
    seen = tokens or tuple(np.geomspace(1e9, 1e11, 5))
    axes = np.meshgrid(np.geomspace(1e7, 1e9, 5), seen, np.array(experts, dtype=float))
    n, d, e = (axis.ravel() for axis in axes)
    total = n * (1 + 0.4 * (e - 1))
    return pd.DataFrame(
        {"n_active": n, "tokens": d, "n_experts": e, "n_total": total, "flops": 6 * n * d}
    )


def repeats() -> pd.DataFrame:
    """Sizes × distinct tokens × epochs."""
    sizes, unique, epochs = (
        np.geomspace(1e7, 3e9, 5), np.geomspace(1e8, 1e10, 3), np.array([1.0, 3, 10, 40, 150]),
    )  # fmt: skip
    n, u, passes = (axis.ravel() for axis in np.meshgrid(sizes, unique, epochs))
    tokens = u * passes
    return pd.DataFrame(
        {"n_active": n, "unique_tokens": u, "tokens": tokens, "flops": 6 * n * tokens}
    )


ROUTED = (1, 2, 4, 8, 32, 128, 512)
FAR_COMPUTE = pd.DataFrame({"flops": [1e22]})
FAR = pd.DataFrame(
    {"n_active": [4e9], "tokens": [4e11], "n_experts": [64.0], "n_total": [1e11],
     "unique_tokens": [5e10], "flops": [6 * 4e9 * 4e11]}
)  # fmt: skip
SIZED = {"irreducible": 1.8, "a": 480.0, "b": 2100.0, "alpha": 0.35, "beta": 0.37}

PLANTED: dict[str, Planted] = {
    "power": Planted(PowerLaw(40.0, 0.06), compute(8), FAR_COMPUTE),
    "power_floor": Planted(PowerLaw(2e3, 0.15, 1.7), compute(10), FAR_COMPUTE),
    "broken": Planted(
        BrokenPowerLaw(irreducible=1.2, a=30.0, b=0.06, b_after=0.16, at=4e18, width=0.6),
        compute(26), FAR_COMPUTE,
    ),
    "chinchilla": Planted(ChinchillaLaw(**SIZED), grid(), FAR),
    "tied": Planted(TiedLaw(irreducible=1.9, a=300.0, b=1500.0, alpha=0.34), grid(), FAR),
    "kaplan": Planted(KaplanLaw(n_c=8.8e13, d_c=5.4e13, alpha=0.076, beta=0.095), grid(), FAR),
    "coupled": Planted(CoupledLaw(**SIZED, k=0.6), grid(), FAR),
    "chinchilla_total": Planted(ChinchillaTotalLaw(**SIZED), grid(experts=(1, 8)), FAR),
    "experts": Planted(
        ClarkLaw(a=-0.082, b=-0.108, c=0.009, d=1.104, e_start=1.847, e_max=314.0),
        grid(experts=ROUTED, tokens=(1.3e11,)), FAR,
    ),
    "sparse": Planted(
        SparseLaw(**SIZED, share=0.45, saturation=0.012),
        grid(experts=(1, 4, 32, 256), tokens=(1e9, 1e10, 1e11)), FAR,
    ),
    "sparse_fixed_tokens": Planted(
        SparseSizeLaw(irreducible=1.5, a=60.0, alpha=0.22, share=0.5, saturation=0.01),
        grid(experts=ROUTED, tokens=(1.3e11,)), FAR,
    ),
    "repeated": Planted(
        RepeatedDataLaw(
            irreducible=1.87, a=521.0, b=1488.0, alpha=0.35, beta=0.36, r_d=15.4, r_n=5.3
        ),
        repeats(), FAR,
    ),
}  # fmt: skip
