"""The pass rate that needs no understanding: bodies of other problems of the same bucket."""

from collections.abc import Sequence

from model.evaluation.sandbox import GradeItem, grade_batch
from model.tasks.problems import Problem


def swapped_body_floor(problems: Sequence[Problem], others: int = 16) -> dict[str, float]:
    """By bucket, how often the gold body of one of the `others` next problems passes.

    Buckets of a single problem are left out. Raises ValueError if others is below 1.
    """
    if others < 1:
        raise ValueError(f"others={others}: must be at least 1")
    buckets: dict[str, list[Problem]] = {}
    for problem in problems:
        buckets.setdefault(problem.bucket, []).append(problem)
    floors = {}
    for bucket, members in buckets.items():
        items = [
            GradeItem(problem.prompt, members[(i + step) % len(members)].gold, problem.tests)
            for i, problem in enumerate(members)
            for step in range(1, min(others, len(members) - 1) + 1)
        ]
        if items:
            verdicts = grade_batch(items)
            floors[bucket] = sum(verdict.passed for verdict in verdicts) / len(verdicts)
    return floors
