"""A Slurm that only pretends: clients that note how they are called and answer what a test says."""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# One script for sbatch, squeue, sacct, scontrol, scancel, sacctmgr: it appends its words to `calls`
# and prints the file named after it. sbatch numbers its jobs and refuses those in `refuse`; its
# `--test-only` is noted as a client of that name, and says what stands in `objection`.
CLIENT = """#!{python}
import json, os, sys
from pathlib import Path
here, name = Path(__file__).parent, Path(sys.argv[0]).name
words = sys.argv[1:]
theirs = ("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_")
if "--test-only" in words:
    name = "test-only"
foreign = sorted(name for name in os.environ if name.startswith(theirs))
with (here / "calls").open("a") as file:
    file.write(json.dumps([name, *words]) + "\\n")
(here / (name + ".environment")).write_text(json.dumps(foreign))
if name == "test-only":
    sys.exit((here / "objection").read_text() or 0)
elif name == "sbatch":
    number = int((here / "next").read_text())
    if str(number) in (here / "refuse").read_text().split():
        sys.exit("sbatch: error: AssocMaxSubmitJobLimit")
    (here / "next").write_text(str(number + 1))
    print("Submitted batch job", number)
else:
    answer = here / (name + ".txt")
    if not answer.exists():
        sys.exit(name + ": error: Unable to contact slurm controller")
    print(answer.read_text(), end="")
"""
CLIENTS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sacctmgr")


@dataclass(frozen=True)
class FakeSlurm:
    """The pretended clients: what they were called with, and what they answer."""

    place: Path

    def answer(self, client: str, text: str) -> None:
        (self.place / f"{client}.txt").write_text(text)

    def silence(self, client: str) -> None:
        (self.place / f"{client}.txt").unlink()

    def refuse(self, *numbers: int) -> None:
        (self.place / "refuse").write_text(" ".join(map(str, numbers)))

    def object(self, words: str) -> None:
        (self.place / "objection").write_text(words)

    def calls(self, client: str) -> list[list[str]]:
        lines = (self.place / "calls").read_text().splitlines()
        return [words[1:] for words in map(json.loads, lines) if words[0] == client]

    def environment(self, client: str) -> list[str]:
        """Slurm's variables that its last call saw."""
        names: list[str] = json.loads((self.place / f"{client}.environment").read_text())
        return names

    def forget_calls(self) -> None:
        (self.place / "calls").write_text("")


def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Clients with an empty queue, first on the PATH."""
    place = tmp_path / "slurm-clients"
    place.mkdir()
    for name in CLIENTS:
        path = place / name
        path.write_text(CLIENT.format(python=sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (place / "next").write_text("1")
    (place / "refuse").write_text("")
    (place / "objection").write_text("")
    (place / "calls").write_text("")
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    fake = FakeSlurm(place)
    fake.answer("squeue", "")
    fake.answer("sacct", "")
    fake.answer("scontrol", "MaxArraySize            = 1001\n")
    fake.answer("scancel", "")
    fake.answer("sacctmgr", "")
    return fake
