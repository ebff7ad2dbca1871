from collections import Counter

import pytest

from model.tasks.documents import program_documents
from model.tasks.lexicon import lexicon

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def documents() -> list[tuple[str, str]]:
    return list(program_documents(3, MEGABYTE))


def verbs(text: str) -> list[str]:
    return text.split('"""')[1].split()


def test_documents_reach_the_size_asked_for(documents: list[tuple[str, str]]) -> None:
    size = sum(len(text.encode()) for _, text in documents)
    assert MEGABYTE <= size < MEGABYTE + 200


def test_seed_fixes_the_documents() -> None:
    assert list(program_documents(5, 20_000)) == list(program_documents(5, 20_000))
    assert list(program_documents(5, 20_000)) != list(program_documents(6, 20_000))


def test_a_megabyte_teaches_every_operation_alone(documents: list[tuple[str, str]]) -> None:
    alone = {verbs(text)[0] for _, text in documents if len(verbs(text)) == 1}
    assert alone == {op.verb for op in lexicon()}


def test_depths_are_one_to_four_and_frequent_verbs_are_frequent(
    documents: list[tuple[str, str]],
) -> None:
    depths = Counter(len(verbs(text)) for _, text in documents)
    assert set(depths) == {1, 2, 3, 4}
    counts = Counter(verb for _, text in documents for verb in verbs(text))
    operations = lexicon()
    head = sum(counts[op.verb] for op in operations[:36])
    assert head > sum(counts[op.verb] for op in operations[320:]) > 0


def test_text_is_python_without_trailing_junk(documents: list[tuple[str, str]]) -> None:
    for _, text in documents[:500]:
        compile(text, "<document>", "exec")
        assert text == text.rstrip() and "\n return " in text
        assert len(text) <= 112


def test_heldout_behaviours_never_occur_in_training(documents: list[tuple[str, str]]) -> None:
    heldout = list(program_documents(3, 20_000, heldout=True))
    assert not {name for name, _ in heldout} & {name for name, _ in documents}
    assert all(int(name[:2], 16) % 16 == 0 for name, _ in heldout)
    assert all(len(verbs(text)) > 1 for _, text in heldout)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="n_bytes=-1"):
        next(program_documents(0, -1))
