"""The `workbench` command: what there is, and how its errors are told.

A command is a module in `workbench/commands/` with one function `command`, which typer turns into
arguments and options. Only the module of the command that was asked for is imported; the others
stand in `--help` by their summary. Command modules import the rooms inside that function, so that
`--help` is fast and works without torch.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

import typer

from workbench.errors import INTERRUPTED, explain


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives, and its line in the list of commands."""

    module: str
    panel: str
    summary: str


SWEEP, TABLE, MODEL = "A sweep", "A table of runs", "A model"
COMMANDS = {
    "plan": Command("plan", SWEEP, "The grid, its exact FLOPs and its cost; trains nothing."),
    "run": Command(
        "run", SWEEP, "The whole way: plan, train, fit, seal, train the target, report."
    ),
    "submit": Command("submit", SWEEP, "The whole way on a Slurm cluster; only what is missing."),
    "status": Command("status", SWEEP, "How far the runs of a sweep are."),
    "logs": Command("logs", SWEEP, "What a run on a cluster wrote."),
    "cancel": Command("cancel", SWEEP, "Take runs out of Slurm's queue; checkpoints stay."),
    "collect": Command("collect", SWEEP, "Run folders to a run table."),
    "import": Command("import_table", TABLE, "An outside table to a run table, checked."),
    "fit": Command("fit", TABLE, "Estimate one law, with its constants and intervals."),
    "backtest": Command("backtest", TABLE, "Hold out the largest runs and predict them."),
    "predict": Command("predict", TABLE, "Predict a larger run, and seal the prediction."),
    "allocate": Command("allocate", TABLE, "Parameters against tokens at a given compute."),
    "two-step": Command("two_step", TABLE, "Predict a task's accuracy through its loss."),
    "report": Command("report", TABLE, "Prediction against actual, as PDF and JSON."),
    "grade": Command("grade", MODEL, "Run completions against their tests, in a sandbox."),
    "sample": Command("sample", MODEL, "Continue a text, or read an image."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status: 0 done, 1 failed, 2 bad input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug, as_json = "--debug" in given, "--json" in given
    given = [word for word in given if word != "--debug"]  # allowed anywhere
    asked = next((word for word in given if not word.startswith("-")), None)
    try:
        status = typer.main.get_command(build(asked))(
            args=given or ["--help"], prog_name="workbench", standalone_mode=False
        )
        if status == INTERRUPTED:  # typer turns Ctrl-C into this status without a word
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        return _tell(error, f"workbench {asked}" if asked in COMMANDS else "workbench", as_json)


def build(asked: str | None) -> typer.Typer:
    """The typer app in which the asked command is real and all others are their summaries."""
    app = typer.Typer(name="workbench", add_completion=False, help=_HELP)
    app.callback()(_options)
    for name, entry in COMMANDS.items():
        function: Callable[..., object] = _placeholder
        if name == asked:
            function = import_module(f"workbench.commands.{entry.module}").command
        summary = None if name == asked else entry.summary
        app.command(name, help=summary, rich_help_panel=entry.panel)(function)
    return app


_HELP = "Predict what a large training run will give, before paying for it."


def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """`main` has already taken --debug out; it is declared for the help."""


def _placeholder() -> None:
    raise AssertionError("a command that was not asked for cannot be called")


def _tell(error: BaseException, command: str, as_json: bool) -> int:
    told = explain(error, command)
    sys.stderr.write(f"error: {told.what}\n  do: {told.remedy}\n")
    if as_json:
        from workbench.output import json_text

        sys.stdout.write(json_text(told.as_dict()) + "\n")
    return told.status
