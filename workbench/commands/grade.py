"""`workbench grade SAMPLES`: completions run against their tests in a sandbox."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.output import Json, emit, json_text, progress

if TYPE_CHECKING:
    from rich.console import Console


class SandboxName(StrEnum):
    """Where completions may run."""

    allow_list = "allow-list"
    bubblewrap = "bubblewrap"


def command(
    samples: Annotated[
        Path,
        typer.Argument(help="JSON lines: prompt, completion, tests (pairs or asserts), entry."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a verdict a line as JSON lines.")
    ] = None,
    sandbox: Annotated[
        SandboxName, typer.Option("--sandbox", help="bubblewrap runs any code, where installed.")
    ] = SandboxName.allow_list,
    json: Json = False,
) -> None:
    """Run prompt + completion + tests in the sandbox, a verdict a line."""
    from model.records import write_atomic
    from workbench.grading import grade_items, read_items

    items = read_items(samples)
    with progress(as_json=json) as bars:
        task = bars.add_task("grade", total=len(items))
        verdicts = grade_items(items, sandbox.value, lambda done: bars.update(task, completed=done))
    if out:
        lines = (json_text(verdict, indent=None) for verdict in verdicts)
        write_atomic(out, "".join(line + "\n" for line in lines))
    passed = sum(verdict.passed for verdict in verdicts)

    def people(on: "Console") -> None:
        for verdict in verdicts if out is None else ():
            on.print(f"{verdict.line}: {'passed' if verdict.passed else verdict.reason}")
        on.print(f"{passed} of {len(verdicts)} passed")

    payload = {"passed": passed, "samples": len(verdicts), "verdicts": verdicts, "out": out}
    emit(payload, as_json=json, people=people)
