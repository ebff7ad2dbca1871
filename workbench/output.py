"""How commands print: tables for people through rich, one JSON document with `--json`.

Programs read standard output; progress, cautions and errors for people go to standard error.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:  # rich takes as long to import as everything else in a short command
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

PIPE_WIDTH = 160  # columns of a table in a file or a pipe, where nothing has to fit a screen
WIDEST = 40  # a cell longer than this may be wrapped

# The type of every command's `json` parameter.
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, for programs; nothing else.")
]


def emit(payload: Any, *, as_json: bool, people: Callable[["Console"], None]) -> None:
    """Print the payload as JSON, or let `people` print it to a console."""
    if as_json:
        sys.stdout.write(json_text(payload) + "\n")
        sys.stdout.flush()
    else:
        people(console())


def console(*, stderr: bool = False) -> "Console":
    """A console that never marks up or splits what it was given, a path least of all."""
    from rich.console import Console

    out = Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = PIPE_WIDTH
    return out


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> "Table":
    """A table for people; numbers stand right, a missing value is a dash."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    filled = [list(row) for row in rows]
    texts = [[cell(value) for value in row] for row in filled]
    made = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, expand=False)
    for at, name in enumerate(columns):
        numeric = any(_is_number(row[at]) for row in filled)
        longest = max(map(len, (name, *(row[at] for row in texts))))
        justify: Literal["left", "right"] = "right" if numeric else "left"
        made.add_column(name, justify=justify, min_width=min(longest, WIDEST))
    for row_texts in texts:
        made.add_row(*map(Text, row_texts))
    return made


def cautions(texts: Iterable[str], on: "Console") -> None:
    """Each doubt on a line of its own."""
    for text in texts:
        on.print(f"caution: {text}", style="yellow")


def left_out(rows: Iterable[Mapping[str, str]], on: "Console") -> None:
    """A line a reason: how many runs it took out, and which."""
    from fits.observations import names_in_words

    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row["reason"], []).append(row["run_id"])
    for reason, names in reasons.items():
        on.print(f"left out ({len(names)}): {reason}: {names_in_words(names)}")


def cell(value: object) -> str:
    """A value as a cell shows it: numbers in four significant digits, a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, tuple | list):
        return "; ".join(map(cell, value))
    if isinstance(value, bool) or not _is_number(value):
        return str(value)
    number = float(value)  # type: ignore[arg-type]
    if number.is_integer() and abs(number) < 1e6:
        return str(int(number))
    return f"{number:.4g}" if 1e-3 <= abs(number) < 1e6 else f"{number:.3e}"


def progress(*, as_json: bool = False) -> "Progress":
    """Bars on standard error for what takes more than a second; none for programs or in a pipe."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    on = console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=on,
        transient=True,
        disable=as_json or not on.is_terminal,
    )


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """JSON text; a number that is not finite is null, since JSON has no other word for it."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Dataclasses, tables, numpy values and paths as what JSON can hold."""
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a pandas table, by rows
        return [plain(row) for row in value.to_dict("records")]
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return None if value != value else str(value)


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (bool, str))
