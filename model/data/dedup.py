"""Removes text that came before: sentences from prose, long lines from code.

API documentation and source trees repeat themselves (facts of this corpus: a sixth of botocore's
prose). A repeated sentence is learnt by heart and makes a held-out window no test, so each is kept
where it first appears. Order matters, hence documents must come in a fixed order.
"""

import re
from collections.abc import Callable

# A full stop, question or exclamation mark, then the start of another sentence.
_SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z0-9(\[\"'“])")
LONG_LINE = 40  # characters; shorter lines of code (`return self`) repeat legitimately


def prose_filter() -> Callable[[str], str]:
    """A function that keeps the sentences it has not been shown before; paragraphs are lines."""
    seen: set[str] = set()

    def keep_new(text: str) -> str:
        lines = []
        for line in text.split("\n"):
            if not line.strip():
                continue
            fresh = []
            for sentence in _SENTENCE_END.split(line):
                key = sentence.strip()
                if key and key not in seen:
                    seen.add(key)
                    fresh.append(sentence)
            if fresh:
                lines.append(" ".join(fresh))
        return "\n".join(lines)

    return keep_new


def code_filter() -> Callable[[str], str]:
    """A function that drops lines of more than 40 characters it has been shown before."""
    seen: set[str] = set()

    def keep_new(text: str) -> str:
        lines = []
        for line in text.split("\n"):
            key = line.strip()
            if len(key) > LONG_LINE:
                if key in seen:
                    continue
                seen.add(key)
            lines.append(line.rstrip())
        return "\n".join(lines)

    return keep_new


def filter_of(kind: str) -> Callable[[str], str]:
    """The filter for a source of this kind; generated tasks are kept as they are."""
    if kind == "text":
        return prose_filter()
    if kind == "code":
        return code_filter()
    return lambda text: text
