"""Nothing is lost or doubled on the way into windows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.packing import cut_windows, pack_whole, stream, target_weights

END = 0
DOCUMENTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=30), min_size=1, max_size=40)


@given(DOCUMENTS)
def test_stream_windows_cover_each_target_once(lists: list[list[int]]) -> None:
    documents = [np.array(one, dtype=np.uint16) for one in lists]
    flat, starts = stream(documents, END)
    assert flat.tolist() == [token for one in lists for token in (*one, END)]
    assert [flat[at] for at in starts] == [one[0] for one in lists]
    windows = cut_windows(flat, 4)
    targets = windows[:, 1:].ravel()
    assert targets.tolist() == flat[1 : 1 + targets.size].tolist()
    assert flat.size - 1 - targets.size < 4


@given(DOCUMENTS)
def test_whole_documents(lists: list[list[int]]) -> None:
    documents = [np.array(one, dtype=np.uint16) for one in lists]
    windows, owner, cuts = pack_whole(documents, 15, END)
    found = []
    for row, first in zip(windows.tolist(), owner, strict=True):
        assert row[: len(lists[first])] == lists[first][:16]
        part: list[int] = []
        for token in [*row, END]:
            if token != END:
                part.append(token)
            elif part:
                found.append(part)
                part = []
    assert sorted(found) == sorted(one[:16] for one in lists)
    assert cuts == sum(len(one) + 1 > 16 for one in lists)


def test_padding_weighs_nothing() -> None:
    window = np.array([[5, 6, END, 7, END, END, END]], dtype=np.int64)
    assert target_weights(window, END).tolist() == [[1, 1, 1, 1, 0, 0]]
