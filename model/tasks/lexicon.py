"""The lexicon: 1,024 operations, each named by its own invented verb, most frequent first."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from model.tasks import behaviour
from model.tasks.templates import Template, Type, templates

SIZE = 1024
ZIPF_EXPONENT = 1.0
HEAD = 36  # ranks below this are "head"; with MID, d=2 chains fall into rough thirds
MID = 320

Rarity = Literal["head", "mid", "tail"]
RARITIES: tuple[Rarity, ...] = ("head", "mid", "tail")
TYPES: tuple[Type, ...] = ("list", "int", "str")

_CONSONANTS = "bdfgklmnprstvz"
_REAL_WORDS = (
    "data zero info solo redo sofa soda mono limo logo polo demo memo menu meta beta visa diva "
    "gala lava kilo mini semi taxi guru tutu veto vita mega nova pita puma saga toga tuna zeta "
    "papa mama dodo dado fado judo silo trio dido kudu lulu pupa sari safari tiki tofu zulu"
)


@dataclass(frozen=True, slots=True, eq=False)  # by identity: hashed millions of times
class Operation:
    """One verb with its meaning: an expression of `x`."""

    rank: int  # 0: the most frequent
    verb: str
    takes: Type
    gives: Type
    expression: str
    run: Callable[[Any], behaviour.Values]  # applies it to each of many inputs

    @property
    def frequency(self) -> float:
        """Zipf's law within the operations of its input type, not normalised."""
        return float((self.rank // len(TYPES) + 1) ** -ZIPF_EXPONENT)

    @property
    def rarity(self) -> Rarity:
        """Class of the rank: head, mid or tail."""
        return "head" if self.rank < HEAD else "mid" if self.rank < MID else "tail"


@functools.cache
def lexicon() -> tuple[Operation, ...]:
    """All operations by rank; the same in every process.

    Types take turns along the ranks as long as they last, so that the head chains well.
    """
    turns = zip_longest(*(_usable(kind) for kind in TYPES))
    found = [usable for turn in turns for usable in turn if usable is not None]
    if len(found) < SIZE:
        raise ValueError(f"the templates give {len(found)} operations; the lexicon needs {SIZE}")
    return tuple(
        Operation(
            rank=rank,
            verb=verb,
            takes=template.takes,
            gives=template.gives,
            expression=expression,
            run=run,
        )
        for rank, (verb, (template, expression, run)) in enumerate(
            zip(_verbs(), found[:SIZE], strict=False)
        )
    )


def _usable(kind: Type) -> list[tuple[Template, str, Callable[[Any], behaviour.Values]]]:
    """Operations of one input type, in a fixed shuffled order; no degenerate or equal ones."""
    inputs = list(behaviour.probes(kind))
    seen: set[bytes] = set()
    usable = []
    for template in templates():
        for expression in template.expressions() if template.takes == kind else ():
            run = behaviour.compiled(expression)
            outputs = run(inputs)
            key = behaviour.digest(kind, outputs)
            if key in seen or behaviour.near_constant(outputs):
                continue
            if template.gives == kind and behaviour.too_equal(outputs, inputs):
                continue
            seen.add(key)
            usable.append((template, expression, run))
    usable.sort(key=lambda found: _shuffled(f"{kind} {found[1]}"))
    return usable


def _verbs() -> Iterator[str]:
    """Consonant-vowel-consonant-vowel words that are neither English nor Python, shuffled.

    The last vowel is never e: English and Python have many such words (`code`, `file`, `none`).
    """
    words = [
        first + vowel + second + last
        for first in _CONSONANTS
        for vowel in "aeiou"
        for second in _CONSONANTS
        for last in "aiou"
    ]
    real = frozenset(_REAL_WORDS.split())
    return iter(sorted((word for word in words if word not in real), key=_shuffled))


def _shuffled(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
