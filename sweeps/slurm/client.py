"""How Slurm's own commands are called: all in one environment, so that they see one queue.

Variables such as SQUEUE_PARTITION would hide jobs from us, those of a job that submits would shape
the jobs submitted, and SBATCH_JOB_NAME would take away the name that a job is found by. What names
the cluster is kept.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

FOREIGN = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")
KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"}
CLUSTERS = "SLURM_CLUSTERS"  # a user's choice; a job speaks to the cluster that it is in


def foreign(environment: Mapping[str, str]) -> list[str]:
    """The variables that no command of Slurm may see."""
    kept = KEPT if "SLURM_JOB_ID" in environment else KEPT | {CLUSTERS}
    return [name for name in environment if name.startswith(FOREIGN) and name not in kept]


def call(*words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """What a command of Slurm answers; OSError or TimeoutExpired where it does not."""
    hidden = foreign(os.environ)
    own = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        words, env=own, capture_output=True, text=True, timeout=timeout, check=False
    )
