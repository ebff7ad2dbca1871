"""Limits, as scontrol and sacctmgr print them."""

from __future__ import annotations

from sweeps.slurm.limits import DEFAULT_MAX_ARRAY, cluster_name, max_array, max_submit, read_limits
from sweeps.slurm.profile import Resources
from tests.sweeps.slurm.fake import FakeSlurm

CONFIG = "ClusterName     = lab\nMaxArraySize    = 501\nMaxDBDMsgs      = 20024\n"
ASSOCIATIONS = "teamA||normal|40|\nteamB|gpu|normal||300\nteamB|cpu|long|7|\n"
QOS = "normal|100||\nlong|60|50|\n"


def test_array_size_is_read_or_slurms_own() -> None:
    assert max_array(CONFIG) == 501
    assert max_array("nothing of the kind") == DEFAULT_MAX_ARRAY


def test_the_least_limit_that_holds_counts() -> None:
    plain = Resources()
    assert max_submit(ASSOCIATIONS, QOS, plain) == 7  # without a choice, all could hold
    assert max_submit(ASSOCIATIONS, QOS, Resources(account="teamA")) == 40
    assert max_submit(ASSOCIATIONS, QOS, Resources(account="teamB", partition="gpu")) == 100
    assert max_submit(ASSOCIATIONS, QOS, Resources(account="teamA", qos="long")) == 40
    assert max_submit("", "", plain) is None


def test_jobs_in_the_queue_take_room(slurm: FakeSlurm) -> None:
    slurm.answer("scontrol", CONFIG)
    assert read_limits(Resources()).room is None
    slurm.answer("sacctmgr", "teamA||normal|40|\n")
    slurm.answer("squeue", "1_0\n1_1\n2\n")
    found = read_limits(Resources())
    assert (found.max_array, found.room) == (501, 37) and "cluster" in found.source
    assert found.cluster == "lab" and cluster_name("nothing of the kind") == ""
    slurm.silence("scontrol")
    assert read_limits(Resources()).source == "Slurm's default"
