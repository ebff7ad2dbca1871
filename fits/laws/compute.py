"""Laws in compute alone: for runs of one recipe, tokens tied to parameters."""

from dataclasses import asdict, dataclass

import numpy as np

from fits.laws.checks import require_constants
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
        require_constants(self, at_least_zero=("a", "irreducible"), above_zero=("b",))

    def predict(self, at: Points) -> Vector:
        """Loss at each point's compute."""
        return np.asarray(self.irreducible + self.a * at.flops**-self.b)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPowerLaw:
    """loss = irreducible + a * C**-b * (1 + (C / at)**(1 / width))**(-(b_after - b) * width).

    The exponent of compute is `b` far below the break at `at` FLOPs and `b_after` far above it;
    `width`, in e-folds of compute, says how gradually one becomes the other. Source: Caballero et
    al. 2022, arXiv:2210.14891, eq. 1 with one break; b, b_after - b and width are its c_0, c_1
    and f_1. Both exponents must be positive here, so that the loss falls everywhere.
    """

    irreducible: float
    a: float
    b: float
    b_after: float
    at: float  # FLOPs
    width: float

    def __post_init__(self) -> None:
        require_constants(
            self,
            at_least_zero=("a", "irreducible"),
            above_zero=("b", "b_after", "at", "width"),
        )

    def predict(self, at: Points) -> Vector:
        """Loss at each point's compute."""
        past = np.logaddexp(0.0, np.log(at.flops / self.at) / self.width)
        bent = np.exp(-(self.b_after - self.b) * self.width * past)
        return np.asarray(self.irreducible + self.a * at.flops**-self.b * bent)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)
