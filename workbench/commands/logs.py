"""`workbench logs RUN`: what a run wrote, and what its jobs and workers wrote about it."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.plan import RUNS, Runs
from workbench.output import Json, console, emit

Run = Annotated[str, typer.Argument(help="A run's name or id, alone or as DIR/RUN.", metavar="RUN")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")]


def command(run: Run, follow: Follow = False, runs: Runs = RUNS, json: Json = False) -> None:
    """The run's log, the lines of its jobs about it, and its workers' standard error."""
    from sweeps.layout import run_folder
    from sweeps.run_files import standing
    from sweeps.slurm.logs import read_logs
    from sweeps.slurm.states import OVER
    from workbench.run_names import find_run

    folder, found = find_run(run, runs)
    home = run_folder(folder, str(found.run_id))
    out, shown = console(), Path()

    def going() -> bool:
        return standing(home).state not in OVER

    lines = read_logs(folder, found, follow=going if follow else None)
    if json:
        payload = [{"file": path, "line": line} for path, line in lines]
        emit(payload, as_json=True, people=lambda out: None)
        return
    for path, line in lines:
        if path != shown:
            out.print(f"==> {path}", style="bold")
            shown = path
        out.print(line)
