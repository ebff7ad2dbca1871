"""Whether a ladder's rungs can carry a law at all: named refusals, and cautions on its bend."""

import numpy as np

from fits.observations import FitError, Observations, Points, budget_means
from fits.uncertainty.bootstrap import SeedNoise

MIN_BUDGETS = 3
MIN_SPAN = 0.45  # decades
REACH = 2.0  # a ladder of s decades is extrapolated by at most 2 s decades,
FARTHEST = 4.0  # and none by more than 10,000x, the farthest published (arXiv:2303.08774)
STEEPENING = 2.0  # a later slope this many times an earlier one is a change of regime
BEND_Z = 2.5  # curvature over its standard error that counts as a bend
ENVELOPE = 0.02  # runs more than 2 % above the best at no more compute are off the frontier


def times(decades: float) -> str:
    """A factor of so many decades, three digits and no exponent: 2.82x, 2,310x."""
    if decades > 9:
        return f"10^{decades:.0f}x"
    factor = float(f"{10**decades:.3g}")
    return f"{factor:,.0f}x" if factor >= 100 else f"{factor:g}x"


def require_ladder(obs: Observations, target_flops: float) -> None:
    """Raise FitError unless budgets and span can carry a law to the target."""
    if obs.flops.size < 3:
        raise FitError("too_few_runs", f"{obs.flops.size} usable runs; at least 3 are needed")
    x, _, _ = budget_means(obs)
    if x.size < MIN_BUDGETS:
        raise FitError(
            "too_few_budgets",
            f"{x.size} different budgets; at least {MIN_BUDGETS} are needed to see a slope change",
        )
    span = float(x[-1] - x[0])
    if span < MIN_SPAN:
        raise FitError(
            "too_little_span",
            f"the runs span {times(span)} in compute; at least {times(MIN_SPAN)} is needed",
        )
    below = float(x[0] - np.log10(target_flops))
    if below > REACH * span:
        raise FitError(
            "extrapolation_too_far",
            f"the target is {times(below)} below the smallest run: in the same unit?",
        )
    ahead = float(np.log10(target_flops) - x[-1])
    reach = min(REACH * span, FARTHEST)
    if ahead > reach:
        raise FitError(
            "extrapolation_too_far",
            f"the target is {times(ahead)} beyond a ladder of {times(span)}; this ladder "
            f"reaches at most {times(reach)}: add smaller or larger rungs",
        )


def scatter(obs: Observations, noise: SeedNoise) -> float:
    """Sd of log loss about a smooth curve: seed noise where it was measured, else at least that.

    Runs of unlike recipes scatter more than seeds; without a pair of seeds the residuals of a
    cubic in log compute tell (with no fewer than two degrees of freedom).
    """
    x, y, _ = budget_means(obs)
    freedom = x.size - 4
    if noise.pairs or freedom < 2:
        return noise.sd
    curve = np.polynomial.Polynomial.fit(x, y, 3)
    return max(noise.sd, float(np.sqrt(((y - curve(x)) ** 2).sum() / freedom)))


def require_sizes_in_reach(obs: Observations, at: Points) -> None:
    """Raise FitError for a target whose n_active or tokens is beyond what the runs can speak of."""
    names = ("n_active", "tokens")
    for name, own, wanted in zip(names, obs.sizes(), at.sizes(), strict=True):
        low, high = np.log10(own.min()), np.log10(own.max())
        reach = max(REACH * (high - low), FARTHEST / 2)
        away = max(float(low - np.log10(wanted.min())), float(np.log10(wanted.max()) - high))
        if away > reach:
            raise FitError(
                "extrapolation_too_far",
                f"the target's {name} is {times(away)} beyond the runs': in the same unit?",
            )


def require_falling(obs: Observations, noise: SeedNoise) -> None:
    """Raise FitError unless the best loss falls with compute, whatever the sizes."""
    middle = (obs.x.min() + obs.x.max()) / 2
    small, large = obs.y[obs.x <= middle].min(), obs.y[obs.x > middle].min()
    if small - large <= 2 * noise.sd:
        raise FitError("not_decreasing", "the best loss does not fall with compute")


def require_one_regime(obs: Observations, noise: SeedNoise) -> None:
    """Raise FitError if the loss does not fall, or its slope more than doubles on the way up.

    A floor makes slopes fall; only learning something new makes them rise. Both tests allow two
    standard errors of `scatter`.
    """
    x, y, counts = budget_means(obs)
    sd = scatter(obs, noise)
    fall, error = y[0] - y[-1], sd * np.sqrt(1 / counts[0] + 1 / counts[-1])
    if fall <= 2 * error:
        raise FitError("not_decreasing", "the loss does not fall with compute beyond seed noise")
    step, kept = [0], 0
    for i in range(1, x.size):
        if x[i] - x[kept] >= 0.15:
            step.append(i)
            kept = i
    slopes = -np.diff(y[step]) / np.diff(x[step])
    errors = sd * np.sqrt(1 / counts[step][1:] + 1 / counts[step][:-1]) / np.diff(x[step])
    for late in range(1, slopes.size):
        for early in range(late):
            excess = slopes[late] - STEEPENING * max(slopes[early], 0)
            if excess > 2 * np.hypot(errors[late], STEEPENING * errors[early]):
                raise FitError(
                    "regime_change",
                    f"the log-log slope rises from {slopes[early]:.3f} to {slopes[late]:.3f} per "
                    "decade: the small rungs learn something else; start the ladder higher",
                )


def bend(obs: Observations, noise: SeedNoise) -> str | None:
    """What to say of curvature in log-log that seed noise does not explain; None if nothing."""
    x, y, counts = budget_means(obs)
    if x.size < 3:
        return None
    at = x - x.mean()
    design = np.stack([np.ones_like(at), at, at**2], axis=1) * np.sqrt(counts)[:, None]
    covariance = np.linalg.pinv(design.T @ design)
    quadratic = float((covariance @ design.T @ (y * np.sqrt(counts)))[2])
    z = quadratic / (scatter(obs, noise) * float(np.sqrt(covariance[2, 2])))
    if z < -BEND_Z:
        return "the curve steepens with compute (concave in log-log), which no law here foresees"
    if z > BEND_Z:
        return "the curve flattens with compute (convex in log-log), as with a floor"
    return None


def frontier(obs: Observations) -> Observations:
    """The runs a law in compute should see: the lower envelope where sizes vary at one budget."""
    if obs.n is None:
        return obs
    index = obs.budget
    spread = max(float(np.ptp(np.log(obs.n[index == b]))) for b in range(int(index.max()) + 1))
    if spread < np.log(1.3):
        return obs
    best = np.minimum.accumulate([obs.loss[index == b].min() for b in range(int(index.max()) + 1)])
    return obs.take(np.asarray(obs.loss <= (1 + ENVELOPE) * best[index]))
