"""What a table must hold to be fitted, and which of its columns is likely meant."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workbench.errors import InputError
from workbench.quantities import plain_header, read_quantity
from workbench.sources.curves import LAST_STEP, STEP_AXES
from workbench.table_files import blank

MOST_SHOWN = 20  # columns named in an error, those that are likely first
LIKELY = {  # words in the name of a column that may be meant
    "loss": ("loss",),
    "n_active": ("param", "size"),
    "tokens": ("tok",),
    "flops": ("flop", "compute"),
}
STEPS = {plain_header(name) for name in (LAST_STEP, *STEP_AXES, "steps", "train_steps")}
CURVES_LACK = "sizes by run: --hparams TABLE or --run NAME:n_active=124M,tokens=2.5B"


def require(path: Path, table: pd.DataFrame, cells: pd.DataFrame, *, curves: bool) -> None:
    """Raise InputError where there is no loss, or nothing to know the compute by."""
    counted = "flops" in table and bool(table["flops"].notna().any())
    sizes = [column for column in ("n_active", "tokens") if column not in table]
    missing = ["loss"] if "loss" not in table else [] if counted else sizes
    if not missing:
        return
    likely = {column: _likely(cells, column) for column in LIKELY}
    if missing != ["loss"] and likely["flops"]:
        asked, other = f"flops={likely['flops'][0]}", "n_active=…,tokens=… to compute it"
    else:
        asked = ",".join(_asked(column, likely[column], cells) for column in missing)
        other = "flops=COLUMN alone" if "loss" not in missing else ""
    remedy = f"name it: workbench import {path.name} --columns {shlex.quote(asked)}"
    remedy += f", or {other}" if other else ""
    remedy += f"; {CURVES_LACK}" if curves and "loss" not in missing else ""
    what = f"no column for {'loss' if 'loss' in missing else 'flops'}"
    if "flops" in table and "loss" not in missing:
        what = "column flops is empty"
    if "loss" not in missing:
        what += f", and none for {' and '.join(missing)} to compute it"
    wanted = [*missing, *(["flops"] if "loss" not in missing else [])]
    first = dict.fromkeys(name for column in wanted for name in likely[column])
    raise InputError(f"{path}: {what}; it has: {_shown([*first], cells)}", remedy)


def _shown(first: Sequence[str], cells: pd.DataFrame) -> str:
    names = [*first, *(str(name) for name in cells.columns if str(name) not in first)]
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return f"{', '.join(names[:MOST_SHOWN])}{more}"


def _asked(column: str, likely: Sequence[str], cells: pd.DataFrame) -> str:
    """A pair of `--columns`, with the likely source in it; tokens also follow from steps."""
    steps = [str(name) for name in cells.columns if plain_header(str(name)) in STEPS]
    if column == "tokens" and steps and not likely:
        return f"tokens={steps[0]}*TOKENS_PER_STEP"
    return f"{column}={likely[0] if likely else 'COLUMN'}"


def _likely(cells: pd.DataFrame, column: str) -> list[str]:
    """Columns that sound like it, and whose first filled cell is a quantity of its kind."""
    found = []
    for name in cells.columns:
        filled = [cell for cell in cells[name] if not blank(cell)]
        number = bool(filled) and read_quantity(filled[0], column).kind == "number"
        if number and any(word in plain_header(str(name)) for word in LIKELY[column]):
            found.append(str(name))
    return found
