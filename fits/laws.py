"""The laws themselves: frozen values that predict a loss in nats per token.

Choose `PowerLaw` when runs differ in compute alone (one recipe, tokens tied to parameters);
`ChinchillaLaw` when parameters and tokens were varied apart.
"""

from dataclasses import dataclass

import numpy as np

from fits.observations import Vector


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """loss = irreducible + a * flops**-b. Source: GPT-4 report, arXiv:2303.08774, section 3.1.

    `a` is the reducible loss at one FLOP, so it carries the unit of compute.
    """

    a: float
    b: float
    irreducible: float = 0.0

    def __post_init__(self) -> None:
        for name, value, lowest in (("a", self.a, 0), ("irreducible", self.irreducible, 0)):
            if not value >= lowest:
                raise ValueError(f"PowerLaw {name} is {value}; it must be at least {lowest}")
        if not self.b > 0:
            raise ValueError(f"PowerLaw b is {self.b}; it must be above 0")

    def predict(self, flops: Vector) -> Vector:
        """Loss at each compute."""
        return np.asarray(self.irreducible + self.a * np.asarray(flops) ** -self.b)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return {"a": self.a, "b": self.b, "irreducible": self.irreducible}


@dataclass(frozen=True, slots=True)
class ChinchillaLaw:
    """loss = irreducible + a / n**alpha + b / tokens**beta.

    Source: Hoffmann et al. 2022, arXiv:2203.15556, eq. 2.
    """

    irreducible: float
    a: float
    b: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        for name in ("irreducible", "a", "b"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"ChinchillaLaw {name} is {getattr(self, name)}; at least 0")
        for name in ("alpha", "beta"):
            if not getattr(self, name) > 0:
                raise ValueError(f"ChinchillaLaw {name} is {getattr(self, name)}; above 0")

    def predict(self, n: Vector, tokens: Vector) -> Vector:
        """Loss for each pair; n and tokens broadcast."""
        by_size = self.a * np.asarray(n) ** -self.alpha
        return np.asarray(self.irreducible + by_size + self.b * np.asarray(tokens) ** -self.beta)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return {
            "irreducible": self.irreducible,
            "a": self.a,
            "b": self.b,
            "alpha": self.alpha,
            "beta": self.beta,
        }
