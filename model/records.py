"""Strict JSON for frozen dataclasses, content hashes, and files that appear whole or not at all.

Every artefact of a run is a plain file. A dataclass is its schema: `to_json` writes it by its
declared types, `from_json` reads it back and refuses unknown keys, missing keys and wrong types by
name. `canonical` is the one text that is hashed, so that equal values have equal identities.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import types
import uuid
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def to_json(obj: Any) -> dict[str, Any]:
    """A dataclass as plain dicts, lists and scalars; whole numbers in float fields become floats.

    Raises ValueError on a float that is not finite: a missing number is None, never NaN.
    """
    if not dataclasses.is_dataclass(obj) or isinstance(obj, type):
        raise ValueError(f"to_json takes a dataclass instance, got {type(obj).__name__}")
    hints = _hints(type(obj))
    return {
        field.name: _plain(getattr(obj, field.name), hints[field.name], field.name)
        for field in dataclasses.fields(obj)
    }


def from_json(cls: type[T], data: Any, where: str = "spec.json") -> T:
    """The `cls` that `data` describes; a field with a default may be missing.

    Raises ValueError that starts with `where` and names the key and what is allowed.
    """
    result: T = _read_dataclass(cls, data, where, "")
    return result


def canonical(obj: Any) -> str:
    """JSON with sorted keys and no spaces, of a dataclass or of plain values."""
    plain = to_json(obj) if dataclasses.is_dataclass(obj) else _plain(obj, Any, "value")
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def content_hash(obj: Any, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of `canonical(obj)`."""
    if not 1 <= length <= 64:
        raise ValueError(f"length must lie in 1..64, got {length}")
    return hashlib.sha256(canonical(obj).encode()).hexdigest()[:length]


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` so that `path` holds either the old content or the new, even after a crash.

    The temporary file lies beside `path` and is removed when writing fails (OSError is passed on).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"  # pids are a host's own
    payload = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say where
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """The JSON value in `path`; ValueError naming the path where it is no JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def _plain(value: Any, kind: Any, key: str) -> Any:
    """`value` as JSON, steered by its declared type `kind` where there is one."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, Mapping):
        inner = _argument(kind, 1)
        return {str(name): _plain(item, inner, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item, _element(kind, at), f"{key}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"'{key}' is {value}; only finite numbers can be saved")
    if isinstance(value, int) and not isinstance(value, bool) and float in _arms(kind):
        return value if int in _arms(kind) else float(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"'{key}' is a {type(value).__name__}, which JSON cannot hold")


def _argument(kind: Any, at: int) -> Any:
    """The `at`-th type argument of the arm of `kind` that has so many, or Any."""
    for arm in _arms(kind):
        arguments = get_args(arm)
        if len(arguments) > at:
            return arguments[at]
    return Any


def _element(kind: Any, at: int) -> Any:
    """The declared type of element `at` of a tuple or list type."""
    for arm in _arms(kind):
        arguments = get_args(arm)
        if get_origin(arm) is list or (len(arguments) == 2 and arguments[1] is Ellipsis):
            return arguments[0]
        if len(arguments) > at:
            return arguments[at]
    return Any


def _arms(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _read_dataclass(cls: Any, data: Any, where: str, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise _wrong(where, path or cls.__name__, "a table of keys", data)
    hints = _hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    prefix = f"{path}." if path else ""
    for key in data:
        if key not in fields:
            allowed = ", ".join(fields)
            raise ValueError(f"{where}: unknown key '{prefix}{key}'; allowed: {allowed}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _read(hints[name], data[name], where, prefix + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: missing key '{prefix}{name}'")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {path + ': ' if path else ''}{error}") from error


def _read(kind: Any, data: Any, where: str, path: str) -> Any:
    """`data` checked against the declared type `kind`."""
    origin = get_origin(kind)
    if kind is Any:
        return data
    if origin in (Union, types.UnionType):
        return _read_union(kind, data, where, path)
    if origin is Literal:
        for choice in get_args(kind):
            if type(choice) is type(data) and choice == data:
                return data
        raise _wrong(where, path, "one of " + ", ".join(map(repr, get_args(kind))), data)
    if origin in (tuple, list):
        return _read_sequence(kind, data, where, path)
    if origin in (dict, Mapping):
        if not isinstance(data, Mapping):
            raise _wrong(where, path, "a table of keys", data)
        inner = get_args(kind)[1]
        return {key: _read(inner, item, where, f"{path}.{key}") for key, item in data.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        for member in kind:
            if member.value == data:
                return member
        raise _wrong(where, path, "one of " + ", ".join(repr(m.value) for m in kind), data)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, data, where, path)
    return _read_scalar(kind, data, where, path)


def _read_union(kind: Any, data: Any, where: str, path: str) -> Any:
    arms = get_args(kind)
    if data is None and type(None) in arms:
        return None
    solid = [arm for arm in arms if arm is not type(None)]
    if len(solid) == 1:
        return _read(solid[0], data, where, path)
    for arm in solid:
        with contextlib.suppress(ValueError):
            return _read(arm, data, where, path)
    raise _wrong(where, path, " or ".join(_WORDS.get(arm, str(arm)) for arm in solid), data)


def _read_sequence(kind: Any, data: Any, where: str, path: str) -> Any:
    if not isinstance(data, (list, tuple)):
        raise _wrong(where, path, "a list", data)
    arguments, container = get_args(kind), get_origin(kind)
    fixed = container is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis)
    if fixed and len(arguments) != len(data):
        raise _wrong(where, path, f"a list of {len(arguments)}", data)
    return container(
        _read(arguments[at] if fixed else arguments[0], item, where, f"{path}[{at}]")
        for at, item in enumerate(data)
    )


def _read_scalar(kind: Any, data: Any, where: str, path: str) -> Any:
    if kind not in _WORDS:
        raise TypeError(f"{where}: field '{path}' has the type {kind}, which is not supported")
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        data = float(data)
    if type(data) is not kind or (kind is float and not math.isfinite(data)):
        raise _wrong(where, path, _WORDS[kind], data)
    return data


def _wrong(where: str, path: str, wanted: str, data: Any) -> ValueError:
    return ValueError(f"{where}: '{path}' must be {wanted}, got {data!r} ({type(data).__name__})")
