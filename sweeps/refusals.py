"""What a plan can say beforehand about what a fit will leave out or refuse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from model.architecture.accounting import unembedding_share
from model.architecture.shape import Shape

FEWEST_STEPS = 1000
SHALLOWEST = 2
TOKENS_FACTOR = 2.0  # tokens per parameter against nominal
UNEMBEDDING_SHARE = 0.5  # of a text sequence's FLOPs
FREE_FLOOR_BUDGETS = 5  # that a law with a free irreducible loss needs
FREE_FLOOR_DECADES = 1.5


def run_warnings(
    shape: Shape,
    *,
    steps: int,
    tokens_per_param: float,
    nominal: float,
    epochs: Mapping[str, float],
    max_epochs: Mapping[str, float],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(why a fit will leave the run out, mere cautions), a sentence each."""
    refused, cautions = [], []
    if steps < FEWEST_STEPS:
        refused.append(f"{steps} steps, fewer than {FEWEST_STEPS}")
    if shape.layers < SHALLOWEST:
        refused.append(f"{shape.layers} layer, fewer than {SHALLOWEST}")
    if abs(math.log(tokens_per_param / nominal)) > math.log(TOKENS_FACTOR) + 1e-9:
        refused.append(
            f"{tokens_per_param:.3g} tokens per parameter, more than "
            f"{TOKENS_FACTOR:g}x off the nominal {nominal:g}"
        )
    for name, count in epochs.items():
        if count > max_epochs[name]:
            refused.append(f"{count:.2f} epochs of {name}, more than {max_epochs[name]:g}")
    share = unembedding_share(shape)
    if share > UNEMBEDDING_SHARE:
        cautions.append(f"the unembedding takes {share:.0%} of the FLOPs")
    return tuple(refused), tuple(cautions)


def plan_warnings(
    rungs: Sequence[tuple[float, tuple[str, ...]]], *, target: float, ratios: Sequence[float]
) -> tuple[str, ...]:
    """What the ladder as a whole cannot give; `rungs` are (budget, why refused) of nominal runs."""
    warnings = []
    lost = sorted({budget for budget, refused in rungs if refused})
    if lost:
        listed = ", ".join(f"{budget:.3g}" for budget in lost)
        warnings.append(f"a fit will leave out the rungs of {listed} FLOPs")
    usable = sorted({budget for budget, refused in rungs if not refused})
    for ratio in ratios:
        below = [budget for budget in usable if budget <= target / ratio * (1 + 1e-9)]
        if not below:
            warnings.append(
                f"x{ratio:g}: no usable rung at or below {target / ratio:.3g} FLOPs; "
                "the prediction will be a refusal"
            )
            continue
        decades = math.log10(below[-1] / below[0])
        if len(below) < FREE_FLOOR_BUDGETS or decades < FREE_FLOOR_DECADES - 1e-9:
            warnings.append(
                f"x{ratio:g}: {len(below)} usable budgets over {decades:.2f} decades at or below "
                f"{target / ratio:.3g} FLOPs; a fit will refuse a free floor, which needs "
                f"{FREE_FLOOR_BUDGETS} over {FREE_FLOOR_DECADES:g}"
            )
    if usable and usable[-1] > target:
        warnings.append(f"the largest rung, {usable[-1]:.3g} FLOPs, is above the target")
    return tuple(warnings)
