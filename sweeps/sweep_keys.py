"""What is wrong with the keys of a sweep file, all of it at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints


def check_keys(cls: type[Any], table: Mapping[str, Any], where: str) -> None:
    """Raise ValueError that starts with `where` and names every unknown and missing key."""
    faults = list(key_faults(cls, table))
    if faults:
        raise ValueError(f"{where}: {'; '.join(faults)}")


def key_faults(cls: type[Any], table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A sentence for each key of `table` that `cls` has not, and each that it needs, at any depth.

    An unknown key comes with the one that it was probably meant to be, else with those allowed.
    """
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = [key for key in table if key not in fields]
    needed = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and name not in table
    ]
    for key in unknown:
        free = [name for name in fields if name not in table]
        close = get_close_matches(key, free, n=1)
        needed = [name for name in needed if name not in close]
        hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(fields)}"
        yield f"unknown key '{prefix}{key}' ({hint})"
    for name in needed:
        yield f"missing key '{prefix}{name}'"
    for name in fields:
        inner, value = _record(hints[name]), table.get(name)
        if inner is None:
            continue
        tables = value if isinstance(value, list) else [value]
        for at, item in enumerate(tables):
            place = f"{name}[{at}]" if isinstance(value, list) else name
            if isinstance(item, Mapping):
                yield from key_faults(inner, item, f"{prefix}{place}.")


def _record(kind: Any) -> type[Any] | None:
    """The dataclass in a type such as `Spec`, `Spec | None` or `tuple[Spec, ...]`."""
    found = [arm for arm in (kind, *get_args(kind)) if dataclasses.is_dataclass(arm)]
    return found[0] if found and isinstance(found[0], type) else None
