"""The worker: one process, many runs, a message for everything, and a clean end on request."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from model.records import canonical
from model.training.checkpoint import latest_checkpoint
from model.training.result import load_result
from model.training.spec import RunSpec, run_id

SpecMaker = Callable[..., RunSpec]


class Talk:
    """A running worker."""

    def __init__(self, process: subprocess.Popen[str], data: Path, folder: Path) -> None:
        self.process, self.data, self.folder = process, data, folder

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def train(self, spec: RunSpec, name: str) -> Path:
        path = self.folder / f"{name}.json"
        path.write_text(canonical(spec))
        run = self.folder / name
        job = {"spec": str(path), "data_folder": str(self.data), "run_folder": str(run)}
        self.send(json.dumps({**job, "ledger_head": "h"}))
        return run

    def until(self, *events: str) -> dict[str, Any]:
        """The next message of one of these events."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["event"] in events:
                return message
        raise AssertionError(f"the worker ended; waited for {events}")


@pytest.fixture(scope="module")
def worker(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    folder = tmp_path_factory.mktemp("worker")
    with subprocess.Popen(
        [sys.executable, "-m", "model.training.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        talk = Talk(process, data_folder, folder)
        assert talk.until("ready")["run_id"] is None
        yield talk
        process.kill()


# The worker, but a signal comes at the moment when it begins to import torch.
EARLY = """
import os, runpy, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Finder())
number = int(sys.argv.pop(1))
runpy.run_module("model.training.worker", run_name="__main__")
"""


@pytest.mark.parametrize("words", [(), ("--rank", "1", "--size", "2", "--master", "localhost:1")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_while_torch_is_imported_ends_it_in_order(
    number: signal.Signals, words: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", EARLY, str(int(number)), *words]
    done = subprocess.run(command, input="", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_ends_without_a_word_when_nobody_reads() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "model.training.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # before it says that it is ready
        assert process.stderr.read() == "" and process.wait(timeout=30) == 0


def test_trains_one_run_after_another(worker: Talk, make_spec: SpecMaker) -> None:
    for name, steps in (("first", 12), ("second", 14)):
        spec = make_spec(steps=steps)
        run = worker.train(spec, name)
        told = worker.until("progress")
        assert (told["run_id"], told["steps"], told["run_folder"]) == (
            run_id(spec),
            steps,
            str(run),
        )
        done = worker.until("done", "failed")
        result = load_result(run)
        assert result is not None and done["loss"] == result.loss and done["message"] == "finished"
        assert result.mfu is not None and 0 < result.mfu < 1


def test_a_bad_job_fails_by_name_and_the_next_one_runs(
    worker: Talk, make_spec: SpecMaker, tmp_path: Path
) -> None:
    worker.send("rubbish")
    assert worker.until("failed")["message"]
    worker.send('{"spec": "a"}')
    assert "a job has the keys" in worker.until("failed")["message"]
    bad = tmp_path / "bad.json"
    bad.write_text('{"shpae": 1}')
    places = {"data_folder": "none", "run_folder": str(tmp_path / "run")}
    worker.send(json.dumps({"spec": str(bad), **places}))
    assert "bad.json: unknown key 'shpae'" in worker.until("failed")["message"]
    worker.train(make_spec(steps=8), "after")
    assert worker.until("done", "failed")["event"] == "done"


def test_sigterm_saves_and_ends(worker: Talk, make_spec: SpecMaker) -> None:
    run = worker.train(make_spec(steps=100_000), "long")
    worker.until("progress")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.until("stopped")["message"].endswith("as asked")
    assert worker.process.wait(timeout=30) == 0
    checkpoint, notes = latest_checkpoint(run)
    assert checkpoint is not None and checkpoint.step >= 1 and notes == ()
