"""What the files of one run folder say: its lines, its samples and how it stands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model.training.result import RunResult, RunStatus, load_result
from sweeps.layout import FAILED_NAME, METRICS_NAME, SAMPLES_NAME
from sweeps.lock import is_trained

if TYPE_CHECKING:
    import pandas as pd

State = Literal[
    "finished", "diverged", "running", "interrupted", "failed", "waiting", "corrupt", "unplanned"
]
SAMPLE_COLUMNS = ("problem", "bucket", "kind", "n_samples", "n_passed", "gold_nll")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a run stands, from its folder alone."""

    state: State
    result: RunResult | None = None
    message: str = ""


def standing(home: Path) -> Standing:
    """The state of the run in `home`: waiting where there is nothing yet."""
    if not home.exists():
        return Standing(state="waiting")
    try:
        result = load_result(home)
    except ValueError as error:
        return Standing(state="corrupt", message=str(error))
    if result is not None:
        diverged = result.status is RunStatus.DIVERGED
        return Standing(state="diverged" if diverged else "finished", result=result)
    if is_trained(home):
        return Standing(state="running")
    if (home / FAILED_NAME).exists():
        return Standing(state="failed", message=_failure(home / FAILED_NAME))
    if (home / METRICS_NAME).exists():
        return Standing(state="interrupted")
    return Standing(state="waiting")


def read_metrics(home: Path) -> list[dict[str, Any]]:
    """The run's lines; a torn last line, of a process that died or still writes, is left out.

    Raises ValueError naming file and line where another line is no JSON object.
    """
    path = home / METRICS_NAME
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    pieces = text.split("\n")
    for number, line in enumerate(pieces[:-1], start=1):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            lines.append(value)
        elif number < len(pieces) - 1:
            raise ValueError(f"{path}: line {number} is not a JSON object; delete that line")
    return lines


def last_metrics(home: Path) -> tuple[int | None, dict[str, Any] | None]:
    """(restarts, last line of training) of a run; None where there is no such line.

    Only the last lines are parsed: a status of a thousand runs must not read them all. ValueError
    names the file where what is last, but for a torn line, is no JSON object.
    """
    path = home / METRICS_NAME
    try:
        pieces = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return None, None
    restarts = sum(b'"resume"' in piece for piece in pieces)
    for number in range(len(pieces) - 1, -1, -1):
        try:
            line = json.loads(pieces[number])
        except ValueError:
            line = None
        if not isinstance(line, dict) and number < len(pieces) - 1:
            raise ValueError(f"{path}: line {number + 1} is not a JSON object; delete that line")
        if isinstance(line, dict) and line.get("kind") == "train":
            return restarts, line
    return (restarts if pieces else None), None


def read_samples(home: Path) -> pd.DataFrame:
    """The run's samples table; no rows where none were drawn. ValueError on missing columns."""
    import pandas as pd

    path = home / SAMPLES_NAME
    if not path.exists():
        return pd.DataFrame(columns=list(SAMPLE_COLUMNS))
    try:
        table = pd.read_csv(path, dtype={"problem": str, "bucket": str, "kind": str})
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path}: not a samples table ({error})") from None
    missing = set(SAMPLE_COLUMNS) - set(table.columns)
    if missing:
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
    return table[list(SAMPLE_COLUMNS)]


def _failure(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"failed; {path} cannot be read"
