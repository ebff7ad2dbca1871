"""`make bench-slurm`: sweeps on a real Slurm, which is started on this machine and stopped again.

A thousand runs are submitted and looked at while their partition is down; a few tiny ones are
trained, for the time that a job takes beside training. Without Slurm's packages nothing is measured
and the reason is told.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the results file; 0 also where a bound was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    wanted = parser.parse_args(arguments)
    if str(ROOT) not in sys.path:  # where the project is not installed
        sys.path.insert(0, str(ROOT))
    import pytest

    from benchmarks.measured import machine, save, show
    from benchmarks.slurm_jobs import SLOTS, job_rows
    from benchmarks.slurm_queue import queue_rows
    from benchmarks.slurm_trial import Trial
    from model.training.device import device_name, versions
    from tests.slurm.lab import running_lab

    try:
        with (
            running_lab(NODES="1", CPUS=str(SLOTS)) as lab,
            tempfile.TemporaryDirectory(prefix="slurm-bench-") as place,
        ):
            version = lab.client("sinfo", "--version").strip()
            trial = Trial.begin(lab, Path(place))
            rows, trained = job_rows(trial)
            rows = [*queue_rows(trial, trained), *rows]
            lab.empty()
    except pytest.skip.Exception as absent:
        print(f"bench-slurm: {absent}; nothing was measured")
        return 0
    where = machine(device_name("cpu"), slurm=version, versions=versions())
    show(f"sweeps on {version}, a cluster of one node with {SLOTS} cores", rows)
    print(f"written to {save(wanted.results, 'slurm', where, rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
