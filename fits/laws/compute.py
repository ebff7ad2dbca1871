"""Laws in compute alone: for runs of one recipe, tokens tied to parameters."""

from dataclasses import dataclass

import numpy as np

from fits.observations import Points, Vector


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

    def predict(self, at: Points) -> Vector:
        """Loss at each point's compute."""
        return np.asarray(self.irreducible + self.a * at.flops**-self.b)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return {"a": self.a, "b": self.b, "irreducible": self.irreducible}
