"""A tiny sweep in a cluster's queue, and the undisturbed one whose bits it must have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.layout import run_folder
from sweeps.planned import load_plan
from sweeps.slurm import attempts
from sweeps.slurm.attempts import Attempt
from sweeps.slurm.submission import Submission, load_submission, slurm_folder
from sweeps.table import collect, samples
from tests.slurm.lab import Lab
from tests.workbench.test_pipeline import MEASURED
from tests.workbench.tiny import Finished
from workbench import ledger

LONGEST = "r02"  # of the ladder's runs
ENTRIES = ["prediction", "prediction", "target_started", "target_finished"]


@dataclass(frozen=True)
class Trial:
    """One sweep on one cluster."""

    lab: Lab
    sweep: Finished  # not trained yet
    undisturbed: Path  # the folder of the same sweep, trained by the local backend
    profile: Path

    @property
    def folder(self) -> Path:
        return self.sweep.folder

    @property
    def words(self) -> tuple[str | Path, ...]:
        """The command line that submits it."""
        return ("submit", self.sweep.sweep, "--profile", self.profile, "--runs", self.sweep.runs)

    def submit(self) -> Any:
        """Submit what is missing, as a person does."""
        return self.lab.told(*self.words)

    def home(self, name: str = LONGEST) -> Path:
        """The folder of the first run whose name starts so."""
        run = next(run for run in load_plan(self.folder).runs if run.name.startswith(name))
        return run_folder(self.folder, str(run.run_id))

    def submission(self, number: int) -> Submission:
        return load_submission(slurm_folder(self.folder) / f"{number:04d}")

    def submissions(self) -> int:
        return len(list(slurm_folder(self.folder).glob("*/submission.json")))

    def attempts(self, name: str = LONGEST) -> list[Attempt]:
        return attempts.read(self.home(name))

    def states(self) -> set[str]:
        """How the runs stand, as `status` tells."""
        return {run["state"] for run in self.lab.told("status", self.folder)["runs"]}

    def wait_until_it_trains(self, name: str = LONGEST) -> int:
        """Until the run has a line of training; returns its worker's process id."""
        metrics = self.home(name) / "metrics.jsonl"

        def trains() -> bool:
            assert self.lab.queue(), "all jobs have ended"
            return metrics.exists() and b'"train"' in metrics.read_bytes()

        self.lab.wait(trains)
        return int(json.loads((self.home(name) / "heartbeat.json").read_text())["pid"])

    def wait_until_over(self, seconds: float = 300.0) -> None:
        """Until the queue is empty."""
        self.lab.wait(lambda: not self.lab.queue(), seconds)

    def assert_undisturbed(self) -> None:
        """The whole way is gone, and all columns but measured times are equal, exactly."""
        assert self.states() == {"finished"}
        assert_same_bits(self.folder, self.undisturbed)
        entries = ledger.read(self.sweep.ledger).entries
        assert [entry.kind for entry in entries] == ENTRIES
        report = json.loads((self.folder / "report.json").read_text())
        assert report["sealed_before_target"] is True
        assert (self.folder / "report.pdf").read_bytes().startswith(b"%PDF")


def assert_same_bits(folder: Path, expected: Path) -> None:
    """All columns but measured times are equal, exactly."""
    table, other = (collect(place).drop(columns=MEASURED) for place in (folder, expected))
    pd.testing.assert_frame_equal(table, other, check_exact=True)
    pd.testing.assert_frame_equal(samples(folder), samples(expected), check_exact=True)
