"""The law of repeated data: tokens seen again, and parameters beyond what the data deserves."""

from dataclasses import asdict, dataclass

import numpy as np

from fits.laws.checks import known, require_constants
from fits.observations import Points, Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedDataLaw:
    """loss = irreducible + a / n'**alpha + b / d'**beta with effective parameters and tokens.

    d' = U (1 + r_d (1 - exp(-R / r_d))), U the distinct tokens and R = tokens / U - 1 how often
    they were repeated; n' likewise with r_n, from the parameters U_n that are compute-optimal for
    U distinct tokens (or n, if fewer). r_d and r_n are the repetitions after which another is
    worth 1/e of a first one. Source: Muennighoff et al. 2023, arXiv:2305.16264, eqs. 5 and 6;
    there alpha = beta, here they are apart.
    """

    irreducible: float
    a: float
    b: float
    alpha: float
    beta: float
    r_d: float
    r_n: float

    def __post_init__(self) -> None:
        require_constants(
            self,
            at_least_zero=("irreducible",),
            above_zero=("a", "b", "alpha", "beta", "r_d", "r_n"),
        )

    def optimal_parameters(self, unique_tokens: Vector) -> Vector:
        """Parameters that are compute-optimal for one pass over so many tokens."""
        ratio = np.log(self.alpha * self.a / (self.beta * self.b))
        return np.asarray(np.exp((ratio + self.beta * np.log(unique_tokens)) / self.alpha))

    def effective(self, at: Points) -> tuple[Vector, Vector]:
        """n' and d'; ValueError where n, tokens or unique_tokens is unknown."""
        n, tokens, unique = known(at, "n", "tokens", "unique_tokens")
        unique = np.minimum(unique, tokens)
        base = np.minimum(self.optimal_parameters(unique), n)
        return diminishing(n, base, self.r_n), diminishing(tokens, unique, self.r_d)

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n, tokens or unique_tokens is unknown."""
        n, tokens = self.effective(at)
        return np.asarray(self.irreducible + self.a * n**-self.alpha + self.b * tokens**-self.beta)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


def diminishing(amount: Vector, base: Vector, decay: float) -> Vector:
    """What `amount` is worth where all beyond `base` counts less with each repetition of it."""
    return np.asarray(base * (1 - decay * np.expm1(-(amount / base - 1) / decay)))
