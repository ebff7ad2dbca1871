import re
import subprocess
import sys

from model.tasks import behaviour
from model.tasks.lexicon import HEAD, MID, SIZE, TYPES, lexicon
from model.tasks.templates import templates


def test_every_operation_has_its_own_verb_and_its_own_meaning() -> None:
    operations = lexicon()
    assert len(operations) == SIZE >= 1000
    assert len({op.verb for op in operations}) == SIZE
    digests = {
        behaviour.digest(op.takes, op.run(list(behaviour.probes(op.takes)))) for op in operations
    }
    assert len(digests) == SIZE


def test_verbs_are_pronounceable_and_no_common_words() -> None:
    verbs = {op.verb for op in lexicon()}
    assert all(re.fullmatch("([bdfgklmnprstvz][aeiou]){2}", verb) for verb in verbs)
    assert not verbs & {"code", "data", "zero", "none", "file", "meta"}


def test_operations_give_the_type_they_declare_on_every_probe() -> None:
    kinds = {"int": int, "list": list, "str": str}
    for op in lexicon():
        for output in op.run(list(behaviour.probes(op.takes))):
            assert type(output) is kinds[op.gives], op.expression
            if op.gives == "list":
                assert all(type(value) is int for value in output), op.expression


def test_operations_leave_their_inputs_alone() -> None:
    for op in lexicon():
        inputs = list(behaviour.probes(op.takes))
        before = repr(inputs)
        op.run(inputs)
        assert repr(inputs) == before, op.expression


def test_frequencies_fall_as_one_over_rank_and_classes_follow() -> None:
    operations = lexicon()
    first = [op.frequency for op in operations[:: len(TYPES)][:10]]
    assert first == [1 / (rank + 1) for rank in range(10)]
    assert [operations[i].rarity for i in (0, HEAD - 1, HEAD, MID - 1, MID, SIZE - 1)] == [
        *("head", "head", "mid", "mid", "tail", "tail")
    ]
    assert {op.takes for op in operations[:HEAD]} == set(TYPES)


def test_there_are_at_least_forty_templates() -> None:
    assert len(templates()) >= 40


def test_another_process_builds_the_same_lexicon() -> None:
    code = (
        "from model.tasks.lexicon import lexicon;print([(o.verb,o.expression) for o in lexicon()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr([(op.verb, op.expression) for op in lexicon()])


def test_the_room_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import model.tasks.problems, model.tasks.documents, model.evaluation.sandbox"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
