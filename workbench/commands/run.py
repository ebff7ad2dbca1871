"""`workbench run SWEEP`: the whole way from a sweep file to the report."""

from typing import TYPE_CHECKING

from workbench.commands.plan import RUNS, Runs, Sweep
from workbench.output import Json, console, emit

if TYPE_CHECKING:
    from rich.console import Console


def command(sweep: Sweep, runs: Runs = RUNS, json: Json = False) -> None:
    """The whole way: plan, train the ladder, fit, seal, train the target, report.

    Interrupted, the same command goes on where it was; finished runs are never trained again.
    """
    from workbench.pipeline import run_sweep
    from workbench.seal import refuse_broken

    try:
        done = run_sweep(sweep, runs, console(stderr=True).print)
    except OSError as error:
        error.filename = error.filename or str(runs)  # a full disk names no file
        raise
    refuse_broken(done.files.json)

    def people(out: "Console") -> None:
        for sentence in done.verdict:
            out.print(sentence)
        out.print(f"report: {done.files.shown}")

    payload = {"pdf": done.files.pdf, "json": done.files.json, "verdict": done.verdict}
    emit(payload, as_json=json, people=people)
