"""Strict JSON: save then load is identity, and every mistake is named."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.records import canonical, content_hash, from_json, read_json, to_json, write_atomic


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    count: int
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must be at least 0, got {self.count}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    flag: bool
    colour: Colour
    mode: Literal["a", "b"]
    inner: Inner
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (1, "x")
    named: dict[str, float] = field(default_factory=dict)
    parts: dict[str, Inner] = field(default_factory=dict)
    maybe: float | None = None
    deep: Inner | None = None


finite = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, count=st.integers(0, 2**60), share=finite)
outers = st.builds(
    Outer,
    name=st.text(),
    flag=st.booleans(),
    colour=st.sampled_from(Colour),
    mode=st.sampled_from(["a", "b"]),
    inner=inners,
    many=st.lists(inners, max_size=3).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
    named=st.dictionaries(st.text(), finite, max_size=3),
    parts=st.dictionaries(st.text(), inners, max_size=3),
    maybe=st.none() | finite,
    deep=st.none() | inners,
)


@given(outers)
def test_save_then_load_is_identity(value: Outer) -> None:
    assert from_json(Outer, json.loads(canonical(value))) == value


@given(outers, outers)
def test_equal_values_and_only_they_have_equal_hashes(one: Outer, other: Outer) -> None:
    assert (content_hash(one, 64) == content_hash(other, 64)) == (to_json(one) == to_json(other))


def test_whole_number_in_a_float_field_has_the_identity_of_the_float() -> None:
    assert canonical(Inner(count=1, share=2)) == canonical(Inner(count=1, share=2.0))
    assert content_hash({"b": 1, "a": 2}) == content_hash({"a": 2, "b": 1})


def good() -> dict[str, object]:
    return {
        "name": "n",
        "flag": True,
        "colour": "red",
        "mode": "a",
        "inner": {"count": 1},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": 1}, "spec.json: unknown key 'nmae'; allowed: name, flag"),
        ({"inner": {"count": 1, "cuont": 2}}, "unknown key 'inner.cuont'; allowed: count, share"),
        ({"inner": {}}, "missing key 'inner.count'"),
        ({"inner": {"count": True}}, "'inner.count' must be a whole number, got True"),
        ({"inner": {"count": 1.0}}, "'inner.count' must be a whole number, got 1.0"),
        ({"inner": {"count": -1}}, "inner: count must be at least 0, got -1"),
        ({"inner": 3}, "'inner' must be a table of keys, got 3"),
        ({"flag": 1}, "'flag' must be true or false, got 1"),
        ({"name": 1}, "'name' must be text, got 1"),
        ({"colour": "green"}, "'colour' must be one of 'red', 'blue', got 'green'"),
        ({"mode": "c"}, "'mode' must be one of 'a', 'b', got 'c'"),
        ({"maybe": "x"}, "'maybe' must be a number, got 'x'"),
        ({"maybe": float("nan")}, "'maybe' must be a number, got nan"),
        ({"named": {"k": "v"}}, "'named.k' must be a number, got 'v'"),
        ({"many": [{"count": 1}, {"count": "1"}]}, "'many[1].count' must be a whole number"),
        ({"many": {}}, "'many' must be a list"),
        ({"pair": [1]}, "'pair' must be a list of 2"),
        ({"parts": {"p": {}}}, "missing key 'parts.p.count'"),
    ],
)
def test_every_mistake_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_json(Outer, good() | change)
    assert message in str(caught.value)


def test_defaults_may_be_missing_and_integers_serve_as_floats() -> None:
    value = from_json(Outer, good() | {"maybe": 3})
    assert value.maybe == 3.0 and type(value.maybe) is float and value.many == ()


def test_not_finite_cannot_be_saved() -> None:
    with pytest.raises(ValueError, match=r"'share' is inf"):
        to_json(Inner(count=1, share=float("inf")))


def test_write_atomic_keeps_the_old_content_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file.json"
    write_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_writers_of_two_hosts_with_equal_pids_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "file.json", os.replace

    def overlapped(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", real)
        write_atomic(path, "theirs")  # while ours lies ready
        real(source, target)

    monkeypatch.setattr(os, "replace", overlapped)
    write_atomic(path, "ours")
    assert path.read_text() == "ours"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_corrupt_json_names_its_path(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{"a": 1')
    with pytest.raises(ValueError, match=r"broken\.json: not valid JSON"):
        read_json(path)
