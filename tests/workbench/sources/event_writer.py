"""Event files for tests: the bytes that torch, tensorboardX and TensorFlow write for scalars."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path


def crc32c(data: bytes) -> int:
    """Bit by bit, as RFC 3720 defines it; the project's own uses a table."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(payload: bytes) -> bytes:
    def check(data: bytes) -> bytes:
        crc = crc32c(data)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    head = struct.pack("<Q", len(payload))
    return head + check(head) + payload + check(payload)


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while True:
        value, byte = value >> 7, value & 0x7F
        out += bytes([byte | (0x80 if value else 0)])
        if not value:
            return out


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def chunk(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def single(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def event(step: int, *values: bytes) -> bytes:
    return double(1, 1.7e9) + number(2, step) + chunk(5, b"".join(chunk(1, v) for v in values))


def scalar(tag: str, value: float) -> bytes:
    """A Value as torch and tensorboardX write it."""
    return chunk(1, tag.encode()) + single(2, value)


def tensor(tag: str, value: float, *, packed: bool = False, plugin: str = "scalars") -> bytes:
    """A Value as TensorFlow 2 writes it: a tensor of one float, with its plugin's name."""
    content = chunk(4, struct.pack("<f", value))
    if packed:
        content = chunk(5, struct.pack("<f", value))
    body = number(1, 1) + chunk(2, b"") + content
    return chunk(1, tag.encode()) + chunk(9, chunk(1, chunk(1, plugin.encode()))) + chunk(8, body)


def hparams(values: Mapping[str, float | str | bool]) -> bytes:
    """The Value in which torch's add_hparams keeps the hyperparameters."""
    entries = b""
    for name, value in values.items():
        if isinstance(value, bool):
            held = number(4, int(value))
        elif isinstance(value, str):
            held = chunk(3, value.encode())
        else:
            held = double(2, float(value))
        entries += chunk(1, chunk(1, name.encode()) + chunk(2, held))
    content = chunk(3, entries)  # session_start_info
    plugin = chunk(1, b"hparams") + chunk(2, content)
    return chunk(1, b"_hparams_/session_start_info") + chunk(9, chunk(1, plugin))


def write_events(
    folder: Path,
    curves: Mapping[str, Sequence[tuple[int, float]]],
    *,
    stamp: int = 1_700_000_000,
    facts: Mapping[str, float | str | bool] | None = None,
) -> Path:
    """One event file of a run: the version, the hyperparameters, then the scalars step by step."""
    payloads = [double(1, 1.7e9) + chunk(3, b"brain.Event:2")]
    if facts:
        payloads.append(event(0, hparams(facts)))
    points = [(step, tag, value) for tag, points in curves.items() for step, value in points]
    for step, tag, value in sorted(points, key=lambda point: point[0]):
        payloads.append(event(step, scalar(tag, value)))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{stamp}.host.1.0"
    path.write_bytes(b"".join(map(record, payloads)))
    return path
