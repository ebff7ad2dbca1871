"""The mixture of laws behind a forecast: how they are weighed, drawn from and described."""

from typing import Protocol

import numpy as np
from scipy import stats

from fits.observations import Matrix, Points, Vector
from fits.uncertainty.bootstrap import SeedNoise
from fits.uncertainty.drift import DriftingPower
from fits.uncertainty.sizes import DriftingSizes
from fits.uncertainty.surface import Surface

WEIGHING_DRAWS = 400
UNSEEN = 0.006  # sd of log loss by which runs of unlike sizes differ in more than their seed


class Member(Protocol):
    """One law of the mixture, with all that is not known of it."""

    def draws(self, at: Points, count: int, rng: np.random.Generator) -> Matrix:
        """(count, points) log loss: fit and form error, no seed noise of the target."""
        ...


def law_weights(members: dict[str, Member], targets: Points, seed: int) -> dict[str, float]:
    """Inverse variance of each member at the farthest target, normalised."""
    far = targets.take(np.array([targets.flops.argmax()]))
    precision = {}
    for name, member in members.items():
        drawn = member.draws(far, WEIGHING_DRAWS, np.random.default_rng([seed, 13]))
        low, high = np.quantile(drawn, [0.16, 0.84])
        precision[name] = 1 / ((high - low) ** 2 + 1e-8)
    total = sum(precision.values())
    return {name: value / total for name, value in precision.items()}


def heaviest(weights: dict[str, float]) -> str:
    """The law of most weight."""
    return max(weights, key=lambda name: weights[name])


def by_law(members: dict[str, Member], weights: dict[str, float]) -> dict[str, float]:
    """Weights with the law in compute divided by whether it has a floor."""
    found: dict[str, float] = {}
    for name, member in members.items():
        if isinstance(member, DriftingPower):
            found["power"] = float(weights[name] * member.share(floor=False))
            found["power_floor"] = float(weights[name] * member.share(floor=True))
        else:
            found[name] = float(weights[name])
    return found


def one_more(member: Member, noise: SeedNoise) -> float:
    """Sd of log loss by which one more run scatters about a law: as the law found the runs to, of
    which seeds are but a part, and by UNSEEN besides where they are of unlike sizes."""
    if isinstance(member, DriftingSizes):
        return float(np.hypot(noise.sd * member.scatter(), UNSEEN))
    return noise.sd * (member.scatter() if isinstance(member, DriftingPower) else 1.0)


def predictive(
    members: dict[str, Member],
    weights: dict[str, float],
    targets: Points,
    grid: Vector,
    noise: SeedNoise,
    rng: np.random.Generator,
    draws: int,
) -> tuple[Matrix, Matrix]:
    """Draws of loss at the targets (their own scatter included) and of the law on the grid.

    Shocks are stratified (every quantile once, in random order), which keeps the quantiles of
    2,000 draws as steady as those of many more. The band shows the law of most weight; one in
    sizes keeps the target's tokens per parameter all the way.
    """
    edges = np.round(np.cumsum([0.0, *weights.values()]) * draws).astype(int)
    counts = dict(zip(weights, np.diff(edges), strict=True))
    at = [m.draws(targets, int(counts[k]), rng) for k, m in members.items() if counts[k]]
    scatter = [np.full(counts[k], one_more(m, noise)) for k, m in members.items()]
    own = stats.norm.ppf((rng.permutation(draws) + 0.5) / draws) * np.concatenate(scatter)
    shown = members[heaviest(weights)]
    on = shown.draws(along(grid, targets), draws, rng)
    return np.exp(np.concatenate(at) + own[:, None]), np.exp(on)


def along(grid: Vector, targets: Points) -> Points:
    """The grid at the first target's tokens per parameter, sparsity and share of fresh tokens."""
    if targets.n is None or targets.tokens is None:
        return Points(flops=grid)
    scale = np.sqrt(grid / targets.flops[0])

    def scaled(value: Vector | None) -> Vector | None:
        return None if value is None else value[0] * scale

    experts = targets.n_experts
    return Points(
        flops=grid, n=scaled(targets.n), tokens=scaled(targets.tokens),
        n_total=scaled(targets.n_total), unique_tokens=scaled(targets.unique_tokens),
        n_experts=None if experts is None else np.full(grid.size, experts[0]),
    )  # fmt: skip


def law_constants(members: dict[str, Member]) -> dict[str, dict[str, float]]:
    """Constants of each law: posterior means, or medians over the refits of a surface."""
    found: dict[str, dict[str, float]] = {}
    for name, member in members.items():
        if isinstance(member, DriftingPower):
            found.update(member.constants())
        elif isinstance(member, DriftingSizes | Surface):
            found[name] = member.constants()
    return found
