"""Real clusters for the length of the test session, and sweeps to put into their queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.lab import Lab, running_lab
from tests.slurm.trial import Trial
from tests.workbench.conftest import finished, planned  # noqa: F401  (fixtures)
from tests.workbench.tiny import Finished

PROFILE = """
partition = "{partition}"
pack_minutes = 1
signal_seconds = {signal}
stalls = 10
[ladder]
cpus = 2
memory = "1200M"
time = "{time}"
[target]
cpus = 1
memory = "1200M"
time = "{time}"
[service]
memory = "1200M"
time = "0:05:00"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a cluster and takes a tiny sweep the whole way."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The running cluster."""
    with running_lab() as found:
        yield found


@pytest.fixture
def cluster(lab: Lab) -> Iterator[Lab]:
    """The cluster with an empty queue, before and after."""
    lab.empty()
    yield lab
    lab.empty()


@pytest.fixture
def bare_cluster() -> Iterator[Lab]:
    """A cluster of its own, without any accounting."""
    with running_lab(DBD="0", NODES="1") as found:
        yield found


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., Path]:
    """Write a profile for the cluster."""

    def write(partition: str = "main", time: str = "0:05:00", signal: int = 30) -> Path:
        path = tmp_path / "lab.toml"
        path.write_text(PROFILE.format(partition=partition, time=time, signal=signal))
        return path

    return write


@pytest.fixture
def trial(
    cluster: Lab,
    planned: Finished,  # noqa: F811
    finished: Finished,  # noqa: F811
    profile: Callable[..., Path],
) -> Trial:
    """The tiny sweep, planned and not submitted yet."""
    return Trial(cluster, planned, finished.folder, profile())
