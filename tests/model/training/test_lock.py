"""A run folder has one trainer, and a dead one holds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model.training.lock import RunLocked, hold_lock, is_locked

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
        assert is_locked(tmp_path)
        holder.kill()
        holder.wait()
    assert not is_locked(tmp_path)
    with hold_lock(tmp_path):
        assert is_locked(tmp_path)


def test_free_again_after_the_block(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    for _ in range(2):
        with hold_lock(tmp_path):
            pass
