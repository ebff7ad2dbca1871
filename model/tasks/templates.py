"""The forms that the lexicon's operations are made from: one Python expression of `x` each.

Every form is total (no input of its type raises), pure and short, so that a chain of four fits
in a 64-token window. Numbers stay small because digits are single tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

Type = Literal["int", "list", "str"]

LETTERS = "abcdef"  # what probe strings are mostly made of: operations on others rarely act
FILLERS = "ghklmnprstuvwyz"
SYMBOLS = ",-/:;+.|~"


@dataclass(frozen=True, slots=True)
class Template:
    """One form with its arguments; `{0}` and `{1}` in `form` stand for them."""

    takes: Type
    gives: Type
    form: str
    arguments: tuple[tuple[str, ...], ...] = ((),)

    def expressions(self) -> Iterator[str]:
        """The form with each of its arguments, in order."""
        for values in self.arguments:
            yield self.form.format(*values)


def _numbers(low: int, high: int) -> tuple[tuple[str, ...], ...]:
    return tuple((str(value),) for value in range(low, high + 1))


def _letters(letters: str) -> tuple[tuple[str, ...], ...]:
    return tuple((letter,) for letter in letters)


def _pairs(first: str, second: str) -> tuple[tuple[str, ...], ...]:
    return tuple((a, b) for a, b in product(first, second) if a != b)


def templates() -> tuple[Template, ...]:
    """All forms, grouped by the type that they take."""
    return (*_of_lists(), *_of_ints(), *_of_strings())


def _of_lists() -> tuple[Template, ...]:
    return (
        Template("list", "list", "[v+{0} for v in x]", _numbers(1, 20)),
        Template("list", "list", "[v-{0} for v in x]", _numbers(1, 20)),
        Template("list", "list", "[v*{0} for v in x]", _numbers(2, 15)),
        Template("list", "list", "[v//{0} for v in x]", _numbers(2, 7)),
        Template("list", "list", "[v%{0} for v in x]", _numbers(3, 16)),
        Template("list", "list", "[{0}-v for v in x]", _numbers(0, 20)),
        Template("list", "list", "[v^{0} for v in x]", _numbers(1, 20)),
        Template("list", "list", "[v|{0} for v in x]", _numbers(1, 12)),
        Template("list", "list", "[v*v+{0} for v in x]", _numbers(1, 15)),
        Template("list", "list", "[abs(v-{0}) for v in x]", _numbers(0, 12)),
        Template("list", "list", "[v for v in x if v>{0}]", _numbers(0, 9)),
        Template("list", "list", "[v for v in x if v<{0}]", _numbers(0, 9)),
        Template("list", "list", "[v for v in x if v%{0}]", _numbers(2, 5)),
        Template("list", "list", "x+[{0}]", _numbers(0, 20)),
        Template("list", "list", "[{0}]+x", _numbers(0, 20)),
        Template("list", "list", "x[{0}:]", _numbers(1, 4)),
        Template("list", "list", "x[:{0}]", _numbers(1, 4)),
        Template("list", "list", "x[:-{0}]", _numbers(1, 4)),
        Template("list", "list", "x[-{0}:]", _numbers(1, 4)),
        Template("list", "list", "x[::{0}]", (("-1",), ("2",), ("-2",), ("3",), ("-3",))),
        Template("list", "list", "x[{0}:]+x[:{0}]", _numbers(1, 4)),
        Template("list", "list", "x+x[:{0}]", _numbers(1, 4)),
        Template("list", "list", "sorted(x){0}", (("",), ("[::-1]",), ("[::2]",), ("[1:]",))),
        Template("list", "int", "sum(x)+{0}", _numbers(0, 20)),
        Template("list", "int", "sum(x)*{0}", _numbers(2, 12)),
        Template("list", "int", "sum(x)%{0}", _numbers(5, 20)),
        Template("list", "int", "len(x)*{0}", _numbers(2, 12)),
        Template("list", "int", "max(x+[{0}])", _numbers(0, 9)),
        Template("list", "int", "min(x+[{0}])", _numbers(0, 9)),
        Template("list", "int", "sum(x[{0}])", ((":2",), (":3",), ("1:",), ("2:",), ("::2",))),
        Template("list", "str", "'{0}'.join(map(str,x))", _letters(SYMBOLS)),
        Template("list", "str", "'{0}'*len(x)", _letters(LETTERS + FILLERS)),
    )


def _of_ints() -> tuple[Template, ...]:
    return (
        Template("int", "int", "x+{0}", _numbers(1, 30)),
        Template("int", "int", "x-{0}", _numbers(1, 30)),
        Template("int", "int", "x*{0}", _numbers(2, 16)),
        Template("int", "int", "x//{0}", _numbers(2, 7)),
        Template("int", "int", "x%{0}", _numbers(5, 20)),
        Template("int", "int", "{0}-x", _numbers(0, 30)),
        Template("int", "int", "x^{0}", _numbers(1, 24)),
        Template("int", "int", "x|{0}", _numbers(1, 12)),
        Template("int", "int", "abs(x-{0})", _numbers(0, 12)),
        Template("int", "int", "x*x+{0}", _numbers(0, 15)),
        Template("int", "list", "[x,{0}]", _numbers(0, 15)),
        Template("int", "list", "[{0},x]", _numbers(0, 15)),
        Template("int", "list", "[x,x+{0}]", _numbers(1, 12)),
        Template("int", "list", "[x]*{0}", _numbers(2, 5)),
        Template("int", "list", "[x//{0},x%{0}]", _numbers(2, 10)),
        Template("int", "list", "list(range(x%{0}))", _numbers(5, 16)),
        Template("int", "str", "str(x)+'{0}'", _letters(LETTERS + FILLERS)),
        Template("int", "str", "'{0}'+str(x)", _letters(LETTERS + FILLERS)),
        Template("int", "str", "'{0}'*(x%9)", _letters(LETTERS + FILLERS)),
    )


def _of_strings() -> tuple[Template, ...]:
    return (
        Template("str", "str", "x+'{0}'", _letters(LETTERS + FILLERS)),
        Template("str", "str", "'{0}'+x", _letters(LETTERS + FILLERS)),
        Template("str", "str", "x.replace('{0}','{1}')", _pairs(LETTERS, LETTERS + FILLERS)),
        Template("str", "str", "'{0}'.join(x)", _letters(FILLERS + SYMBOLS)),
        Template("str", "str", "x[{0}:]", _numbers(1, 4)),
        Template("str", "str", "x[:{0}]", _numbers(1, 4)),
        Template("str", "str", "x[:-{0}]", _numbers(1, 4)),
        Template("str", "str", "x[-{0}:]", _numbers(1, 4)),
        Template("str", "str", "x[::{0}]", (("-1",), ("2",), ("-2",), ("3",), ("-3",))),
        Template("str", "str", "x[{0}:]+x[:{0}]", _numbers(1, 4)),
        Template("str", "str", "x+x[:{0}]", _numbers(1, 4)),
        Template("str", "str", "x*{0}", _numbers(2, 3)),
        Template("str", "str", "x.{0}()", (("upper",), ("title",), ("swapcase",))),
        Template("str", "str", "x.split('{0}')[0]", _letters(LETTERS)),
        Template("str", "str", "x.split('{0}')[-1]", _letters(LETTERS)),
        Template("str", "str", "x.rjust({0},'{1}')", _pairs("789", FILLERS)),
        Template("str", "str", "x.ljust({0},'{1}')", _pairs("789", FILLERS)),
        Template("str", "int", "len(x)+{0}", _numbers(0, 12)),
        Template("str", "int", "len(x)*{0}", _numbers(2, 12)),
        Template("str", "int", "x.count('{0}')+{1}", _pairs(LETTERS, "012345")),
        Template("str", "int", "x.find('{0}')+{1}", _pairs(LETTERS, "012345")),
        Template("str", "list", "[ord(v)%{0} for v in x]", _numbers(3, 20)),
        Template("str", "list", "[ord(v)-{0} for v in x]", _numbers(87, 99)),
        Template("str", "list", "[len(v) for v in x.split('{0}')]", _letters(LETTERS)),
        Template("str", "list", "[x.{0}(v) for v in x]", (("find",), ("count",))),
    )
