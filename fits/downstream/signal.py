"""Whether a task's checkpoints show anything that can be extrapolated."""

from fits.downstream.sigmoid import SigmoidLaw
from fits.downstream.tasks import Checkpoints, Task
from fits.observations import FitError

ABOVE = 0.02  # accuracy must pass chance, and move, by this much
NEAR_CEILING = 0.95  # of the way from chance to 1
MIN_RUNS = 3


def require_signal(seen: Checkpoints, task: Task) -> None:
    """Raise FitError unless accuracy leaves chance, and moves, over the checkpoints.

    Judged on means of the tenth of checkpoints with the most and with the least bits.
    """
    if len(seen.runs) < MIN_RUNS:
        raise FitError(
            "too_few_runs",
            f"checkpoints of {len(seen.runs)} runs; at least {MIN_RUNS} runs are needed",
        )
    tenth = max(seen.bits.size // 10, 1)
    best = float(seen.accuracy[:tenth].mean())
    worst = float(seen.accuracy[-tenth:].mean())
    chance = worst if task.chance is None else task.chance
    if best < chance + ABOVE:
        if task.chance is None and worst > 0.5:
            raise FitError(
                "saturated",
                f"accuracy of {task.name} stays at {worst:.3f} to {best:.3f}; smaller runs are "
                "needed to see it rise",
            )
        raise FitError(
            "never_above_chance",
            f"accuracy of {task.name} reaches {best:.3f} where chance is {chance:.3f}; larger runs "
            "are needed before it can be extrapolated",
        )
    near = task.chance is not None and worst > chance + NEAR_CEILING * (1 - chance)
    if near or best - worst < ABOVE:
        raise FitError(
            "saturated",
            f"accuracy of {task.name} is {worst:.3f} to {best:.3f} in all checkpoints; smaller "
            "runs are needed to see it rise",
        )


def signal_cautions(seen: Checkpoints, task: Task, link: SigmoidLaw) -> list[str]:
    """What the checkpoints leave open: the ceiling they are far from, scores below chance."""
    notes = []
    best = float(link.predict(seen.bits[:1])[0])
    share = (best - link.chance) / max(link.ceiling - link.chance, 1e-9)
    if share < 0.5:
        notes.append(
            f"the best checkpoints are {share:.0%} of the way from chance to the ceiling of "
            f"{link.ceiling:.2f}, which these runs therefore do not show"
        )
    tenth = max(seen.bits.size // 10, 1)
    low = float(seen.accuracy[-tenth:].mean())
    if task.chance is not None and low < task.chance - ABOVE:
        notes.append(
            f"the worst checkpoints score {low:.3f}, below the chance of {task.chance:.3f}: wrong "
            "answers are likelier by length or form; a fitted chance may serve better"
        )
    return notes
