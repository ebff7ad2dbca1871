"""How much the cluster lets one account submit, as far as it tells."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from dataclasses import dataclass

from sweeps.slurm.client import call
from sweeps.slurm.profile import Resources

DEFAULT_MAX_ARRAY = 1001  # Slurm's own
TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Read from the cluster, or Slurm's defaults where it cannot be asked."""

    max_array: int = DEFAULT_MAX_ARRAY  # jobs of an array
    room: int | None = None  # jobs that may still be added to the queue; None: no limit known
    cluster: str = ""  # its name
    source: str = "Slurm's default"


def read_limits(resources: Resources) -> Limits:
    """The limits that hold for jobs of these resources; never raises for what Slurm does."""
    config = _output(["scontrol", "show", "config"])
    if config is None:
        return Limits()
    allowed = max_submit(_associations(), _qos(), resources)
    room = None if allowed is None else allowed - _queued()
    return Limits(
        max_array=max_array(config),
        room=room,
        cluster=cluster_name(config),
        source="read from the cluster",
    )


def max_array(config: str) -> int:
    """Most jobs of an array: MaxArraySize of `scontrol show config`."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    return int(found.group(1)) if found else DEFAULT_MAX_ARRAY


def cluster_name(config: str) -> str:
    """ClusterName of `scontrol show config`; empty where it is not there."""
    found = re.search(r"^ClusterName\s*=\s*(\S+)", config, re.MULTILINE)
    return found.group(1) if found else ""


def max_submit(associations: str, qos: str, resources: Resources) -> int | None:
    """The least of the limits on submitted jobs that hold; None where there is none.

    `associations`: lines Account|Partition|DefaultQOS|MaxSubmit|GrpSubmit; `qos`: lines
    Name|MaxSubmitPerUser|GrpSubmit|MaxSubmitPerAccount.
    """
    limits, used = [], {resources.qos} if resources.qos else set()
    for line in associations.splitlines():
        account, partition, default, *numbers = [*line.split("|"), "", "", ""]
        if resources.account and account != resources.account:
            continue
        if partition and resources.partition and partition != resources.partition:
            continue
        if not resources.qos and default:
            used.add(default)
        limits += [int(number) for number in numbers if number.isdigit()]
    for line in qos.splitlines():
        name, *numbers = line.split("|")
        if name in used:
            limits += [int(number) for number in numbers if number.isdigit()]
    return min(limits, default=None)


def _associations() -> str:
    columns = "format=Account,Partition,DefaultQOS,MaxSubmit,GrpSubmit"
    who = f"user={getpass.getuser()}"
    return _output(["sacctmgr", "-n", "-P", "show", "assoc", who, columns]) or ""


def _qos() -> str:
    columns = "format=Name,MaxSubmitPU,GrpSubmit,MaxSubmitPA"
    return _output(["sacctmgr", "-n", "-P", "show", "qos", columns]) or ""


def _queued() -> int:
    """Jobs of this user in the queue, each job of an array counted."""
    return len((_output(["squeue", "--me", "--noheader", "--array", "-o", "%i"]) or "").split())


def _output(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = call(*command, timeout=TIMEOUT_SECONDS)
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout if done.returncode == 0 else None
