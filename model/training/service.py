"""What a worker does with its jobs, alone or as one of several ranks: the lines are `worker`'s."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn, TextIO

import torch

from model.records import from_json, read_json
from model.training.device import keep_freed_memory, peak_flops
from model.training.interruption import Interruption, RunInterrupted
from model.training.lock import RunLocked
from model.training.loop import follow, train
from model.training.progress import Progress
from model.training.ranks import ALONE, Ranks, join
from model.training.spec import Execution, RunSpec, model_source_hash, run_id

JOB_KEYS = {"spec", "data_folder", "run_folder", "ledger_head"}
MESSAGE_KEYS = ("run_id", "run_folder", "event", "step", "steps", "loss", "eta", "message")


class Worker:
    """Reads jobs, trains, tells."""

    def __init__(self, out: TextIO, interruption: Interruption, ranks: Ranks = ALONE) -> None:
        self._out = out
        self._interruption = interruption
        self._ranks = ranks
        self._peaks: dict[Execution, float] = {}
        self._source = model_source_hash()
        self._parent = os.getppid()

    def serve(self, lines: TextIO) -> int:
        """Do the jobs in `lines` in turn; returns the exit status."""
        self._tell({"event": "ready"})
        while not (self._interruption.stop or self._ranks.begun()):
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
                ranks=self._ranks,
            )
            done = {"event": "done", "step": result.steps, "loss": result.loss}
            self._tell({**about, **done, "message": str(result.status)})
        except RunInterrupted as stop:
            self._tell({**about, "event": "stopped", "message": str(stop)})
        except RunLocked as held:
            if self._ranks.begun():
                raise
            self._tell({**about, "event": "locked", "message": str(held)})
        except (ValueError, OSError, RuntimeError, ImportError) as error:
            if self._ranks.begun() and _unexpected(error):  # most likely another rank's death
                raise
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
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())  # or closing fails again


def _parse(line: str) -> dict[str, Any]:
    job = json.loads(line)
    if not isinstance(job, dict) or set(job) - JOB_KEYS or JOB_KEYS - set(job) - {"ledger_head"}:
        raise ValueError(f"a job has the keys {', '.join(sorted(JOB_KEYS))}; got {line.strip()}")
    return job


def _unexpected(error: BaseException) -> bool:
    return isinstance(error, RuntimeError | ImportError)


def attend(ranks: Ranks, interruption: Interruption) -> int:
    """Follow rank 0 through its run; returns the exit status."""
    with contextlib.suppress(RunInterrupted):
        follow(ranks, interruption)
    return 0


def serve_as_rank(
    rank: int, size: int, master: str, out: TextIO, interruption: Interruption
) -> NoReturn:
    """Be one of several processes, and leave without farewell: peers may be gone already."""
    status = 1
    try:
        ranks = join(rank, size, master)
        if ranks.first:
            status = Worker(out, interruption, ranks).serve(sys.stdin)
        else:
            status = attend(ranks, interruption)
        ranks.part()
    except BaseException:
        traceback.print_exc()
    finally:
        out.flush()
        sys.stderr.flush()
        os._exit(status)


def warm_up() -> None:
    """Do now what the first run would wait for."""
    keep_freed_memory()
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # the first one imports for a second
