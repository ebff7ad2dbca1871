"""One process a sweep, and who trains a run, as seen from the folders."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from model.training.lock import hold_lock
from sweeps.lock import SweepBusy, hold, is_held, is_trained


def test_killed_parent_leaves_the_lock_free(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold_forever, args=(folder, ready))
    holder.start()
    assert ready.wait(20) and is_held(folder / "workers.lock")
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    with hold(folder):
        assert is_held(folder / "workers.lock")
    assert not is_held(folder / "workers.lock")


def test_another_hosts_beat_is_seen_by_the_clock_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heartbeat.json").write_text('{"host": "n7", "pid": 7, "token": "theirs"}')
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 90)  # of this host
    assert is_trained(tmp_path)


def test_without_kernel_locks_a_sweep_and_a_run_have_one_process_still(
    tmp_path: Path, no_kernel_locks: None
) -> None:
    with hold(tmp_path, "lock"):
        with pytest.raises(SweepBusy, match=rf"pid {os.getpid()} on"), hold(tmp_path, "lock"):
            pass
        assert not is_trained(tmp_path)  # the heart of the sweep is not that of a run
    with hold_lock(tmp_path):
        assert is_trained(tmp_path)
    assert not is_trained(tmp_path)


def _hold_forever(folder: Path, ready: object) -> None:
    with hold(folder):
        ready.set()  # type: ignore[attr-defined]
        time.sleep(60)
