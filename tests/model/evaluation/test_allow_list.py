import pytest

from model.evaluation.allow_list import check_allow_list

ALLOWED = [
    "x=[v+7 for v in x]\n return x[::-1]",
    "return sorted(set(x), key=lambda v: -v)",
    "return ''.join(c.upper() for c in x)",
    "return (y := len(x)) + y",
    "for i, v in enumerate(x):\n  if v > 3: break\n return i",
    "while x: x.pop()\n return x",
    "g = lambda v: v * 2\n return [g(v) for v in x]",
    "return f'{x}!'",
    "return list(map(str.upper, x))",
    "x[0] += 1\n return x",
]
REFUSED = {
    "import os": "Import",
    "from os import system": "ImportFrom",
    "return __import__('os')": "__import__",
    "return x.__class__": "__class__",
    "return '{0.__class__}'.format(x)": "format",
    "return '{x}'.format_map({'x': x})": "format_map",
    "return f'{x.__class__}'": "__class__",
    "return f'{x:>99999999999}'": "format specification",
    "return getattr(x, 'a')": "getattr",
    "return eval('1')": "eval",
    "return __builtins__": "__builtins__",
    "return type(x)": "type",
    "return open('a')": "open",
    "print(1)": "print",
    "g = (v for v in x)\n return g.gi_frame": "gi_frame",
    "return (lambda: 0).__code__": "__code__",
    "return f.__globals__": "__globals__",
    "return x.extend": "called directly",
    "g = str.join\n return g('a', x)": "called directly",
    "x.sort = 3": "sort",
    "global y": "Global",
    "nonlocal x": "Nonlocal",
    "class A: pass": "ClassDef",
    "yield x": "Yield",
    "try:\n  pass\n except: pass": "Try",
    "raise SystemExit": "Raise",
    "with x: pass": "With",
    "del x": "Delete",
    "async def g(): pass": "AsyncFunctionDef",
    "__tick = 1": "two underscores",
    "__call = lambda *a: 0": "two underscores",
    "return [__x for __x in x]": "two underscores",
    "return f(__x=1)": "two underscores",
    "def __tick(): return True": "two underscores",
    "g = lambda __tick: 0": "two underscores",
    "return b'a'": "bytes",
    "return 1j": "complex",
    "return ...": "ellipsis",
    "match x:\n  case [*__tick]: pass": "Match",
    "return y": "'y' is not on the allow-list",
}


@pytest.mark.parametrize("body", ALLOWED)
def test_plain_functions_are_allowed(body: str) -> None:
    assert check_allow_list(f"def f(x):\n {body}") is None


@pytest.mark.parametrize(("body", "named"), REFUSED.items())
def test_everything_else_is_refused_by_name(body: str, named: str) -> None:
    reason = check_allow_list(f"def f(x):\n {body}")
    assert reason is not None and named in reason


def test_decorators_and_defaults_are_looked_at() -> None:
    assert "decorator" in str(check_allow_list("@len\ndef f(x): return x"))
    assert "'open'" in str(check_allow_list("def f(x=open): return x"))
    assert "'open'" in str(check_allow_list("def f(x: open): return x"))


@pytest.mark.parametrize(
    "source", ["def f(x:\n", "def f(x):\n return '\0'", "(" * 500, "-" * 15_000 + "1", "x" * 30_000]
)
def test_source_that_does_not_parse_is_refused(source: str) -> None:
    assert check_allow_list(source) is not None
