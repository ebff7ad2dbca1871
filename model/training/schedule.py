"""The learning rate at each step, as a factor of its peak, and the steps at which to evaluate.

Needs no torch. Cosine is the default of a ladder; WSD (warm-up, stable, decay) serves where one
long run shall be annealed at several lengths.
"""

from __future__ import annotations

import math

from model.training.spec import ScheduleSpec


def factor(schedule: ScheduleSpec, step: int, steps: int) -> float:
    """The learning rate during step `step` (the first is 0) of `steps`, as a share of the peak.

    Warm-up rises linearly and reaches 1 in its last step; what follows falls so that
    `final_fraction` would be reached in step `steps`, the one after the last.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step must lie in [0, {steps - 1}], got {step}")
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if schedule.kind == "cosine":
        done = (step - schedule.warmup_steps) / (steps - schedule.warmup_steps)
        share = (1 + math.cos(math.pi * done)) / 2
    else:
        left = steps - step
        share = 1.0 if left > schedule.decay_steps else left / schedule.decay_steps
    return schedule.final_fraction + (1 - schedule.final_fraction) * share


def is_annealed(schedule: ScheduleSpec) -> bool:
    """Whether the learning rate falls to at most a tenth of its peak as the run ends."""
    falls = schedule.kind == "cosine" or schedule.decay_steps > 0
    return falls and schedule.final_fraction <= 0.1


def evaluation_steps(points: int, warmup: int, steps: int) -> tuple[int, ...]:
    """Up to `points` log-spaced counts of finished steps, after warm-up and before the end."""
    first = max(warmup, steps // 64, 1)
    if points < 1 or first >= steps:
        return ()
    ratio = steps / first
    chosen = {round(first * ratio ** (at / points)) for at in range(points)}
    return tuple(sorted(step for step in chosen if 0 < step < steps))
