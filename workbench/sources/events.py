"""Scalars and hyperparameters out of one TensorBoard event file, without TensorBoard.

An event file is a TFRecord file of protobuf messages. Only these fields are read (number, name):

    Event    1 wall_time, 2 step, 5 summary          Summary  1 value (repeated)
    Value    1 tag, 2 simple_value, 8 tensor, 9 metadata
    Tensor   1 dtype, 4 tensor_content, 5 float_val, 6 double_val
    metadata 1 plugin_data: 1 plugin_name, 2 content

torch and tensorboardX write a scalar as `simple_value`, TensorFlow 2 as a tensor of one element.
The hyperparameters are those of the HParams dashboard (`add_hparams`). All else is passed over.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.sources.tfrecords import read_records

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf wire types
FLOAT, DOUBLE = 1, 2  # TensorFlow's numbers for element types
SINGLE, PAIR = struct.Struct("<f"), struct.Struct("<d")
HPARAMS = "_hparams_/session_start_info"
SCALARS = ("", "scalars")  # a tensor of another plugin (text, images, curves) is no scalar

Points = list[tuple[int, float]]  # step, value, in the order of writing


@dataclass(frozen=True, slots=True)
class EventFile:
    """What one event file says of a run."""

    points: dict[str, Points] = field(default_factory=dict)  # by tag
    hparams: dict[str, str] = field(default_factory=dict)
    cut: int = 0  # bytes of an unfinished record at the end


def read_event_file(path: Path) -> EventFile:
    """The scalars of every tag; InputError naming the byte where the file is damaged."""
    records = read_records(path)
    found = EventFile(cut=records.cut)
    for record in records.records:
        try:
            taken = _read_event(record.payload, found)
        except (ValueError, IndexError, struct.error) as error:
            raise InputError(
                f"{path}: the record at byte {record.offset} is no TensorBoard event ({error})",
                "is it an event file? other TFRecord files hold no scalars",
            ) from error
        if taken:
            records.verify(record)
    return found


def _read_event(payload: bytes, into: EventFile) -> bool:
    """Add what the event holds; whether it held anything."""
    step, taken = 0, False
    summaries = []
    for number, value in _fields(payload):
        if number == 2:
            step = value - (1 << 64) if value >= 1 << 63 else value
        elif number == 5:
            summaries.append(value)
    for summary in summaries:
        for number, value in _fields(summary):
            if number == 1:
                taken |= _read_value(value, step, into)
    return taken


def _read_value(data: bytes, step: int, into: EventFile) -> bool:
    tag, plugin, content = "", "", b""
    scalar: float | None = None
    tensor: bytes | None = None
    for number, value in _fields(data):
        if number == 1:
            tag = value.decode()
        elif number == 2:
            scalar = SINGLE.unpack(value)[0]
        elif number == 8:
            tensor = value
        elif number == 9:
            plugin, content = _plugin(value)
    if tag == HPARAMS:
        into.hparams.update(_hparams(content))
        return True
    if scalar is None and tensor is not None and plugin in SCALARS:
        scalar = _scalar_of(tensor)
    if scalar is None:
        return False
    into.points.setdefault(tag, []).append((step, scalar))
    return True


def _scalar_of(tensor: bytes) -> float | None:
    """The element of a tensor of one float, None for any other."""
    kind, content = 0, b""
    for number, value in _fields(tensor):
        if number == 1:
            kind = value
        elif number in (4, 5, 6):  # as raw bytes, or as a list of floats or doubles
            content = value
    if kind == FLOAT and len(content) == 4:
        return float(SINGLE.unpack(content)[0])
    if kind == DOUBLE and len(content) == 8:
        return float(PAIR.unpack(content)[0])
    return None


def _plugin(metadata: bytes) -> tuple[str, bytes]:
    name, content = "", b""
    for number, value in _fields(metadata):
        if number == 1:
            for inner, part in _fields(value):
                if inner == 1:
                    name = part.decode()
                elif inner == 2:
                    content = part
    return name, content


def _hparams(content: bytes) -> dict[str, str]:
    """Names and values of the HParams plugin's session_start_info (3), whose map is field 1."""
    found = {}
    for number, start in _fields(content):
        if number != 3:
            continue
        for inner, entry in _fields(start):
            if inner == 1:
                pair = dict(_fields(entry))
                name = pair.get(1, b"").decode()
                found[name] = _text_of(pair.get(2, b""))
    return found


def _text_of(value: bytes) -> str:
    """A protobuf Value (2 number, 3 string, 4 bool) as text; empty for null, lists and maps."""
    for number, content in _fields(value):
        if number == 2:
            return repr(float(PAIR.unpack(content)[0]))
        if number == 3:
            return str(content.decode())
        if number == 4:
            return str(bool(content))
    return ""


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: int for a varint, bytes for all else."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == VARINT:
            value: int | bytes
            value, at = _varint(data, at)
        else:
            if wire == BYTES:
                size, at = _varint(data, at)
            elif wire in (FIXED64, FIXED32):
                size = 8 if wire == FIXED64 else 4
            else:
                raise ValueError(f"wire type {wire}")
            value, at = data[at : at + size], at + size
            if at > end:
                raise ValueError("a field runs past its message")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = data[at]
    if value < 0x80:  # nearly all of them
        return value, at + 1
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
