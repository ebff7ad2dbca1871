"""`workbench two-step TABLE CHECKPOINTS --task …`: a task's accuracy at a larger run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.fit import Table
from workbench.output import Json, cautions, emit, left_out, table

if TYPE_CHECKING:
    from rich.console import Console


def command(
    runs: Table,
    checkpoints: Annotated[
        Path, typer.Argument(help="Checkpoints of the same runs, smoothed; many rows a run.")
    ],
    task: Annotated[str, typer.Option("--task", help="NAME of columns bpb_NAME and acc_NAME.")],
    target: Annotated[
        list[str], typer.Option("--target", help="n_active=70B,tokens=1.4T; may be repeated.")
    ],
    choices: Annotated[
        int | None,
        typer.Option(
            "--choices", min=2, help="Answers to choose from; chance is fitted if absent."
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Refits for the intervals; 0 for none.")
    ] = 400,
    json: Json = False,
) -> None:
    """Size and tokens to a task's loss, and that to accuracy."""
    from fits.downstream.tasks import Task
    from workbench.targets import parse_targets
    from workbench.two_step_table import forecast_task

    wanted = parse_targets(target)
    for text, parsed in zip(target, wanted, strict=True):
        if not {"n_active", "tokens"} <= set(parsed):
            raise ValueError(f"--target {text!r} needs n_active and tokens")
    asked = Task.named(task, choices=choices)
    found = forecast_task(runs, checkpoints, asked, wanted, draws=bootstrap)

    def people(out: "Console") -> None:
        columns = ("n_active", "tokens", "bits", "accuracy", "50 % from", "to", "90 % from", "to")
        names = ("n_active", "tokens", "bits", "accuracy", *(f"accuracy_{e}" for e in ENDS))
        rows = [[row[name] for name in names] for row in found.predictions]
        out.print(table(f"{task}, {len(found.runs_used)} final runs", columns, rows))
        left_out(found.left_out, out)
        cautions(found.cautions, out)

    emit(found, as_json=json, people=people)


ENDS = ("lo50", "hi50", "lo90", "hi90")
