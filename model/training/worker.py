"""A process that trains one run after another: `python -m model.training.worker`.

In: one JSON object a line, {"spec": path, "data_folder": path, "run_folder": path, "ledger_head":
text or null}. Out: one JSON object a line, {"run_id", "run_folder", "event", "step", "steps",
"loss", "eta", "message"}, where event is "ready" (once, when everything is imported), "progress",
"done", "failed", "stopped" or "locked" (another process trains it). Importing torch takes seconds,
a tiny run not many more: hence one process for many runs. It ends at the end of its input, and,
with a checkpoint saved, on SIGTERM, SIGINT or SIGUSR2, or when nobody reads its output any more.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import torch

from model.records import from_json, read_json
from model.training.device import keep_freed_memory, peak_flops
from model.training.interruption import Interruption, RunInterrupted, on_signals
from model.training.lock import RunLocked
from model.training.loop import train
from model.training.progress import Progress
from model.training.spec import Execution, RunSpec, model_source_hash, run_id

JOB_KEYS = {"spec", "data_folder", "run_folder", "ledger_head"}
MESSAGE_KEYS = ("run_id", "run_folder", "event", "step", "steps", "loss", "eta", "message")


class Worker:
    """Reads jobs, trains, tells."""

    def __init__(self, out: TextIO, interruption: Interruption) -> None:
        self._out = out
        self._interruption = interruption
        self._peaks: dict[Execution, float] = {}
        self._source = model_source_hash()
        self._parent = os.getppid()

    def serve(self, lines: TextIO) -> int:
        """Do the jobs in `lines` in turn; returns the exit status."""
        self._tell({"event": "ready"})
        while not self._interruption.stop:
            try:
                self._interruption.idle = True
                line = lines.readline()
            except RunInterrupted:
                return 0
            finally:
                self._interruption.idle = False
            if not line:
                return 0
            if line.strip():
                self._job(line)
        return 0

    def _job(self, line: str) -> None:
        about: dict[str, Any] = {}
        try:
            job = _parse(line)
            about["run_folder"] = job["run_folder"]
            spec = from_json(RunSpec, read_json(Path(job["spec"])), job["spec"])
            about |= {"run_id": run_id(spec), "steps": spec.steps}
            if model_source_hash() != self._source:
                raise ValueError("the model code changed while this worker ran: start it again")
            result = train(
                spec,
                data_folder=Path(job["data_folder"]),
                run_folder=Path(job["run_folder"]),
                progress=lambda progress: self._progress(progress, about),
                ledger_head=job.get("ledger_head"),
                peak=self._peak(spec.execution),
                interruption=self._interruption,
            )
            done = {"event": "done", "step": result.steps, "loss": result.loss}
            self._tell({**about, **done, "message": str(result.status)})
        except RunInterrupted as stop:
            self._tell({**about, "event": "stopped", "message": str(stop)})
        except RunLocked as held:
            self._tell({**about, "event": "locked", "message": str(held)})
        except (ValueError, OSError, RuntimeError, ImportError) as error:
            message = f"{type(error).__name__}: {error}" if _unexpected(error) else str(error)
            self._tell({**about, "event": "failed", "message": message})

    def _peak(self, execution: Execution) -> float:
        """Measured once for each way of executing."""
        if execution not in self._peaks:
            self._peaks[execution] = peak_flops(execution)
        return self._peaks[execution]

    def _progress(self, progress: Progress, about: dict[str, Any]) -> None:
        if os.getppid() != self._parent:
            self._interruption.stop = True
        told = {"step": progress.step, "loss": progress.loss, "eta": progress.eta}
        self._tell({**about, "event": "progress", **told, "message": progress.stage})

    def _tell(self, message: dict[str, Any]) -> None:
        full = {**dict.fromkeys(MESSAGE_KEYS), "message": "", **message}
        try:
            self._out.write(json.dumps(full) + "\n")
            self._out.flush()
        except BrokenPipeError:
            self._interruption.stop = True


def _parse(line: str) -> dict[str, Any]:
    job = json.loads(line)
    if not isinstance(job, dict) or set(job) - JOB_KEYS or JOB_KEYS - set(job) - {"ledger_head"}:
        raise ValueError(f"a job has the keys {', '.join(sorted(JOB_KEYS))}; got {line.strip()}")
    return job


def _unexpected(error: BaseException) -> bool:
    return isinstance(error, RuntimeError | ImportError)


def main() -> int:
    """Serve standard input."""
    keep_freed_memory()
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # the first one imports for a second
    interruption = Interruption()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out, on_signals(interruption):
        os.dup2(2, 1)  # whatever else prints must not stand between the messages
        try:
            return Worker(out, interruption).serve(sys.stdin)
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
