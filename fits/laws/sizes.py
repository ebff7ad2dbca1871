"""Laws in parameters and tokens: for runs that varied the two apart.

`ChinchillaLaw` is the common one. `TiedLaw` has one exponent less, for few runs or over-trained
ones; `KaplanLaw` has no irreducible loss; `CoupledLaw` has one constant more, and contains
Chinchilla at k = 1.
"""

from dataclasses import asdict, dataclass

import numpy as np

from fits.laws.checks import require_constants
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
        require_constants(
            self, at_least_zero=("irreducible", "a", "b"), above_zero=("alpha", "beta")
        )

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n or tokens is unknown."""
        n, tokens = at.sizes()
        by_size, by_data = self.a * n**-self.alpha, self.b * tokens**-self.beta
        return np.asarray(self.irreducible + by_size + by_data)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TiedLaw:
    """loss = irreducible + a / n**alpha + b / tokens**alpha: one exponent for both.

    At constant tokens per parameter it is a power law in compute with exponent alpha / 2, whatever
    that ratio is, so runs trained past the optimum lie on parallel lines. Source: Gadre et al.
    2024, arXiv:2403.08540, section 2, whose eta is alpha / 2.
    """

    irreducible: float
    a: float
    b: float
    alpha: float

    def __post_init__(self) -> None:
        require_constants(self, at_least_zero=("irreducible", "a", "b"), above_zero=("alpha",))

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n or tokens is unknown."""
        n, tokens = at.sizes()
        by_size, by_data = self.a * n**-self.alpha, self.b * tokens**-self.alpha
        return np.asarray(self.irreducible + by_size + by_data)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class KaplanLaw:
    """loss = ((n_c / n)**(alpha / beta) + d_c / tokens)**beta.

    alpha and beta are the exponents of parameters and of tokens where only that one is short.
    Source: Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5. It falls to 0: it has no irreducible
    loss.
    """

    n_c: float
    d_c: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        require_constants(self, above_zero=("n_c", "d_c", "alpha", "beta"))

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n or tokens is unknown."""
        n, tokens = at.sizes()
        by_size = self.alpha / self.beta * np.log(self.n_c / n)
        return np.asarray(np.exp(self.beta * np.logaddexp(by_size, np.log(self.d_c / tokens))))

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoupledLaw:
    """loss = irreducible + ((a / n**alpha)**(1/k) + (b / tokens**beta)**(1/k))**k.

    The form E + A (n**-p + R tokens**-q)**k, with A = a, p = alpha / k, q = beta / k and
    R = (b / a)**(1/k): written so that alpha and beta are the exponents where one of the two is
    short, whatever k is. k = 1 is Chinchilla; a smaller k lets the scarcer of the two rule.
    Source: the supervised law of Busbridge et al. 2025, arXiv:2502.08606, whose gamma is k.
    """

    irreducible: float
    a: float
    b: float
    alpha: float
    beta: float
    k: float

    def __post_init__(self) -> None:
        require_constants(
            self, at_least_zero=("irreducible",), above_zero=("a", "b", "alpha", "beta", "k")
        )

    def predict(self, at: Points) -> Vector:
        """Loss at each point; ValueError where n or tokens is unknown."""
        n, tokens = at.sizes()
        by_size = np.log(self.a) - self.alpha * np.log(n)
        by_data = np.log(self.b) - self.beta * np.log(tokens)
        rest = np.exp(self.k * np.logaddexp(by_size / self.k, by_data / self.k))
        return np.asarray(self.irreducible + rest)

    def constants(self) -> dict[str, float]:
        """The constants by name, as a fit's JSON holds them."""
        return asdict(self)
