"""The laws by name: which estimator fits each, what it needs, and what it refuses.

| name | law | sees |
|---|---|---|
| power | a C^-b | compute |
| power_floor | E + a C^-b | compute |
| broken | E + a power law with one smooth break | compute |
| chinchilla | E + a/n^alpha + b/D^beta | n_active, tokens |
| tied | the same with alpha = beta | n_active, tokens |
| kaplan | ((n_c/n)^(alpha/beta) + d_c/D)^beta | n_active, tokens |
| coupled | E + ((a/n^alpha)^(1/k) + (b/D^beta)^(1/k))^k | n_active, tokens |
| chinchilla_total | chinchilla in all parameters held | n_total, tokens |
| experts | Clark et al. 2022 | n_active, n_experts, one amount of data |
| sparse | E + a/n_eff^alpha + b/D^beta | n_active, n_total, tokens |
| sparse_fixed_tokens | E + a/n_eff^alpha | n_active, n_total, one amount of data |
| repeated | Muennighoff et al. 2023 | n_active, tokens, unique_tokens |

An estimator is a plain value: whoever wants other starts or another delta builds it directly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fits.estimators.clark import ClarkHuber
from fits.estimators.compute import BrokenHuber, PowerHuber
from fits.estimators.coupled import CoupledHuber, KaplanHuber
from fits.estimators.experts import ChinchillaTotalHuber, SparseHuber, SparseSizeHuber
from fits.estimators.multistart import Recipe
from fits.estimators.repeated import RepeatedDataHuber
from fits.estimators.search import Estimator
from fits.estimators.sizes import ChinchillaHuber, TiedHuber
from fits.observations import Observations


class Fitter(Recipe, Estimator, Protocol):
    """An estimator that also shows its chart: what profiles ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One law by name."""

    name: str
    columns: tuple[str, ...]  # of the run table, beside flops and loss
    runs: int  # fewest runs, with the irreducible loss free
    in_compute: bool  # sees compute alone, so only the best runs of each budget should be given
    has_floor: bool  # whether an irreducible loss can be pinned
    make: Callable[[float | None], Fitter]  # from the pinned floor, None for free

    def check(self, obs: Observations) -> None:
        """Raise FitError by name where these runs cannot identify the law."""
        self.make(None).require(obs)


SIZES, TOTAL, BOTH = ("n_active", "tokens"), ("n_total", "tokens"), ("n_active", "n_total")


def _entry(
    name: str,
    columns: tuple[str, ...],
    runs: int,
    make: Callable[[float | None], Fitter],
    *,
    has_floor: bool = True,
) -> Entry:
    return Entry(
        name=name, columns=columns, runs=runs, in_compute=not columns,
        has_floor=has_floor, make=make,
    )  # fmt: skip


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        _entry("power", (), 2, lambda floor: PowerHuber(floor=0.0), has_floor=False),
        _entry("power_floor", (), 3, lambda floor: PowerHuber(floor=floor)),
        _entry("broken", (), 7, lambda floor: BrokenHuber(floor=floor)),
        _entry("chinchilla", SIZES, 6, lambda floor: ChinchillaHuber(floor=floor)),
        _entry("tied", SIZES, 5, lambda floor: TiedHuber(floor=floor)),
        _entry("kaplan", SIZES, 5, lambda floor: KaplanHuber(), has_floor=False),
        _entry("coupled", SIZES, 8, lambda floor: CoupledHuber(floor=floor)),
        _entry("chinchilla_total", TOTAL, 6, lambda floor: ChinchillaTotalHuber(floor=floor)),
        _entry(
            "experts", ("n_active", "n_experts"), 7, lambda floor: ClarkHuber(), has_floor=False
        ),
        _entry("sparse", (*BOTH, "tokens"), 9, lambda floor: SparseHuber(floor=floor)),
        _entry("sparse_fixed_tokens", BOTH, 7, lambda floor: SparseSizeHuber(floor=floor)),
        _entry(
            "repeated", (*SIZES, "unique_tokens"), 9, lambda floor: RepeatedDataHuber(floor=floor)
        ),
    )
}


def lookup(name: str) -> Entry:
    """The entry of a law; ValueError naming the laws there are."""
    if name not in CATALOGUE:
        raise ValueError(f"law {name!r} is unknown; the laws are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def estimator(name: str, *, floor: float | None = None) -> Fitter:
    """The estimator of a law by name; ValueError where it has no floor to pin."""
    entry = lookup(name)
    if floor is not None and not entry.has_floor:
        raise ValueError(f"law {name} has no irreducible loss; floor must be left out")
    return entry.make(floor)
