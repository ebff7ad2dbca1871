"""Operators and builtins that refuse to make very large values; see `step_budget`."""

from collections.abc import Callable, Iterable
from typing import Any, cast

LONGEST = 100_000  # elements or characters of any value
MOST_BITS = 10_000  # of any integer that a product, power or shift makes
SIZED = (str, list, tuple, dict, set, range)
_SEQUENCES = (str, list, tuple)


class TooLarge(BaseException):
    """A value beyond the bounds; not an Exception, so that nothing swallows it."""


def measured(value: Any, other: Any = ()) -> Any:
    """The value, if it is not too long, alone or joined with another."""
    if type(value) in SIZED and len(value) + _length(other) > LONGEST:
        raise TooLarge
    return value


def _length(value: Any) -> int:
    return len(value) if type(value) in SIZED else 0


def _add(left: Any, right: Any) -> Any:
    if type(left) in _SEQUENCES:
        measured(left, right)
    return left + right


def _in_place_add(left: Any, right: Any) -> Any:
    if type(left) in _SEQUENCES:
        measured(left, right)
    left += right
    return left


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MOST_BITS:
            raise TooLarge
    elif type(left) in _SEQUENCES and isinstance(right, int):
        if len(left) * right > LONGEST:
            raise TooLarge
    elif type(right) in _SEQUENCES and isinstance(left, int) and len(right) * left > LONGEST:
        raise TooLarge
    return left * right


def _power(left: Any, right: Any) -> Any:
    whole = isinstance(left, int) and isinstance(right, int)
    if whole and left.bit_length() * abs(right) > MOST_BITS:
        raise TooLarge
    return left**right


def _shift(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and right > MOST_BITS:
        raise TooLarge
    return _bits(left << right)


def _bits(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise TooLarge
    return value


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        raise TypeError("string formatting with % is not on the allow-list")
    return left % right


def augmented(owner: Any, index: Any, operator: str, value: Any) -> None:
    """`owner[index] += value`, or another operator by name."""
    name = "in_place_add" if operator == "add" else operator
    owner[index] = OPERATORS[name](owner[index], value)


def _range(*ends: int) -> range:
    values = range(*ends)
    try:
        return cast(range, measured(values))
    except OverflowError:
        raise TooLarge from None


def _sum(values: Iterable[Any], /, start: Any = 0) -> Any:
    """Without sequences, whose sum copies all before at every step."""
    if not isinstance(start, int | float):
        raise TypeError("sum() starts from numbers only")
    return sum(values, start)


def _round(value: Any, digits: int | None = None) -> Any:
    """Without the huge power of ten of many digits."""
    if isinstance(digits, int) and abs(digits) > 1000:
        raise TooLarge
    return round(value, digits)


OPERATORS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "in_place_add": _in_place_add,
    "multiply": _multiply,
    "power": _power,
    "shift": _shift,
    "modulo": _modulo,
    "slice": slice,
}
BUILTINS: dict[str, Callable[..., Any]] = {"range": _range, "sum": _sum, "round": _round}
