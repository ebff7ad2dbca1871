"""What came before is dropped, what is short stays."""

from model.data.dedup import filter_of


def test_prose_keeps_each_sentence_once() -> None:
    keep = filter_of("text")
    assert (
        keep("One is here. Two is here.\nOne is here. Three.")
        == "One is here. Two is here.\nThree."
    )
    assert keep("Two is here.\n\nFour.") == "Four."


def test_code_drops_long_lines_only() -> None:
    keep = filter_of("code")
    long = "    value = a_function_with_a_long_name(argument, another)"
    assert keep(f"def f():\n{long}\n    return value") == f"def f():\n{long}\n    return value"
    assert keep(f"def g():\n{long}\n    return value") == "def g():\n    return value"


def test_tasks_are_untouched() -> None:
    keep = filter_of("tasks")
    assert [keep("same"), keep("same")] == ["same", "same"]
