"""A run folder has one trainer, and a dead one holds nothing."""

from __future__ import annotations

import errno
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
from model.training.lock import HEARTBEAT_NAME, LOCK_NAME, PATIENCE, RunLocked, hold_lock, living

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
        refusal = rf"being worked on by pid {holder.pid} on"
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
    with pytest.raises(RunLocked, match=r"pid 7 on n7.* 2\d s ago"), hold_lock(tmp_path):
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


def test_without_kernel_locks_the_heartbeat_decides_on_the_own_host_too(
    tmp_path: Path, no_kernel_locks: None
) -> None:
    with hold_lock(tmp_path):
        refusal = rf"pid {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(RunLocked, match=refusal), hold_lock(tmp_path):
            pass
    with hold_lock(tmp_path):
        pass
    beat(tmp_path, socket.gethostname(), 90)  # of one that was killed
    with hold_lock(tmp_path):
        pass


def test_without_kernel_locks_one_of_two_that_looked_at_once_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "try_lock", lambda descriptor: None)
    looked, ended = threading.Barrier(2), threading.Barrier(2)
    found: list[str] = []

    def late(heartbeat: Path, *, own_host: bool) -> str:
        who = living(heartbeat, own_host=own_host)
        if not who:
            looked.wait(10)  # neither writes before both have found nobody
        return who

    def enter() -> None:
        try:
            with hold_lock(tmp_path) as held:
                ended.wait(10)
                held.check()
                found.append("held")
        except RunLocked as refusal:
            found.append(str(refusal))
            ended.wait(10)

    monkeypatch.setattr(lock_module, "living", late)
    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(text == "held" for text in found) == [False, True]
    assert f"being worked on by pid {os.getpid()}" in min(found, key=lambda text: text == "held")


def test_ages_are_told_by_the_file_systems_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, real = beat(tmp_path, "n7", 20), time.time
    for skew in (-3600, 90):
        monkeypatch.setattr(time, "time", lambda skew=skew: real() + skew)
        assert "life 2" in living(fresh, own_host=False)
    assert [entry.name for entry in tmp_path.iterdir()] == [HEARTBEAT_NAME]


def test_a_heartbeat_that_cannot_be_read_for_a_moment_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.read_bytes

    def stale(path: Path) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    with hold_lock(tmp_path) as held:
        path = tmp_path / HEARTBEAT_NAME
        monkeypatch.setattr(Path, "read_bytes", stale)
        held.check()
        assert "cannot be read" in living(path, own_host=False)  # nor is it free for others
        monkeypatch.setattr(Path, "read_bytes", real)
        held.check()
        content = path.read_bytes()
        path.unlink()
        threading.Timer(PATIENCE / 2, path.write_bytes, (content,)).start()
        held.check()  # missing in one look of several
        path.unlink()
        with pytest.raises(RunLocked, match="taken over"):
            held.check()
