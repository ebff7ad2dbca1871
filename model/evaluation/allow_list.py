"""Which generated code may run in the plain worker process: a check of its syntax tree.

Allowed are functions, assignments, branches, loops, comprehensions and lambdas over a fixed set
of builtins and the methods of lists and strings. No import, no attribute beyond those methods, no
class, no generator, no exception handling (it could swallow the step budget), no name with two
leading underscores. `str.format` is left out because its fields read attributes.
"""

import ast

LONGEST_SOURCE = 20_000  # characters

_BUILTINS = (
    "abs all any bool chr dict divmod enumerate filter float int isinstance len list map max min "
    "ord range repr reversed round set sorted str sum tuple zip"
)
_LIST_METHODS = "append clear copy count extend index insert pop remove reverse sort"
_STR_METHODS = (
    "capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii "
    "isdecimal isdigit islower isnumeric isspace istitle isupper join ljust lower lstrip partition "
    "removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split "
    "splitlines startswith strip swapcase title upper zfill"
)
_GROWING_METHODS = "extend join replace center ljust rjust zfill expandtabs"

SAFE_BUILTINS = frozenset(_BUILTINS.split())
METHODS = frozenset((*_LIST_METHODS.split(), *_STR_METHODS.split()))
# These make large values; they are only called directly, where their results are measured.
GROWING = frozenset(_GROWING_METHODS.split())

# Allowed whatever they hold; the other allowed ones are looked at in `_check_node`.
_UNCONDITIONAL = frozenset(
    (
        *(ast.Module, ast.arguments, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For),
        *(ast.While, ast.If, ast.Assert, ast.Expr, ast.Pass, ast.Break, ast.Continue, ast.BoolOp),
        *(ast.NamedExpr, ast.BinOp, ast.UnaryOp, ast.Lambda, ast.IfExp, ast.Dict, ast.Set),
        *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Compare, ast.JoinedStr),
        *(ast.Subscript, ast.Starred, ast.List, ast.Tuple, ast.Slice),
    )
)
_LEAVES = frozenset(("ctx", "op", "ops"))  # contexts and operators: none is forbidden
_LITERALS = (int, float, str, bool, type(None))


def check_allow_list(source: str) -> str | None:
    """None if the source is allowed, else the first reason why it is not."""
    tree = parse(source)
    return tree if isinstance(tree, str) else check_tree(tree)[0]


def parse(source: str) -> ast.Module | str:
    """The syntax tree, or the reason why there is none."""
    if len(source) > LONGEST_SOURCE:
        return f"refused: {len(source)} characters; at most {LONGEST_SOURCE} are allowed"
    try:
        return ast.parse(source)
    except SyntaxError as error:
        return f"SyntaxError: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"SyntaxError: {type(error).__name__}"


def check_tree(
    tree: ast.Module, known: frozenset[str] = frozenset()
) -> tuple[str | None, frozenset[str]]:
    """As `check_allow_list`, with the names that the source binds.

    `known` are names that it may use without binding them.
    """
    called: set[int] = set()
    loads: list[str] = []
    bound = set(known)
    reason = None
    for node in nodes_of(tree):
        kind = node.__class__
        if kind is ast.Name:
            if node.ctx.__class__ is ast.Load:  # type: ignore[attr-defined]
                loads.append(node.id)  # type: ignore[attr-defined]
            else:
                bound.add(node.id)  # type: ignore[attr-defined]
        elif kind is ast.Call:
            called.add(id(node.func))  # type: ignore[attr-defined]
        elif kind not in _UNCONDITIONAL:
            reason = reason or _check_node(node, called, bound)
    return reason or _check_names(loads, bound), frozenset(bound)


def nodes_of(tree: ast.AST) -> list[ast.AST]:
    """All nodes but contexts and operators, parents before children; faster than `ast.walk`."""
    found = [tree]
    for node in found:
        for name in node._fields:
            if name in _LEAVES:
                continue
            value = getattr(node, name, None)
            if value.__class__ is list:
                found += [child for child in value if isinstance(child, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found


def _check_names(loads: list[str], bound: set[str]) -> str | None:
    for name in bound:
        if name.startswith("__"):
            return f"refused: name {name!r} begins with two underscores"
    for name in loads:
        if name not in bound and name not in SAFE_BUILTINS:
            return f"refused: name {name!r} is not on the allow-list"
    return None


def _check_node(node: ast.AST, called: set[int], bound: set[str]) -> str | None:
    """Why this node is refused; the names that it binds are added to `bound`."""
    if isinstance(node, ast.Constant):
        if not isinstance(node.value, _LITERALS):
            return f"refused: literal of type {type(node.value).__name__}"
    elif isinstance(node, ast.Attribute):
        if node.attr not in METHODS or type(node.ctx) is not ast.Load:
            return f"refused: attribute {node.attr!r} is not on the allow-list"
        if node.attr in GROWING and id(node) not in called:
            return f"refused: method {node.attr!r} may only be called directly"
    elif isinstance(node, ast.FunctionDef):
        if node.decorator_list:
            return "refused: decorator"
        bound.add(node.name)
    elif isinstance(node, ast.arg):
        bound.add(node.arg)
    elif isinstance(node, ast.FormattedValue):
        if node.format_spec is not None:
            return "refused: format specification"
    elif isinstance(node, ast.comprehension):
        if node.is_async:
            return "refused: async comprehension"
    elif isinstance(node, ast.keyword):
        if node.arg is not None and node.arg.startswith("__"):
            return f"refused: name {node.arg!r} begins with two underscores"
    else:
        return f"refused: {type(node).__name__} is not on the allow-list"
    return None
