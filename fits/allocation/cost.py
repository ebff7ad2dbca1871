"""What one token costs by size: the FLOPs per token that the table's own runs show.

Hoffmann et al. 2022 take 6 n. Attention, unembedding and other ways of counting n put a table off
that by up to two thirds in small models, which moves the optimum (Porian et al. 2024,
arXiv:2406.19146), so the allocation is solved under the cost that was counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fits.observations import FitError, Observations

Array = npt.NDArray[np.float64]

PLAIN = 0.01  # flops within 1 % of 6 n tokens are taken as 6 n tokens
SHORTEST = 0.5  # span of log n that can show how an excess fades


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Training FLOPs per token: scale * n * (1 + excess * n**-fade)."""

    scale: float = 6.0
    excess: float = 0.0
    fade: float = 0.0  # at most 1, so that the cost rises with n
    spread: float = 0.0  # sd of the runs' log FLOPs per token about this

    def __post_init__(self) -> None:
        if not (self.scale > 0 and self.excess >= 0 and 0 <= self.fade <= 1):
            raise ValueError(f"{self}: scale must be above 0, excess at least 0, fade in 0 … 1")

    @property
    def proportional(self) -> bool:
        """Whether the cost is proportional to n, so that the optimum has a closed form."""
        return self.excess == 0 or self.fade == 0

    def log_per_token(self, log_n: Array) -> Array:
        """Log FLOPs per token at each log n, any shape."""
        return np.asarray(np.log(self.scale) + log_n + np.log1p(self._share(log_n)))

    def log_tokens(self, log_n: Array, log_flops: Array) -> Array:
        """Log tokens that the compute buys at each size; the two broadcast."""
        return np.asarray(log_flops - self.log_per_token(log_n))

    def slope(self, log_n: Array) -> Array:
        """d log(FLOPs per token) / d log n, above 0."""
        share = self._share(log_n)
        return np.asarray(1 - self.fade * share / (1 + share))

    def _share(self, log_n: Array) -> Array:
        return np.asarray(self.excess * np.exp(-self.fade * log_n))


def cost_of(obs: Observations) -> Cost:
    """The cost that fits the runs best: 6 n, a constant times n, or an excess over 6 n that fades.

    Raises FitError where n or tokens is unknown.
    """
    if obs.n is None or obs.tokens is None:
        raise FitError("no_sizes", "an allocation needs n_active and tokens for every run")
    log_n = np.log(obs.n)
    off = np.log(obs.flops / (6.0 * obs.n * obs.tokens))
    if np.abs(off).max() < PLAIN:
        return Cost(spread=float(off.std()))
    level = float(np.median(off))
    constant = Cost(scale=6.0 * float(np.exp(level)), spread=float((off - level).std()))
    if off.min() < PLAIN or np.ptp(log_n) < SHORTEST:
        return constant
    slope, start = (float(v) for v in np.polyfit(log_n, np.log(np.expm1(off)), 1))
    if not 0 < -slope <= 1:
        return constant
    found: dict[str, Any] = {"excess": float(np.exp(start)), "fade": -slope}
    rest = off - (Cost(**found).log_per_token(log_n) - np.log(6.0) - log_n)
    fading = Cost(**found, spread=float(rest.std()))
    return fading if fading.spread < constant.spread else constant
