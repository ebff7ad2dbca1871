"""Laws in parameters and tokens: for runs that varied the two apart."""

from dataclasses import dataclass

import numpy as np

from fits.observations import Points, Vector


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

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n or tokens is unknown."""
        n, tokens = at.sizes()
        by_size, by_data = self.a * n**-self.alpha, self.b * tokens**-self.beta
        return np.asarray(self.irreducible + by_size + by_data)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return {
            "irreducible": self.irreducible,
            "a": self.a,
            "b": self.b,
            "alpha": self.alpha,
            "beta": self.beta,
        }
