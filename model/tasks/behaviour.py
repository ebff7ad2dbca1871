"""What a program does, as its outputs on fixed probe inputs: the identity that splits training
from evaluation, and the tests that keep degenerate programs out.
"""

import functools
import hashlib
import operator
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from model.tasks.templates import LETTERS, Type

PROBES = 64
LARGEST_INT = 10**6
LONGEST = 40  # elements or characters of an output
MOST_EQUAL_OUTPUTS = 0.6  # share of probes that may share one output
MOST_EQUAL_TO_OTHER = 0.75  # share of probes on which a program may equal its input or a prefix

Values = list[Any]  # ints, lists of ints or strings, all of one type


@functools.cache
def probes(kind: Type) -> tuple[Any, ...]:
    """64 inputs of a type: empty, negative, repeated and mixed values; the same for ever."""
    if kind == "int":
        return (*range(-16, 40), 50, 64, 77, 99, 100, -25, -40, -99)
    rng = random.Random(64)
    if kind == "list":
        return ([], [7], [-3, -3], *(random_list(rng) for _ in range(PROBES - 3)))
    return ("", "a", "bb", *(random_string(rng) for _ in range(PROBES - 3)))


def random_list(rng: random.Random) -> list[int]:
    """One to ten integers from -9 to 20, every fourth a repetition of the one before."""
    values: list[int] = []
    for _ in range(1 + int(rng.random() * 10)):
        repeat = values and rng.random() < 0.25
        values.append(values[-1] if repeat else int(rng.random() * 30) - 9)
    return values


def random_string(rng: random.Random) -> str:
    """One to ten letters, mostly of those that operations act on, few of them capitals."""
    alphabet = LETTERS * 3 + "ABghzk"
    length = 1 + int(rng.random() * 10)
    return "".join(alphabet[int(rng.random() * len(alphabet))] for _ in range(length))


def compiled(expression: str) -> Callable[[Any], Values]:
    """A function of many inputs that applies the expression of `x` to each."""
    function: Callable[[Any], Values] = eval(f"lambda xs: [{expression} for x in xs]", {})
    return function


def too_large(outputs: Values) -> bool:
    """Whether any output is longer than 40 or holds an integer beyond a million."""
    if isinstance(outputs[0], int):
        return bool(max(outputs) > LARGEST_INT or min(outputs) < -LARGEST_INT)
    if max(map(len, outputs)) > LONGEST:
        return True
    if isinstance(outputs[0], str):
        return False
    filled = [output for output in outputs if output]
    largest = max(map(max, filled), default=0)
    return bool(largest > LARGEST_INT or min(map(min, filled), default=0) < -LARGEST_INT)


def too_equal(outputs: Values, others: Values) -> bool:
    """Whether two programs (or a program and its input) agree on more than 75 % of the probes."""
    agreeing: int = sum(map(operator.eq, outputs, others))
    return agreeing > MOST_EQUAL_TO_OTHER * len(outputs)


def near_constant(outputs: Values) -> bool:
    """Whether more than 60 % of the outputs are one value."""
    keys = map(tuple, outputs) if isinstance(outputs[0], list) else outputs
    return max(Counter(keys).values()) > MOST_EQUAL_OUTPUTS * len(outputs)


def digest(takes: Type, outputs: Values) -> bytes:
    """sha256 of the type taken and the outputs on its probes: equal for equal behaviours."""
    return hashlib.sha256(f"{takes}:{outputs!r}".encode()).digest()
