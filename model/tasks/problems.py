"""Evaluation problems by depth and rarity, each with eight tests.

Depth 1 asks for operations that training teaches, as recall; they are the buckets that small models
pass first. From depth 2 on the behaviours are held out: training never shows them.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

from model.tasks import behaviour
from model.tasks.chains import Operations, Program
from model.tasks.drawing import Drawing
from model.tasks.lexicon import RARITIES, Rarity
from model.tasks.templates import Type

DEPTHS = (1, 2, 3, 4)
BUCKETS = tuple(f"d{depth}-{rarity}" for depth in DEPTHS for rarity in RARITIES)
TESTS = 8
PATIENCE = 20_000  # draws without a new problem after which a bucket counts as exhausted
_ATTEMPTS = 20  # sets of test inputs tried before a program counts as untestable
_FIRST_INPUTS: dict[Type, tuple[Any, ...]] = {
    "int": (0, -7, 13),
    "list": ([], [-3, -3, 8], [5]),
    "str": ("", "bb", "a"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt, its gold body and the (input, output) pairs that a right body must give."""

    id: str
    bucket: str  # depth and rarity of the rarest verb: "d3-mid"
    prompt: str  # ends at the closing quotation marks, never at a newline
    gold: str  # begins with a newline
    tests: tuple[tuple[Any, Any], ...]


def problems(n: int, seed: int) -> tuple[Problem, ...]:
    """`n` problems of distinct behaviours, the same for equal arguments.

    Buckets take turns (`BUCKETS`); one that has no more is left out from then on. Different seeds
    may share problems. Raises ValueError if n is below 1 or above what all buckets hold.
    """
    if n < 1:
        raise ValueError(f"n={n}: must be at least 1")
    pools: dict[str, Iterator[Problem]] = {
        f"d{depth}-{rarity}": _pool(depth, rarity, seed) for depth in DEPTHS for rarity in RARITIES
    }
    chosen: dict[str, Problem] = {}
    while pools and len(chosen) < n:
        for bucket in list(pools):
            problem = next((found for found in pools[bucket] if found.id not in chosen), None)
            if problem is None:
                del pools[bucket]
            elif len(chosen) < n:
                chosen[problem.id] = problem
    if len(chosen) < n:
        raise ValueError(f"n={n}: the lexicon holds only {len(chosen)} problems")
    return tuple(chosen.values())


def _pool(depth: int, rarity: Rarity, seed: int) -> Iterator[Problem]:
    """Problems of one bucket until none is found in PATIENCE draws."""
    rng = random.Random(f"problems {seed} {depth} {rarity}")
    drawing = Drawing(rng, RARITIES[: get_args(Rarity).index(rarity) + 1])
    seen: set[bytes] = set()
    idle = 0
    while idle < PATIENCE:
        idle += 1
        program = drawing.program(depth)
        unwanted = program.rarity != rarity or (depth > 1 and not program.heldout)
        if unwanted or program.digest in seen:
            continue
        seen.add(program.digest)
        tests = _tests(program)
        if tests is not None:
            idle = 0
            yield Problem(
                id=program.document_id,
                bucket=f"d{depth}-{rarity}",
                prompt=program.prompt,
                gold=program.body,
                tests=tests,
            )


def _tests(program: Program) -> tuple[tuple[Any, Any], ...] | None:
    """Eight pairs, the empty, negative and repeated ones first, on which the program differs from
    itself without any one line; None if no such inputs are found.
    """
    kind = program.operations[0].takes
    rng = random.Random(program.digest)
    shorter = list(_without_one(program.operations))
    for _ in range(_ATTEMPTS):
        inputs = [*_FIRST_INPUTS[kind], *_random_inputs(kind, rng)]
        outputs = _run(program.operations, inputs)
        different = len(set(map(repr, outputs))) >= 3 and outputs != inputs
        if different and all(_run(chain, inputs) != outputs for chain in shorter):
            return tuple(zip(inputs, outputs, strict=True))
    return None


def _random_inputs(kind: Type, rng: random.Random) -> list[Any]:
    number = range(TESTS - len(_FIRST_INPUTS[kind]))
    if kind == "int":
        return [int(rng.random() * 120) - 40 for _ in number]
    if kind == "list":
        return [behaviour.random_list(rng) for _ in number]
    return [behaviour.random_string(rng) for _ in number]


def _without_one(operations: Operations) -> Iterator[Operations]:
    """The chains that lack one operation and still fit together by type."""
    for index in range(len(operations)):
        chain = operations[:index] + operations[index + 1 :]
        fits = all(a.gives == b.takes for a, b in pairwise(chain))
        if chain and fits and chain[0].takes == operations[0].takes:
            yield chain


def _run(operations: Operations, inputs: behaviour.Values) -> behaviour.Values:
    values = inputs
    for operation in operations:
        values = operation.run(values)
    return values
