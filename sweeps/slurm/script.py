"""The sbatch script of a job, written and submitted by submitit; the only file that imports it.

Of submitit, the writer of scripts and the caller of sbatch are used. Jobs run plain commands: no
pickle goes in, no result file comes out, and no job state is asked of it.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.slurm.arrays import Array
from sweeps.slurm.client import foreign
from sweeps.slurm.profile import Profile, Resources
from sweeps.slurm.ranks import SRUN
from sweeps.slurm.submission import CODE_FOLDER, JOBS_FOLDER

ENTRY = "sweeps.slurm.entry"
# Where the profile leaves these open, a user's own SBATCH_ACCOUNT and so on hold.
USUAL = ("account", "partition", "qos", "constraint", "reservation")


class SubmissionFailed(RuntimeError):
    """sbatch refused; the message has its words, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sbatch."""

    name: str
    place: Path  # the submission's folder, absolute
    module: str  # whose main() is called, by sweeps.slurm.entry
    words: tuple[str, ...]  # its arguments
    resources: Resources
    tasks: int = 0  # jobs of the array; 0: no array
    throttle: int = 1
    dependency: str | None = None


def training_request(array: Array, name: str, place: Path, module: str, *words: str) -> Request:
    """The request for an array of training jobs."""
    return Request(
        name=name,
        place=place,
        module=module,
        words=words,
        resources=array.resources,
        tasks=len(array.tasks),
        throttle=array.throttle,
    )


def script_text(request: Request, profile: Profile) -> str:
    """The script, to the letter. Raises ImportError without submitit."""
    text: str = _executor(request, profile)._make_submission_file_text(
        _command(request, profile), ""
    )
    return text


def sbatch(request: Request, profile: Profile) -> str:
    """Submit, and return the id of the job or array; SubmissionFailed where it is refused."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = _executor(request, profile)
    executor.folder.mkdir(parents=True, exist_ok=True)
    try:
        job_id: str = executor._submit_command(_command(request, profile)).job_id
    except (FailedJobError, FailedSubmissionError) as error:
        told = [line for line in str(error).splitlines() if "error:" in line] or [str(error)]
        raise SubmissionFailed(
            f"sbatch refused {request.name}: {told[-1].strip()}\n"
            "correct the profile (partition, account, qos, limits); what was submitted before it "
            "stays, and the same command again adds the rest"
        ) from error
    finally:
        for link in executor.folder.glob(".submission_file_*.sh"):
            link.unlink(missing_ok=True)
    return job_id


def refusal(request: Request, profile: Profile) -> str:
    """Why sbatch would not take the job now, in its words; empty where it would, or is silent."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.sh"
        path.write_text(script_text(request, profile), encoding="utf-8")
        *client, script = _executor(request, profile)._make_submission_command(path)
        try:
            done = subprocess.run(
                [*client, "--test-only", script], capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
    if done.returncode == 0:
        return ""
    told = re.findall(r"^(?:sbatch: )?(?:error|allocation failure): *(.+)", done.stderr, re.M)
    return (told or done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]


def _command(request: Request, profile: Profile) -> str:
    python = profile.python or shlex.quote(sys.executable)
    return f"{python} -u -m {ENTRY} {request.module} {shlex.join(request.words)}"


def _executor(request: Request, profile: Profile) -> Any:
    import submitit

    class Executor(submitit.SlurmExecutor):
        """Also writes scripts where there is no Slurm, and submits from within a job."""

        @classmethod
        def affinity(cls) -> int:
            return 2

        def _make_submission_file_text(self, command: str, uid: str) -> str:
            text: str = super()._make_submission_file_text(command, uid)
            if request.tasks:
                return text
            return re.sub(r"#SBATCH --signal=.*\n", "", text)  # nothing to save: it hears none

        def _make_submission_command(self, submission_file_path: Path) -> list[str]:
            hidden = (name for name in foreign(os.environ) if name not in usual)
            words = (word for name in hidden for word in ("-u", name))
            return ["env", *words, "sbatch", str(submission_file_path)]

    parameters = _parameters(request, profile)
    named = {*parameters, *profile.sbatch}
    usual = {f"SBATCH_{name.upper()}" for name in USUAL if name not in named}
    executor = Executor(request.place / JOBS_FOLDER)
    executor.update_parameters(**parameters)
    if request.tasks:
        executor.parameters["map_count"] = request.tasks
    return executor


def _parameters(request: Request, profile: Profile) -> dict[str, Any]:
    resources, code = request.resources, request.place / CODE_FOLDER
    gpus = f"{resources.gpu_type}:{resources.gpus}" if resources.gpu_type else resources.gpus
    more = {"requeue": True, "chdir": str(code), **profile.sbatch}
    if request.dependency:
        more["kill-on-invalid-dep"] = "yes"
    wanted = {
        "job_name": request.name,
        "account": resources.account,
        "partition": resources.partition,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "time": math.ceil(resources.seconds / 60),
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus_per_task,
        "gpus_per_node": gpus or None,
        "mem": resources.memory,
        "dependency": request.dependency,
        "signal_delay_s": profile.signal_seconds,
        "array_parallelism": request.throttle,
        "setup": [f"export PYTHONPATH={shlex.quote(str(code))}", *profile.setup],
        "srun_args": _srun(resources, profile.srun),
        "stderr_to_stdout": True,
        "additional_parameters": more,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return {**given, "wckey": None}  # submitit's own key, which a site may not know


def _srun(resources: Resources, own: Sequence[str]) -> list[str]:
    """srun no longer takes the number of CPUs from sbatch (22.05), so it is told again."""
    together = SRUN if resources.tasks > 1 else ()
    return [f"--cpus-per-task={resources.cpus_per_task}", *together, *own]
