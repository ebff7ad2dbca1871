import pytest

from model.tasks import behaviour
from model.tasks.chains import LONGEST_TEXT, program_of
from model.tasks.lexicon import Operation, lexicon


def operation(expression: str) -> Operation:
    """The lexicon's operation of this expression."""
    return next(op for op in lexicon() if op.expression == expression)


def made(expression: str, takes: str, gives: str) -> Operation:
    """An operation that the lexicon would not hold."""
    return Operation(
        rank=0, verb="zuzu", takes=takes, gives=gives, expression=expression,  # type: ignore[arg-type]
        run=behaviour.compiled(expression),
    )  # fmt: skip


def test_text_is_the_docstring_of_verbs_and_a_line_for_each() -> None:
    first, second = operation("[v+7 for v in x]"), operation("x[::-1]")
    program = program_of((first, second), {})
    assert program is not None
    assert program.prompt == f'def f(x):\n """{first.verb} {second.verb}"""'
    assert program.body == "\n x=[v+7 for v in x]\n return x[::-1]"


@pytest.mark.parametrize(
    "chain",
    [
        ("x+7", "x-7"),  # identity
        ("x[2:]", "x[-4:]", "x[:1]", "x[3:]"),  # constant: nothing is left
        ("sorted(x)", "sorted(x)"),  # equals its prefix
        ("x*16", "x*x+3", "x*x+3", "x*x+3"),  # too large
    ],
)
def test_degenerate_chains_are_rejected(chain: tuple[str, ...]) -> None:
    kind = "list" if "sorted" in chain[0] or "[" in chain[0] else "int"
    some = [op for op in lexicon() if op.takes == op.gives == kind]
    operations = tuple(next(op for op in some if op.expression == text) for text in chain)
    assert program_of(operations, {}) is None


def test_a_long_text_is_rejected() -> None:
    long = operation("[abs(v-7) for v in x]")
    longer = made(f"[v+{'0' * LONGEST_TEXT}1 for v in x]".replace("+0", "+0x0"), "list", "list")
    assert program_of((long, operation("[v+1 for v in x]")), {}) is not None
    assert program_of((long, longer), {}) is None


def test_single_operations_are_never_held_out() -> None:
    programs = [program_of((op,), {}) for op in lexicon()]
    assert all(program is not None and not program.heldout for program in programs)
    # Chance alone would hold out about 64 of them, so the exemption is what this shows.
    assert sum(program is not None and program.digest[0] % 16 == 0 for program in programs) > 20


def test_behaviour_not_text_decides_the_document() -> None:
    def chain(*expressions: str) -> str:
        operations = tuple(
            next(op for op in lexicon() if op.expression == text and op.takes == "int")
            for text in expressions
        )
        program = program_of(operations, {})
        assert program is not None
        return program.document_id

    assert chain("x+3", "x+9") == chain("x+9", "x+3") == chain("x+12") != chain("x+11")
