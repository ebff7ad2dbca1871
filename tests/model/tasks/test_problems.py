from collections import Counter
from typing import Any

import pytest

from model.tasks.documents import program_documents
from model.tasks.lexicon import lexicon
from model.tasks.problems import BUCKETS, TESTS, Problem, problems


@pytest.fixture(scope="module")
def some() -> tuple[Problem, ...]:
    return problems(240, 1)


def run(source: str, given: Any) -> Any:
    names: dict[str, Any] = {}
    exec(source, names)
    return names["f"](given)


def test_gold_bodies_pass_their_tests(some: tuple[Problem, ...]) -> None:
    for problem in some:
        assert len(problem.tests) == TESTS
        for given, expected in problem.tests:
            assert run(problem.prompt + problem.gold, given) == expected


def test_buckets_are_balanced_and_equal_arguments_give_equal_problems(
    some: tuple[Problem, ...],
) -> None:
    assert Counter(problem.bucket for problem in some) == dict.fromkeys(BUCKETS, 20)
    assert problems(20, 1) == some[:20]
    assert problems(20, 2) != some[:20]


def test_an_exhausted_bucket_leaves_its_turns_to_the_others() -> None:
    counts = Counter(problem.bucket for problem in problems(480, 0))
    assert counts.total() == 480
    few = [counts.pop(name) for name in ("d1-head", "d2-head")]
    assert few[0] == sum(operation.rarity == "head" for operation in lexicon())
    assert max(few) < min(counts.values()) == max(counts.values()) - 1


def test_chains_are_held_out_and_single_operations_are_taught(some: tuple[Problem, ...]) -> None:
    trained = {name for name, _ in program_documents(0, 1_000_000)}
    recall = {problem.id for problem in some if problem.bucket.startswith("d1-")}
    assert len({problem.id for problem in some}) == len(some)
    assert not ({problem.id for problem in some} - recall) & trained
    assert len(recall) == 60 and recall <= trained


def test_depth_is_the_number_of_verbs_and_of_lines(some: tuple[Problem, ...]) -> None:
    for problem in some:
        depth = int(problem.bucket[1])
        assert len(problem.prompt.split('"""')[1].split()) == depth
        assert problem.gold.count("\n") == depth
    assert {problem.bucket for problem in some} == {
        f"d{depth}-{rarity}" for depth in (1, 2, 3, 4) for rarity in ("head", "mid", "tail")
    }


def test_prompts_end_at_the_quotation_marks(some: tuple[Problem, ...]) -> None:
    for problem in some:
        first = "\n return " if problem.bucket.startswith("d1-") else "\n x="
        assert problem.prompt.endswith('"""') and problem.gold.startswith(first)


def test_a_body_without_one_line_fails(some: tuple[Problem, ...]) -> None:
    for problem in some:
        lines = problem.gold.split("\n")[1:]
        for left_out in range(len(lines) - 1):
            body = "\n".join(lines[:left_out] + lines[left_out + 1 :])
            source = f"{problem.prompt}\n{body}"
            try:
                passed = all(run(source, given) == want for given, want in problem.tests)
            except (TypeError, AttributeError, IndexError):
                passed = False
            assert not passed, problem


def test_inputs_hold_the_empty_the_negative_and_the_repeated(some: tuple[Problem, ...]) -> None:
    firsts = {repr(problem.tests[0][0]) for problem in some}
    assert firsts == {"[]", "0", "''"}
    lists = next(p for p in some if p.tests[0][0] == [])
    assert any(len(set(given)) < len(given) and min(given) < 0 for given, _ in lists.tests if given)


def test_too_few_or_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="n=0"):
        problems(0, 0)
