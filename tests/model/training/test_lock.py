"""A run folder has one trainer, and a dead one holds nothing."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model.training.lock import LOCK_NAME, PATIENCE, RunLocked, hold_lock

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
