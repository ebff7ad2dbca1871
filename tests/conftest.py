"""What tests of several rooms need."""

from __future__ import annotations

import errno

import pytest


@pytest.fixture
def no_kernel_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without `flock`, such as Lustre mounted without it."""

    def absent(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", absent)
