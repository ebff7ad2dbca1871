"""Verdicts on right, wrong and hostile samples that the allow-list lets through."""

import signal
import time
from typing import Any

import pytest

from model.evaluation.sandbox import GradeItem, Limits, Verdict, Worker, grade_batch, request
from model.tasks.problems import problems

PROMPT = 'def f(x):\n """mubo"""'
GOOD = "\n return x+1"
TESTS = ((1, 2), (-3, -2))


def item(body: str, tests: object = TESTS) -> GradeItem:
    return GradeItem(PROMPT, body, tests)  # type: ignore[arg-type]


def verdict(body: str, tests: object = TESTS, limits: Limits | None = None) -> Verdict:
    return grade_batch([item(body, tests)], limits=limits)[0]


def test_gold_bodies_of_the_tasks_pass_and_others_fail() -> None:
    some = problems(45, 0)
    gold = [GradeItem(p.prompt, p.gold, p.tests) for p in some]
    swapped = [
        GradeItem(p.prompt, q.gold, p.tests) for p, q in zip(some, some[1:] + some[:1], strict=True)
    ]
    assert all(v.passed for v in grade_batch(gold))
    assert sum(v.passed for v in grade_batch(swapped)) == 0


def test_equal_means_equal_repr() -> None:
    assert verdict("\n return 1", ((0, 1),)).passed
    assert not verdict("\n return True", ((0, 1),)).passed
    assert not verdict("\n return 1.0", ((0, 1),)).passed
    assert not verdict("\n return (1,)", ((0, [1]),)).passed


HOSTILE = {
    "\n while True: pass": "steps",
    "\n return [v for v in range(999) for w in range(999)]": "steps",
    "\n return (lambda g: g(g))(lambda g: g(g))": "RecursionError",
    "\n return f(x)": "RecursionError",
    "\n for i in range(9): return sum(v for v in map(lambda v: f(v), [1]))": "RecursionError",
    "\n return [0]*10**10": "size bounds",
    "\n return 'a'*10**10": "size bounds",
    "\n return 9**9**9": "size bounds",
    "\n return 1<<10**10": "size bounds",
    "\n while 1: x*=x+2": "size bounds",
    "\n return sum(range(10**12))": "size bounds",
    "\n return round(5,-10**9)": "size bounds",
    "\n return '%99999999999d'%1": "TypeError",
    "\n return sum([[1]]*9,[])": "TypeError",
    "\n y=[1]\n while 1: y.extend(y)": "size bounds",
    "\n y=[1]\n while 1: list.extend(y,y)": "size bounds",
    "\n y=[[1]]\n while 1: y[0]+=y[0]": "size bounds",
    "\n y=[1]\n while 1: y[1:]+=y": "size bounds",
    "\n return x.__class__": "refused",
    "\n return '{0.__class__}'.format(x)": "refused",
    "\n return getattr(x,'real')": "refused",
    "\n print('[0, true, \"passed\"]')": "refused",
    "\n import os": "refused",
    "\n raise SystemExit": "refused",
}


@pytest.mark.parametrize(("body", "named"), HOSTILE.items())
def test_hostile_samples_fail_for_a_counted_reason(body: str, named: str) -> None:
    found = verdict(body)
    assert not found.passed and named in found.reason


def test_memory_is_bounded_even_inside_one_call() -> None:
    assert verdict("\n return len('a'.rjust(8*10**9))").reason == "MemoryError"


def test_a_sample_that_ends_the_process_fails_alone() -> None:
    # Comparing nested equal lists takes 2^60 steps inside one C call that nothing counts.
    endless = "\n a=[];b=[]\n for i in range(60): a=[a,a];b=[b,b]\n return a==b"
    bodies = [GOOD, endless, "\n return x+1 ", endless + " ", "\n return  x+1"]
    found = grade_batch([item(body) for body in bodies], limits=Limits(cpu_seconds=0.3))
    assert [v.passed for v in found] == [True, False, True, False, True]
    assert found[1].reason == "more than 0.3 s of processor time"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT])
def test_requests_to_stop_are_not_for_the_grading_process(number: signal.Signals) -> None:
    with Worker(Limits()) as worker:
        (first,) = worker.grade([request(item(GOOD))])
        process = worker._process
        assert first.passed and process is not None
        process.send_signal(number)
        (second,) = worker.grade([request(item(GOOD))])
        assert second.passed and worker._process is process


def test_a_kill_from_outside_is_not_a_samples_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "\n for i in range(9999): pass\n return x+1"
    requests = [request(item(slow + " " * n)) for n in range(100)]
    with Worker(Limits()) as worker:
        assert all(v.passed for v in worker.grade(requests[:1]))
        for _ in range(2):
            assert worker._process is not None
            worker._process.kill()
            assert all(v.passed for v in worker.grade(requests))
        started = worker._started

        def doomed() -> object:
            process = started()
            process.send_signal(signal.SIGHUP)
            return process

        monkeypatch.setattr(worker, "_started", doomed)
        with pytest.raises(RuntimeError, match="killed from outside 3 times"):
            worker.grade(requests)


def test_a_sample_at_which_sigkill_always_comes_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = [request(item(body)) for body in (GOOD, "\n return x+1 #big", GOOD + " ")]
    replies = Worker._replies

    def short_of_memory(worker: Worker, process: Any, batch: Any) -> list[Verdict]:
        if "#big" in batch[0]["source"]:
            process.kill()
        return replies(worker, process, batch[:1])

    monkeypatch.setattr(Worker, "_replies", short_of_memory)
    with Worker(Limits()) as worker:
        found = worker.grade(requests)
    assert [v.passed for v in found] == [True, False, True]
    assert found[1].reason.startswith("killed from outside 3 times by SIGKILL")


def test_wall_time_is_the_last_resort_and_says_so() -> None:
    endless = "\n a=[];b=[]\n for i in range(60): a=[a,a];b=[b,b]\n return a==b"
    found = verdict(endless, limits=Limits(cpu_seconds=60, wall_seconds=1))
    assert not found.passed and found.reason.startswith("last resort")


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    spoil = "\n return x+1\nlen=lambda v: 7\nabs=len\nsecret=3\ndef sorted(v): return 0"
    look = "\n return [len([]),abs(-x),sorted([x])]"
    found = grade_batch([item(spoil), item(look, ((1, [0, 1, [1]]),)), item("\n return secret")])
    assert [v.passed for v in found] == [True, True, False]


def test_inputs_changed_by_a_sample_are_its_own() -> None:
    tests = (([1, 2], [1, 2, 3]), ([], [3]))
    clear = "\n x.append(3)\n return x"
    assert [v.passed for v in grade_batch([item(clear, tests), item(clear + " ", tests)])] == [
        *(True, True)
    ]


def test_the_step_budget_is_exact() -> None:
    loop = "\n for i in range(x): pass\n return x"
    # One step to enter the function and one for each turn.
    assert verdict(loop, ((99, 99),), Limits(steps=100)).passed
    assert not verdict(loop, ((100, 100),), Limits(steps=100)).passed


def test_instrumented_code_means_what_it_meant() -> None:
    body = (
        "\n y=x=list(x)\n x+=[4]\n x[0]+=10\n x[1:2]+=[7]\n z=3\n z-=1\n z**=2\n s='a'\n s*=2"
        "\n return [y,z,s+'b',7%4,1<<3,f'{z}',max(v for v in x if v<9),(lambda v:v*2)(4)]"
    )
    want = [[11, 2, 7, 3, 4], 4, "aab", 3, 8, "4", 7, 8]
    assert verdict(body, (([1, 2, 3], want),)) == Verdict(True)


def test_keywords_reach_builtins_and_methods() -> None:
    body = "\n x.sort(key=lambda v:-v)\n return [x,max([],default=3),len(dict(function=1,owner=2))]"
    assert verdict(body, (([1, 2], [[2, 1], 3, 2]),)) == Verdict(True)


def test_asserts_and_check_functions() -> None:
    assert verdict(GOOD, "assert f(1)==2\nassert f(-1)==0").passed
    assert verdict(GOOD, "assert f(1)==3").reason == "AssertionError"
    assert verdict(GOOD, "def check(candidate):\n assert candidate(1)==2").passed
    assert not verdict(GOOD, "def check(candidate):\n assert candidate(1)==3").passed
    assert verdict(GOOD, "import os").reason.startswith("tests: refused")


def test_a_sample_cannot_replace_what_the_tests_use() -> None:
    body = "\n return [9]\ndef check(g): return 0\nall=lambda v: True\nlen=all"
    assert not verdict(body, "def check(g):\n assert all([len(g(1))==3])").passed
    assert not verdict(body, "assert len(f(1))==3").passed


def test_identical_samples_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    grade = Worker.grade

    def counted(self: Worker, requests: list[dict[str, object]]) -> list[Verdict]:
        seen.append(len(requests))
        return grade(self, requests)

    monkeypatch.setattr(Worker, "grade", counted)
    found = grade_batch([item(GOOD), item("\n return x"), item(GOOD)] * 10)
    assert seen == [2] and [v.passed for v in found] == [True, False, True] * 10


def test_hundreds_are_graded_a_second_even_on_a_busy_machine() -> None:
    # About 4,000 a second on a free core; the bound only catches a process for each sample.
    items = [item(f"\n y=x+{i}\n return y+1-{i}") for i in range(1500)]
    start = time.process_time()
    with Worker(Limits()) as worker:
        found = worker.grade([request(one) for one in items])
    assert all(v.passed for v in found)
    assert time.process_time() - start < 1.5


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="sandbox='none'"):
        grade_batch([], sandbox="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps=0"):
        Limits(steps=0)
    assert grade_batch([]) == []
