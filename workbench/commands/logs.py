"""`workbench logs RUN`: what a run wrote, and what its jobs and workers wrote about it."""

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.plan import RUNS, Runs
from workbench.output import Json, console, emit

Run = Annotated[str, typer.Argument(help="A run's name or id, alone or as DIR/RUN.", metavar="RUN")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until no more is to come.")]


def command(run: Run, follow: Follow = False, runs: Runs = RUNS, json: Json = False) -> None:
    """The run's log, its jobs' logs but for lines about other runs, its workers' standard error.

    With --follow and --json one document a line, as it comes.
    """
    from sweeps.slurm.logs import read_logs
    from sweeps.slurm.states import look
    from sweeps.status import is_going
    from workbench.run_names import find_run

    folder, found = find_run(run, runs)
    out, shown = console(), Path()

    def going() -> bool:
        return is_going(folder, look(folder, [found.run_id]))

    if next(read_logs(folder, found), None) is None:
        state = look(folder, [found.run_id]).runs[str(found.run_id)]
        told = ": ".join(word for word in (state.state, state.reason) if word)
        job = f" (job {state.job})" if state.job else ""
        console(stderr=True).print(f"nothing is written yet: {told}{job}")
    lines = read_logs(folder, found, follow=going if follow else None)
    if json and not follow:
        payload = [{"file": path, "line": line} for path, line in lines]
        emit(payload, as_json=True, people=lambda out: None)
        return
    for path, line in lines:
        if json:  # a line each, as it comes
            print(dumps({"file": str(path), "line": line}), flush=True)
            continue
        if path != shown:
            out.print(f"==> {path}", style="bold")
            shown = path
        out.print(line)
