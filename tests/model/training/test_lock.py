"""A run folder has one trainer, and a dead one holds nothing."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from model.training import lock as lock_module
from model.training.lock import HEARTBEAT_NAME, LOCK_NAME, PATIENCE, RunLocked, hold_lock

HOLDER = """
import sys, time
from pathlib import Path
from model.training.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_process_refuses_by_name_until_the_first_dies(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        refusal = rf"being trained by process {holder.pid} on"
        with pytest.raises(RunLocked, match=refusal), hold_lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with hold_lock(tmp_path), pytest.raises(RunLocked, match="stop it"), hold_lock(tmp_path):
        pass


def test_a_moments_look_does_not_keep_a_run_out(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).touch()
    with (tmp_path / LOCK_NAME).open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        threading.Timer(PATIENCE / 5, fcntl.flock, (looked_at, fcntl.LOCK_UN)).start()
        with hold_lock(tmp_path):
            pass


def test_free_again_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_lock(tmp_path):
            pass


def beat(folder: Path, host: str, age: float) -> Path:
    """The heartbeat of a process on `host` that last gave a sign of life so long ago."""
    path = folder / HEARTBEAT_NAME
    path.write_text(json.dumps({"host": host, "pid": 7, "token": "theirs"}))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_another_hosts_fresh_heartbeat_holds_and_a_stale_one_is_taken_over(tmp_path: Path) -> None:
    beat(tmp_path, "n7", 20)
    with pytest.raises(RunLocked, match=r"process 7 on n7.* 20 s ago"), hold_lock(tmp_path):
        pass
    path = beat(tmp_path, "n7", 90)
    with hold_lock(tmp_path) as held:
        held.check()
        assert json.loads(path.read_text())["token"] == held.token
    assert not path.exists()
    beat(tmp_path, socket.gethostname(), 0)  # here the kernel lock has told that it is dead
    with hold_lock(tmp_path):
        pass


def test_a_copy_that_was_replaced_finds_out_before_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "BEAT_SECONDS", 0.01)
    with hold_lock(tmp_path) as held:
        held.check(quick=True)
        path = beat(tmp_path, "n8", 0)
        with pytest.raises(RunLocked, match="taken over"):
            held.check()
        with pytest.raises(RunLocked, match="taken over"):
            held.check(quick=True)
    assert json.loads(path.read_text())["token"] == "theirs"  # and is left to its owner


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "BEAT_SECONDS", 0.01)
    with hold_lock(tmp_path):
        path = tmp_path / HEARTBEAT_NAME
        os.utime(path, (0, 0))
        limit = time.monotonic() + 5
        while path.stat().st_mtime == 0:
            assert time.monotonic() < limit
            time.sleep(0.01)
