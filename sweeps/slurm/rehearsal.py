"""Whether sbatch would take a profile's jobs: `sbatch --test-only`, before anything is made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeps.slurm.profile import Profile, Resources
from sweeps.slurm.script import Request, refusal

# In what sbatch says of jobs that it would let wait, be it for ever: nodes are down or too small,
# a limit is used up. Anything else it refuses.
PASSING = ("not available", "busy", "policy")
# In what it says where the controller does not answer, so that nothing is known.
SILENT = ("Unable to contact", "timed out", "standby", "Zero Bytes", "temporarily unable")


@dataclass(frozen=True, slots=True)
class Objection:
    """What sbatch has against jobs of some tables of a profile."""

    words: str  # sbatch's
    kinds: tuple[str, ...]

    @property
    def passing(self) -> bool:
        """Whether the job would be taken all the same, and wait."""
        return any(part in self.words for part in PASSING)

    def __str__(self) -> str:
        jobs = " and ".join(f"[{kind}]" for kind in self.kinds)
        if self.passing:
            return f"jobs of {jobs} would wait, for ever if that stays so: {self.words}"
        return f"sbatch refuses jobs of {jobs}: {self.words}"


def objections(profile: Profile, place: Path) -> list[Objection]:
    """What sbatch does not like of a profile's jobs; nothing where there is no sbatch.

    `place`: the folder that a submission would have. A plain job is tried: names and sizes
    are looked at, neither arrays nor dependencies.
    """
    if shutil.which("sbatch") is None:
        return []
    shapes: dict[Resources, list[str]] = {}
    kinds: tuple[Literal["ladder", "target", "service"], ...] = ("ladder", "target", "service")
    for kind in kinds:
        shapes.setdefault(profile.resources(kind), []).append(kind)
    found: dict[str, list[str]] = {}
    for resources, named in shapes.items():
        request = Request(
            name="test-only", place=place, module="sys", words=(), resources=resources
        )
        words = refusal(request, profile)
        if words and not any(part in words for part in SILENT):
            found.setdefault(words, []).extend(named)
    return [Objection(words, tuple(named)) for words, named in found.items()]
