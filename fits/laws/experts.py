"""Laws for sparse models, whose held and active parameters differ.

`ChinchillaTotalLaw` counts every parameter held; it is right only where sparsity is constant.
`ClarkLaw` is for routed models on one amount of data, by expert count. `SparseLaw` joins active
parameters, total parameters and tokens; `SparseSizeLaw` is the same on one amount of data.

The last two measure a sparse model by one number, its effective parameters

    n_eff = n_active * gain**share,   1 / gain = density * (1 - saturation) + saturation

with density = n_active / n_total. share = 0 counts active parameters alone, share = 1 without
saturation counts all; 1 / saturation is the largest gain, however many experts there are.
docs/decisions/0007 says why this and not the longer published forms.
"""

from dataclasses import asdict, dataclass

import numpy as np

from fits.laws.checks import known, require_constants
from fits.observations import Points, Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class ChinchillaTotalLaw:
    """loss = irreducible + a / n_total**alpha + b / tokens**beta.

    Source: Hoffmann et al. 2022, arXiv:2203.15556, eq. 2, with every parameter counted.
    """

    irreducible: float
    a: float
    b: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        require_constants(
            self, at_least_zero=("irreducible", "a", "b"), above_zero=("alpha", "beta")
        )

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n_total or tokens is unknown."""
        n_total, tokens = known(at, "n_total", "tokens")
        by_size, by_data = self.a * n_total**-self.alpha, self.b * tokens**-self.beta
        return np.asarray(self.irreducible + by_size + by_data)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClarkLaw:
    """log loss = a log n + b log e + c log n log e + d, logarithms to base 10.

    n are the active parameters and e the saturated number of experts E:
    1 / e = 1 / (E - 1 + 1 / (1 / e_start - 1 / e_max)) + 1 / e_max, which is e_start for a dense
    model and at most e_max. Source: Clark et al. 2022, arXiv:2202.01169, eq. 1. All runs
    see the same tokens; there is no irreducible loss.
    """

    a: float
    b: float
    c: float
    d: float
    e_start: float
    e_max: float

    def __post_init__(self) -> None:
        if not self.a < 0:
            raise ValueError(f"ClarkLaw a is {self.a}; it must be below 0")
        if not 0 < self.e_start < self.e_max:
            raise ValueError(
                f"ClarkLaw e_start is {self.e_start} and e_max {self.e_max}; "
                "they must be above 0, the second the larger"
            )

    def saturated(self, n_experts: Vector) -> Vector:
        """The expert count that the loss sees."""
        first = 1 / (1 / self.e_start - 1 / self.e_max)
        return np.asarray(1 / (1 / (n_experts - 1 + first) + 1 / self.e_max))

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n or the expert count is unknown."""
        n, n_experts = known(at, "n", "n_experts")
        size, experts = np.log10(n), np.log10(self.saturated(n_experts))
        log_loss = self.a * size + self.b * experts + self.c * size * experts + self.d
        return np.asarray(10**log_loss)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


def effective_parameters(at: Points, share: float, saturation: float) -> Vector:
    """n_eff of the module docstring; ValueError where n_active or n_total is unknown."""
    n, n_total = known(at, "n", "n_total")
    return np.asarray(n * (n / n_total * (1 - saturation) + saturation) ** -share)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseLaw:
    """loss = irreducible + a / n_eff**alpha + b / tokens**beta, n_eff as in the module docstring.

    Sources: Ludziejewski et al. 2025, arXiv:2502.05172 (parameters times a saturated power of the
    experts); Abnar et al. 2025, arXiv:2501.12370 (density instead of expert count).
    """

    irreducible: float
    a: float
    b: float
    alpha: float
    beta: float
    share: float  # of the extra parameters' logarithm that counts
    saturation: float

    def __post_init__(self) -> None:
        require_constants(
            self, at_least_zero=("irreducible", "a", "b"), above_zero=("alpha", "beta")
        )
        _require_fractions(self.share, self.saturation)

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n_active, n_total or tokens is unknown."""
        n_eff = effective_parameters(at, self.share, self.saturation)
        (tokens,) = known(at, "tokens")
        return np.asarray(
            self.irreducible + self.a * n_eff**-self.alpha + self.b * tokens**-self.beta
        )

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseSizeLaw:
    """loss = irreducible + a / n_eff**alpha: `SparseLaw` where every run saw the same tokens.

    What those tokens leave unlearned is part of `irreducible`, so it predicts at those tokens only.
    """

    irreducible: float
    a: float
    alpha: float
    share: float
    saturation: float

    def __post_init__(self) -> None:
        require_constants(self, at_least_zero=("irreducible", "a"), above_zero=("alpha",))
        _require_fractions(self.share, self.saturation)

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n_active or n_total is unknown."""
        n_eff = effective_parameters(at, self.share, self.saturation)
        return np.asarray(self.irreducible + self.a * n_eff**-self.alpha)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


def _require_fractions(share: float, saturation: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must be between 0 and 1")
    if not 0 <= saturation < 1:
        raise ValueError(f"saturation is {saturation}; it must be at least 0 and below 1")
