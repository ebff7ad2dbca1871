"""Bounds allowed code by counted steps and sizes instead of time, so that a verdict does not
depend on the machine's load.

`instrument` rewrites a checked tree: every loop turn, comprehension turn and function entry counts
a step; calls of builtins and methods count the sizes they touch; operators that can make large
values first measure. The names it adds begin with two underscores, which allowed code cannot spell.
"""

import ast
import builtins
from collections.abc import Callable
from typing import Any, TypeVar, cast

from model.evaluation import guards
from model.evaluation.allow_list import SAFE_BUILTINS

_SIZE_PER_STEP = 16  # elements that a builtin or method may touch for one step
Node = TypeVar("Node", ast.expr, ast.stmt)


class StepBudgetExceeded(BaseException):
    """Too many steps; not an Exception, so that nothing swallows it."""


class Meter:
    """Counts the steps of one sample and supplies the functions that instrumented code calls."""

    def __init__(self, budget: int) -> None:
        self.left = budget

    def names(self) -> dict[str, Any]:
        """The namespace of instrumented code: the guards and the safe builtins, all fresh."""
        safe = {name: getattr(builtins, name) for name in SAFE_BUILTINS}
        safe |= guards.BUILTINS
        return {
            "__builtins__": safe,
            "__tick": self.tick,
            "__call": self.call,
            "__method": self.method,
            "__augmented": guards.augmented,
            "__measured": guards.measured,
            **{f"__{name}": guard for name, guard in guards.OPERATORS.items()},
        }

    def tick(self) -> bool:
        """Count a step."""
        self.left -= 1
        if self.left < 0:
            raise StepBudgetExceeded
        return True

    def call(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """Call a builtin, charging for the sizes of its arguments."""
        for value in args:
            if type(value) in guards.SIZED:
                self._charge(len(value))
        return guards.measured(function(*args, **named))

    def method(self, owner: Any, name: str, /, *args: Any, **named: Any) -> Any:
        """Call a method, charging for the owner's and the result's sizes."""
        receiver, rest = (args[0], args[1:]) if isinstance(owner, type) and args else (owner, args)
        if type(receiver) in guards.SIZED:
            self._charge(len(receiver))
            if name == "extend" and rest:
                guards.measured(receiver, rest[0])
        result = getattr(owner, name)(*args, **named)
        return guards.measured(result)

    def _charge(self, size: int) -> None:
        self.left -= 1 + size // _SIZE_PER_STEP
        if self.left < 0:
            raise StepBudgetExceeded


def instrument(tree: ast.Module, bound: frozenset[str]) -> ast.Module:
    """The tree with its steps counted and its sizes bounded; changes it in place.

    `bound` are the names that the tree binds itself, so that they are no builtins there.
    """
    return cast(ast.Module, _Instrument(SAFE_BUILTINS - bound).visit(tree))


_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Mult: "multiply",
    ast.Pow: "power",
    ast.LShift: "shift",
    ast.Mod: "modulo",
}

_LEAVES = frozenset(("ctx", "op", "ops"))
_CHILDLESS = frozenset((ast.Name, ast.Constant))


class _Instrument:
    """An `ast.NodeTransformer` that passes by leaves, several times as fast."""

    def __init__(self, builtins: frozenset[str]) -> None:
        self._builtins = builtins

    def visit(self, node: Any) -> Any:
        """The node that takes this one's place, its children instrumented."""
        for name in node._fields:
            if name in _LEAVES:
                continue
            value = getattr(node, name, None)
            if value.__class__ is list:
                value[:] = [
                    self.visit(child) if isinstance(child, ast.AST) else child for child in value
                ]
            elif isinstance(value, ast.AST) and value.__class__ not in _CHILDLESS:
                setattr(node, name, self.visit(value))
        handler = _HANDLERS.get(node.__class__)
        return node if handler is None else handler(self, node)

    def body(self, node: ast.FunctionDef | ast.For | ast.While) -> ast.AST:
        node.body.insert(0, _tick_statement())
        return node

    def lambda_(self, node: ast.Lambda) -> ast.AST:
        node.body = _at(ast.BoolOp(ast.And(), [_call("__tick"), node.body]))
        return node

    def comprehension(self, node: ast.comprehension) -> ast.AST:
        node.ifs.insert(0, _call("__tick"))
        return node

    def binary(self, node: ast.BinOp) -> ast.AST:
        name = _OPERATORS.get(type(node.op))
        return node if name is None else _call(f"__{name}", node.left, node.right)

    def augmented(self, node: ast.AugAssign) -> ast.AST:
        name = _OPERATORS.get(type(node.op))
        if name is None:
            return node
        if isinstance(node.target, ast.Subscript):
            owner, index = node.target.value, _index(node.target.slice)
            call = _call("__augmented", owner, index, _constant(name), node.value)
            return _at(ast.Expr(call))
        target = cast(ast.Name, node.target)
        load = _at(ast.Name(target.id, ast.Load()))
        value = _call(f"__in_place_{name}" if name == "add" else f"__{name}", load, node.value)
        return _at(ast.Assign([target], value))

    def call(self, node: ast.Call) -> ast.AST:
        function = node.func
        if isinstance(function, ast.Attribute):
            first: list[ast.expr] = [function.value, _constant(function.attr)]
            node.func, node.args = _at(ast.Name("__method", ast.Load())), first + node.args
        elif isinstance(function, ast.Name) and function.id in self._builtins:
            node.func, node.args = _at(ast.Name("__call", ast.Load())), [function, *node.args]
        return node

    def text(self, node: ast.JoinedStr) -> ast.AST:
        return _call("__measured", node)


_HANDLERS: dict[type[ast.AST], Callable[[_Instrument, Any], ast.AST]] = {
    ast.FunctionDef: _Instrument.body,
    ast.For: _Instrument.body,
    ast.While: _Instrument.body,
    ast.Lambda: _Instrument.lambda_,
    ast.comprehension: _Instrument.comprehension,
    ast.BinOp: _Instrument.binary,
    ast.AugAssign: _Instrument.augmented,
    ast.Call: _Instrument.call,
    ast.JoinedStr: _Instrument.text,
}


def _at(node: Node) -> Node:
    """The node with the position that `compile` asks of every node."""
    node.lineno = node.end_lineno = 1
    node.col_offset = node.end_col_offset = 0
    return node


def _constant(value: str | None) -> ast.expr:
    return _at(ast.Constant(value))


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    return _at(ast.Call(_at(ast.Name(name, ast.Load())), list(arguments), []))


def _tick_statement() -> ast.stmt:
    return _at(ast.Expr(_call("__tick")))


def _index(index: ast.expr) -> ast.expr:
    """The index of an augmented assignment as an argument: a slice becomes a slice object."""
    if not isinstance(index, ast.Slice):
        return index
    ends = (index.lower, index.upper, index.step)
    return _call("__slice", *(end if end is not None else _constant(None) for end in ends))
