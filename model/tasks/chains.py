"""Programs: chains of one to four operations, split into training and evaluation by behaviour.

The text is `def f(x):`, a docstring of verbs and one body line for each verb. A behaviour
(outputs on 64 probe inputs) whose hash begins with a multiple of 16 never occurs in training:
it is for evaluation only. Single operations are exempt: an invented verb means nothing until it
is taught, so all of them are taught and none is evaluated.
"""

import functools
from dataclasses import dataclass

from model.tasks import behaviour
from model.tasks.lexicon import RARITIES, Operation, Rarity, lexicon

LONGEST_TEXT = 112  # bytes, so that prompt and body fit a 64-token window
HELDOUT_ONE_IN = 16  # behaviours: so many for each that is for evaluation only

Operations = tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A chain whose behaviour is worth teaching."""

    operations: Operations
    digest: bytes  # of its behaviour

    @property
    def prompt(self) -> str:
        """The text up to the closing quotation marks, never a newline after them."""
        return f'def f(x):\n """{" ".join(op.verb for op in self.operations)}"""'

    @property
    def body(self) -> str:
        """One line for each operation, beginning with the newline that the prompt lacks."""
        lines = [f"\n x={op.expression}" for op in self.operations[:-1]]
        return "".join(lines) + f"\n return {self.operations[-1].expression}"

    @property
    def document_id(self) -> str:
        """Equal for programs of equal behaviour."""
        return self.digest.hex()[:24]

    @property
    def rarity(self) -> Rarity:
        """Class of its rarest operation."""
        return RARITIES[max(RARITIES.index(op.rarity) for op in self.operations)]

    @property
    def heldout(self) -> bool:
        """Whether this behaviour is for evaluation only."""
        return self.digest[0] % HELDOUT_ONE_IN == 0 and self.digest not in single_behaviours()


def program_of(operations: Operations, known: dict[Operations, behaviour.Values]) -> Program | None:
    """The program, or None if it is degenerate: near-constant, near-identical to its input or to
    a shorter prefix, too large in its values or too long in its text.

    `known` remembers outputs of prefixes.
    """
    program = Program(operations, b"")
    if len(program.prompt) + len(program.body) > LONGEST_TEXT:
        return None
    inputs = list(behaviour.probes(operations[0].takes))
    before = [inputs]
    for depth in range(1, len(operations)):
        prefix = operations[:depth]
        if prefix not in known:
            known[prefix] = prefix[-1].run(before[-1])
        before.append(known[prefix])
    outputs = operations[-1].run(before[-1])
    kinds = (operations[0].takes, *(op.gives for op in operations[:-1]))
    if behaviour.too_large(outputs) or behaviour.near_constant(outputs):
        return None
    if len(operations) > 1 and any(
        kind == operations[-1].gives and behaviour.too_equal(outputs, others)
        for kind, others in zip(kinds, before, strict=True)
    ):
        return None
    return Program(operations, behaviour.digest(operations[0].takes, outputs))


@functools.cache
def single_behaviours() -> frozenset[bytes]:
    """Digests of all operations alone, which training always contains."""
    return frozenset(
        behaviour.digest(op.takes, op.run(list(behaviour.probes(op.takes)))) for op in lexicon()
    )
