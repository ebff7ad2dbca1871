"""What sbatch would refuse is known before anything is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.slurm.profile import Profile
from sweeps.slurm.rehearsal import objections
from tests.sweeps.slurm.fake import FakeSlurm

pytest.importorskip("submitit")
REFUSED = "sbatch: error: invalid partition specified: nope\nallocation failure: Invalid partition"
NO_NODE = "allocation failure: Requested node configuration is not available"


def test_each_shape_is_tried_once_and_nothing_is_submitted(
    tmp_path: Path, profile: Profile, slurm: FakeSlurm
) -> None:
    assert objections(profile, tmp_path / "0001") == []
    assert len(slurm.calls("test-only")) == 3 and slurm.calls("sbatch") == []
    assert not (tmp_path / "0001").exists()
    same = replace(profile, target=None, service=profile.ladder)
    objections(same, tmp_path / "0001")
    assert len(slurm.calls("test-only")) == 4


@pytest.mark.parametrize(
    ("words", "passing", "told"),
    [
        (REFUSED, False, "invalid partition specified: nope"),
        (NO_NODE, True, "Requested node configuration is not available"),
        ("sbatch: unrecognized option '--foo=1'\nTry", False, "sbatch: unrecognized option"),
        ("allocation failure: Job violates accounting/QOS policy (job submit", True, "QOS policy"),
    ],
)
def test_what_would_wait_is_kept_apart_from_what_is_refused(
    tmp_path: Path, profile: Profile, slurm: FakeSlurm, words: str, passing: bool, told: str
) -> None:
    slurm.object(words)
    (found,) = objections(profile, tmp_path)
    assert found.passing == passing and found.kinds == ("ladder", "target", "service")
    assert told in str(found) and "[ladder] and [target] and [service]" in str(found)


@pytest.mark.parametrize(
    "words",
    [
        "allocation failure: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Slurm backup controller in standby mode",
    ],
)
def test_silence_is_no_objection(
    tmp_path: Path, profile: Profile, slurm: FakeSlurm, words: str
) -> None:
    slurm.object(words)
    assert objections(profile, tmp_path) == []
