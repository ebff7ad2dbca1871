"""Draws programs at random, by the frequencies of the lexicon."""

import random
from bisect import bisect
from itertools import accumulate

from model.tasks import behaviour
from model.tasks.chains import Operations, Program, program_of
from model.tasks.lexicon import RARITIES, Operation, Rarity, lexicon
from model.tasks.templates import Type

MEMORY = 200_000  # programs remembered


class Drawing:
    """Draws programs by Zipf's law, each operation among those that accept the type at hand."""

    def __init__(self, rng: random.Random, rarities: tuple[Rarity, ...] = RARITIES) -> None:
        self._rng = rng
        self._programs: dict[Operations, Program | None] = {}
        self._prefixes: dict[Operations, behaviour.Values] = {}
        self._choices: dict[Type | None, tuple[list[Operation], list[float]]] = {}
        allowed = [op for op in lexicon() if op.rarity in rarities]
        kinds: tuple[Type | None, ...] = (None, "int", "list", "str")
        for kind in kinds:
            some = [op for op in allowed if kind is None or op.takes == kind]
            self._choices[kind] = some, list(accumulate(op.frequency for op in some))

    def program(self, depth: int) -> Program:
        """A program of this depth that is not degenerate."""
        while True:
            chain: Operations = (self._operation(None),)
            while len(chain) < depth:
                chain = (*chain, self._operation(chain[-1].gives))
            program = self.known(chain)
            if program is not None:
                return program

    def known(self, operations: Operations) -> Program | None:
        """`program_of`, remembered."""
        if len(self._programs) > MEMORY:
            self._programs.clear()
            self._prefixes.clear()
        if operations not in self._programs:
            self._programs[operations] = program_of(operations, self._prefixes)
        return self._programs[operations]

    def _operation(self, kind: Type | None) -> Operation:
        operations, cumulative = self._choices[kind]
        place = bisect(cumulative, self._rng.random() * cumulative[-1])
        return operations[min(place, len(operations) - 1)]
