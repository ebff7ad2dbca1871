"""TFRecord files, of which TensorBoard's event files are one kind, with their checksums checked.

A record is the payload's length (8 bytes, little endian), a masked CRC-32C of these 8 bytes, the
payload, and a masked CRC-32C of the payload. The mask, a rotation and a sum, keeps a checksum of
data that hold checksums from losing its strength. A writer that was killed leaves the last record
unfinished: what stands before it is whole.

Source: the TFRecord format, tensorflow.org/tutorials/load_data/tfrecord; CRC-32C: RFC 3720, B.4.
"""

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.errors import InputError

POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
MASK_DELTA = 0xA282EAD8
ALL_ONES = 0xFFFFFFFF
HEADER = struct.Struct("<QI")  # length, its checksum
FOOTER = struct.Struct("<I")
LONG = 1 << 16  # bytes; scalars take under 1,000: a longer record is a graph, image or histogram
FEW = 16  # payloads of one length that are checked one by one


class Record(NamedTuple):
    """A payload, where its record begins in the file, and the checksum that it came with."""

    offset: int
    payload: bytes
    check: int


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one file."""

    path: Path
    records: tuple[Record, ...]
    cut: int  # bytes of an unfinished record at the end; 0 for a file that was closed

    def verify(self, record: Record) -> None:
        """Raise InputError unless a long record, not checked on reading, has its checksum."""
        if len(record.payload) > LONG and masked(crc32c(record.payload)) != record.check:
            raise _damaged(self.path, record.offset)


def read_records(path: Path) -> Records:
    """Every whole record; payloads up to LONG bytes are checked, longer ones by `verify`.

    Raises InputError naming the byte of the first record whose checksum does not hold.
    """
    data = path.read_bytes()
    found: list[Record] = []
    at = 0
    while at + HEADER.size <= len(data):
        length, check = HEADER.unpack_from(data, at)
        if masked(crc32c(data[at : at + 8])) != check:
            raise _damaged(path, at)
        start = at + HEADER.size
        end = start + length + FOOTER.size
        if end > len(data):
            break
        found.append(Record(at, data[start : start + length], *FOOTER.unpack_from(data, end - 4)))
        at = end
    _check_payloads(path, [record for record in found if len(record.payload) <= LONG])
    return Records(path, tuple(found), len(data) - at)


def _check_payloads(path: Path, records: list[Record]) -> None:
    """All payloads of one length at a time; the first damaged one in the file is named."""
    by_length: dict[int, list[Record]] = {}
    for record in records:
        by_length.setdefault(len(record.payload), []).append(record)
    damaged = []
    for group in by_length.values():
        sums = crc32c_many([record.payload for record in group])
        for record, value in zip(group, sums.tolist(), strict=True):
            if masked(value) != record.check:
                damaged.append(record.offset)
    if damaged:
        raise _damaged(path, min(damaged))


def _damaged(path: Path, offset: int) -> InputError:
    return InputError(
        f"{path}: the record at byte {offset} does not have its checksum",
        "the file is damaged there: copy it again from where it was written, or take it away",
    )


def masked(crc: int) -> int:
    """The checksum as TFRecord files store it."""
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & ALL_ONES


def crc32c(data: bytes) -> int:
    """CRC-32C of some bytes."""
    table = _table()
    crc = ALL_ONES
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ ALL_ONES


def crc32c_many(payloads: list[bytes]) -> npt.NDArray[np.uint32]:
    """CRC-32C of payloads of one length: a byte of all of them at a time."""
    if len(payloads) < FEW:
        return np.array([crc32c(payload) for payload in payloads], dtype=np.uint32)
    length = len(payloads[0])
    rows = np.frombuffer(b"".join(payloads), dtype=np.uint8).reshape(len(payloads), length)
    table = np.array(_table(), dtype=np.uint32)
    crc = np.full(len(payloads), ALL_ONES, dtype=np.uint32)
    for column in rows.T:
        crc = table[(crc ^ column) & 0xFF] ^ (crc >> 8)
    return crc ^ np.uint32(ALL_ONES)


@cache
def _table() -> tuple[int, ...]:
    """What each byte does to the checksum."""
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
        entries.append(value)
    return tuple(entries)
