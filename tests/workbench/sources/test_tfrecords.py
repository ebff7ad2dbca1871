"""Event files byte by byte: known checksums, damage found where it is, other people's encodings."""

from __future__ import annotations

import struct
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workbench.sources.event_writer import (
    chunk,
    double,
    event,
    number,
    record,
    scalar,
    tensor,
    write_events,
)
from workbench.errors import InputError
from workbench.sources.events import read_event_file
from workbench.sources.tfrecords import LONG, crc32c, crc32c_many, masked, read_records

# What torch 2.13 with tensorboard 2.21 wrote: two scalars, one as a tensor; then add_hparams.
TORCH = (
    "SAAAAAAAAAD+kkidCe6s5YDRwNpBGg1icmFpbi5FdmVudDoyUi4KLHRlbnNvcmJvYXJkLnN1bW1hcnkud3JpdGVyLmV2"
    "ZW50X2ZpbGVfd3JpdGVyjqvbEh8AAAAAAAAAUUtEGAkAAAAAZc3NQRBkKhIKEAoJZXZhbC9sb3NzFZqZWUCPnremIAAA"
    "AAAAAAAp7alQCQAAAABlzc1BEMgBKhIKEAoJZXZhbC9sb3NzFTMzU0AfsyKJLwAAAAAAAABtXR1QCQAAAABlzc1BEMgB"
    "KiEKHwoGdGVuc29yQggIASoEAACAPkoLCgkKB3NjYWxhcnP9R43f"
)
TORCH_HPARAMS = (
    "SAAAAAAAAAD+kkidCR/z54DRwNpBGg1icmFpbi5FdmVudDoyUi4KLHRlbnNvcmJvYXJkLnN1bW1hcnkud3JpdGVyLmV2"
    "ZW50X2ZpbGVfd3JpdGVyGpULRVUAAAAAAAAA198PwQnD++eA0cDaQSpKCkgKFF9ocGFyYW1zXy9leHBlcmltZW50SjAK"
    "LgoHaHBhcmFtcxIjEiEiDAoIbl9hY3RpdmUgAyIHCgNvcHQgASIICgR0aWVkIANQ0LTgdQAAAAAAAADX2UF4CUL854DR"
    "wNpBKmoKaAocX2hwYXJhbXNfL3Nlc3Npb25fc3RhcnRfaW5mb0pICkYKB2hwYXJhbXMSOxo5ChEKBHRpZWQSCREAAAAA"
    "AADwPwoNCgNvcHQSBhoEYWRhbQoVCghuX2FjdGl2ZRIJEQAAAEAbX9NBa3oPMjwAAAAAAAAAyLejUglr/OeA0cDaQSox"
    "Ci8KGl9ocGFyYW1zXy9zZXNzaW9uX2VuZF9pbmZvShEKDwoHaHBhcmFtcxIEIgIIAYlsESI="
)
# What tensorboardX 2.6 wrote of the same scalars.
TENSORBOARD_X = (
    "GAAAAAAAAACjf0siCWEJ5oDRwNpBGg1icmFpbi5FdmVudDoyVp9glR8AAAAAAAAAUUtEGAkAAAAAZc3NQRBkKhIKEAoJ"
    "ZXZhbC9sb3NzFZqZWUCPnremIAAAAAAAAAAp7alQCQAAAABlzc1BEMgBKhIKEAoJZXZhbC9sb3NzFTMzU0AfsyKJ"
)


def file_of(folder: Path, *payloads: bytes) -> Path:
    path = folder / "events.out.tfevents.1.host"
    path.write_bytes(b"".join(map(record, payloads)))
    return path


def test_checksums_are_those_of_the_standard() -> None:
    # RFC 3720, B.4: 32 zeros, 32 ones, the numbers 0 to 31; and the usual check word
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    assert masked(0xE3069283) == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40).flatmap(
    lambda size: st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=40)
))  # fmt: skip
def test_many_at_once_have_the_same_checksums(payloads: list[bytes]) -> None:
    assert crc32c_many(payloads).tolist() == [crc32c(payload) for payload in payloads]


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    loss = [(100, float(np.float32(3.4))), (200, float(np.float32(3.3)))]
    path.write_bytes(b64decode(TORCH))
    assert read_event_file(path).points == {"eval/loss": loss, "tensor": [(200, 0.25)]}
    path.write_bytes(b64decode(TENSORBOARD_X))
    assert read_event_file(path).points == {"eval/loss": loss}
    path.write_bytes(b64decode(TORCH_HPARAMS))
    facts = {"n_active": "1300000000.0", "opt": "adam", "tied": "1.0"}
    assert read_event_file(path).hparams == facts


def test_scalars_come_back_in_the_order_of_writing(tmp_path: Path) -> None:
    points = [(step, 4.0 - step / 1000) for step in range(0, 1000, 10)]
    path = write_events(tmp_path, {"eval/loss": points, "lr": [(0, 1e-3), (990, 0.0)]})
    read = read_event_file(path)
    assert [step for step, _ in read.points["eval/loss"]] == [step for step, _ in points]
    assert read.points["eval/loss"][-1] == (990, float(np.float32(3.01)))
    assert read.points["lr"] == [(0, float(np.float32(0.001))), (990, 0.0)]
    assert read.cut == 0


@pytest.mark.parametrize("packed", [False, True])
def test_tensorflow_writes_scalars_as_tensors(tmp_path: Path, packed: bool) -> None:
    text = tensor("config", 1.0, plugin="text")
    path = file_of(tmp_path, event(7, tensor("loss", 3.2, packed=packed), text))
    assert read_event_file(path).points == {"loss": [(7, float(np.float32(3.2)))]}


def test_what_is_no_scalar_is_passed_over(tmp_path: Path) -> None:
    histogram = chunk(1, b"weights") + chunk(5, double(1, -1.0) + double(2, 1.0))
    pair = chunk(1, b"pair") + chunk(8, number(1, 1) + chunk(4, struct.pack("<2f", 1, 2)))
    graph = double(1, 1.0) + chunk(4, b"\x0a" * 50)
    path = file_of(tmp_path, graph, event(3, histogram, pair, scalar("loss", 2.5)))
    assert read_event_file(path).points == {"loss": [(3, 2.5)]}


def test_a_negative_step_is_negative(tmp_path: Path) -> None:
    path = file_of(tmp_path, event(-1, scalar("loss", 2.5)))
    assert read_event_file(path).points == {"loss": [(-1, 2.5)]}


def test_hyperparameters_are_read(tmp_path: Path) -> None:
    facts = {"n_active": 1.3e9, "optimizer": "adam", "tied": True}
    path = write_events(tmp_path, {"loss": [(1, 3.0)]}, facts=facts)
    assert read_event_file(path).hparams == {
        "n_active": "1300000000.0",
        "optimizer": "adam",
        "tied": "True",
    }


@pytest.mark.parametrize("many", [3, 100])  # checked one by one, and all at once
def test_every_damaged_byte_is_found_where_it_is(tmp_path: Path, many: int) -> None:
    path = write_events(tmp_path, {"loss": [(1000 + step, 3.0) for step in range(many)]})
    whole = path.read_bytes()
    starts = [found.offset for found in read_records(path).records]
    begin = starts[2]
    for at in range(begin, starts[3]):
        data = bytearray(whole)
        data[at] ^= 0x10
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"record at byte {begin} does not have its checksum"):
            read_event_file(path)


def test_a_long_record_is_checked_where_it_holds_a_scalar(tmp_path: Path) -> None:
    long = event(1, scalar("loss", 3.0)) + chunk(4, bytes(LONG))
    idle = double(1, 1.0) + chunk(4, bytes(LONG))
    for payload, refused in ((long, True), (idle, False)):
        path = file_of(tmp_path, payload)
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)
        if refused:
            with pytest.raises(InputError, match="byte 0 does not have its checksum"):
                read_event_file(path)
        else:
            assert read_event_file(path).points == {}


def test_a_killed_writer_leaves_what_it_had_written(tmp_path: Path) -> None:
    path = write_events(tmp_path, {"loss": [(1, 3.0), (2, 2.9)]})
    whole = path.read_bytes()
    for lost in (1, 10, 30):
        path.write_bytes(whole[:-lost])
        read = read_event_file(path)
        assert read.points == {"loss": [(1, 3.0)]}
        assert read.cut > 0
    path.write_bytes(b"")
    assert read_event_file(path).points == {}


def test_other_records_are_no_events(tmp_path: Path) -> None:
    for payload in (b"\xff\xff\xff", b"\x0f\x00", chunk(5, b"\x0a\x7f")):
        with pytest.raises(InputError, match="byte 0 is no TensorBoard event"):
            read_event_file(file_of(tmp_path, payload))
