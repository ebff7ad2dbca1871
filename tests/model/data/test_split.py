"""Units stay whole, copies stay together, too little text is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.corpus import Document
from model.data.split import split_documents

UNITS = st.lists(st.integers(0, 30), min_size=60, max_size=120)


@settings(max_examples=30)
@given(UNITS, st.integers(0, 3))
def test_no_unit_and_no_text_on_both_sides(units: list[int], seed: int) -> None:
    documents = [
        Document(f"u{unit}", f"text {n // 2 if n % 40 == 0 else n} " * 50)
        for n, unit in enumerate(units)
    ]
    try:
        train, heldout = split_documents(documents, heldout_tokens=1, seed=seed, source="s")
    except ValueError:
        return  # so few units that none is small enough
    assert {d.unit for d in train}.isdisjoint(d.unit for d in heldout)
    assert {d.text for d in train}.isdisjoint(d.text for d in heldout)
    assert len(train) + len(heldout) == len(documents)
    assert heldout


def test_copies_join_units() -> None:
    documents = [Document(f"u{n}", f"{n // 10} " * 100) for n in range(1000)]
    train, heldout = split_documents(documents, heldout_tokens=1, seed=0, source="s")
    assert {d.text for d in train}.isdisjoint(d.text for d in heldout)
    assert 50 <= len(heldout) <= 70  # 5 % of the units


def test_too_little_text() -> None:
    documents = [Document(f"u{n}", "word " * 20) for n in range(50)]
    with pytest.raises(ValueError, match="source s: too little text, 5,000 bytes in 50 units"):
        split_documents(
            [Document(d.unit, d.text[:-5] + f"{n:05}") for n, d in enumerate(documents)],
            heldout_tokens=1000,
            seed=0,
            source="s",
        )
