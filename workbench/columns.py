"""Which column of a source becomes which column of a run table: by `--columns`, or by its name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from workbench.column_scale import header_units
from workbench.errors import InputError
from workbench.quantities import plain_header, unit_of_header
from workbench.sources.curves import LAST_STEP, STEP_AXES
from workbench.table_checks import Finding

# Run-table columns that are numbers. `loss_<part>` and its like are matched by NUMERIC_PART.
NUMERIC = (
    *("flops", "flops_6nd", "n_active", "n_total", "n_embedding", "n_experts", "tokens", "loss"),
    *("unique_tokens", "loss_se", "seed", "weight", "tokens_per_param", "budget", "rung", "steps"),
    *("batch", "learning_rate", "weight_decay", "warmup_steps", "width", "layers", "top_k"),
    *("n_vision", "n_unembedding"),
)
MISSPELT = 0.8  # a parameter group this like a known one is that one, misspelt
NUMERIC_PART = re.compile(r"(loss|bits_per_byte|bigram|trigram|epochs)_[\w-]+|n_[a-z_]+")
TEXT = ("run_id", "name", "role", "status", "sweep", "data", "device", "dtype", "model_source")
# What other programs call the same thing; taken without `--columns` when exactly one is there.
ALIASES = {
    "run_id": ("id", "run"),
    "name": ("run_name",),
    "status": ("state",),
    "n_active": ("params", "n_params", "num_params", "parameters", "active_params", "n"),
    "n_total": ("total_params", "total_parameters"),
    "tokens": ("n_tokens", "num_tokens", "train_tokens", "total_tokens", "tokens_seen", "d"),
    "flops": ("compute", "total_flops", "train_flops", "training_flops", "c"),
    "loss": (
        *("eval/loss", "val/loss", "eval_loss", "val_loss", "validation_loss", "final_loss"),
        *("validation/loss", "valid/loss", "loss/val", "loss/eval", "loss/validation"),
        "lm loss validation",
    ),
}
NESTED = ("n_active", "n_total", "tokens", "flops")  # as in "model.params" or "train/tokens"
_LOGARITHM = re.compile(r"ln\((?P<column>.+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a run-table column comes from: columns multiplied, by a factor, or a logarithm."""

    columns: tuple[str, ...]
    factor: float = 1.0
    given: bool = False  # the factor was asked for, so that the scale is no question
    logarithm: bool = False

    @property
    def text(self) -> str:
        """As it would be written in `--columns`."""
        if self.logarithm:
            return f"ln({self.columns[0]})"
        factor = (f"{self.factor:g}",) if self.given else ()
        return "*".join((*self.columns, *factor))

    @property
    def plain(self) -> bool:
        """Whether it is one column and no more than a change of unit."""
        return len(self.columns) == 1 and not self.logarithm


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """The mapping of `--columns n_active=params,loss=eval/loss`; several options are joined."""
    mapping: dict[str, str] = {}
    for text in texts:
        for pair in re.split(r",(?=\s*\w+\s*=)", text):
            column, equals, source = (piece.strip() for piece in pair.partition("="))
            if not (column and equals and source):
                raise InputError(
                    f"--columns {pair!r} is no pair of names",
                    "write it as n_active=params,loss=eval/loss",
                )
            if column in mapping:
                raise InputError(
                    f"--columns maps {column} twice: {mapping[column]} and {source}", "keep one"
                )
            _check_column(column)
            mapping[column] = source
    return mapping


def _check_column(column: str) -> None:
    """Raise InputError for a name that no run table knows, or one misspelt (n_actve)."""
    if column in NUMERIC or column in TEXT:
        return
    of_a_part = NUMERIC_PART.fullmatch(column)
    cutoff = MISSPELT if of_a_part else 0.6
    close = get_close_matches(column, [*NUMERIC, *TEXT], n=1, cutoff=cutoff)
    if of_a_part and not (close and column.startswith("n_")):
        return
    allowed = f"allowed: {', '.join((*NUMERIC, 'loss_<part>', *TEXT))}"
    raise InputError(
        f"--columns {column}=…: no run-table column",
        f"did you mean {close[0]}?" if close else allowed,
    )


def origins(
    path: Path, cells: pd.DataFrame, asked: Mapping[str, str]
) -> tuple[dict[str, Origin], list[Finding]]:
    """Where each run-table column comes from, asked for or found by name or unit.

    Columns that become no run-table column keep their name, and so do those of a product.
    """
    names = [str(name) for name in cells.columns]
    found = {column: _asked(path, names, column, source) for column, source in asked.items()}
    findings = []
    for column, aliases in ALIASES.items():
        if column in found or column in names:
            continue
        taken = {origin.columns[0] for origin in found.values() if origin.plain}
        source = _alias(column, aliases, [name for name in names if name not in taken])
        if source is not None:
            found[column] = Origin(columns=(source,))
            findings.append(Finding.of(column, (), f"taken from column {source!r}"))
    used = {origin.columns[0] for origin in found.values() if origin.plain}
    for name in names:
        if name not in found and name not in used:
            found[name] = Origin(columns=(name,))
    for column, origin in found.items():
        if column in names and column not in origin.columns:
            text = f"the source's own column of this name is left out: {origin.text} is taken"
            findings.append(Finding.of(column, (), text, doubt=True))
    bare = {column: origin.columns[0] for column, origin in found.items() if origin.plain}
    fixed = {column for column, origin in found.items() if origin.given}
    for column, (unit, factor) in header_units(cells, bare, fixed).items():
        found[column] = Origin(columns=found[column].columns, factor=factor)
        text = f"read in units of {unit!r}, as the name {bare[column]!r} says"
        findings.append(Finding.of(column, (), text))
    return found, findings


def _asked(path: Path, names: Sequence[str], column: str, source: str) -> Origin:
    """What one pair of `--columns` means: COLUMN, COLUMN*FACTOR, COLUMN*COLUMN or ln(COLUMN)."""
    if source in names:
        return Origin(columns=(source,))
    logarithm = _LOGARITHM.fullmatch(source)
    if logarithm:
        _known(path, names, column, logarithm["column"])
        return Origin(columns=(logarithm["column"],), logarithm=True)
    columns, factor, given = [], 1.0, False
    for piece in (piece.strip() for piece in source.split("*")):
        if piece in names or not _is_number(piece):
            columns.append(_known(path, names, column, piece))
        else:
            factor, given = factor * float(piece), True
    if not columns:
        raise InputError(
            f"--columns {column}={source}: a number, and no column of {path}",
            f"it has: {', '.join(names)}",
        )
    return Origin(columns=tuple(columns), factor=factor, given=given)


def _known(path: Path, names: Sequence[str], column: str, source: str) -> str:
    if source in names:
        return source
    if LAST_STEP in names and source.strip().lower() in STEP_AXES:
        return LAST_STEP  # the axis of loss curves, by the name that their export gives it
    close = get_close_matches(source, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(names)}"
    raise InputError(f"{path} has no column {source!r} (for {column})", hint)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _alias(column: str, aliases: Iterable[str], names: Sequence[str]) -> str | None:
    """The one name that means this column; else the one whose last part does."""
    meant = {plain_header(alias) for alias in (column, *aliases)}
    whole = [name for name in names if _stem(name, column) in meant]
    if not whole and column in NESTED:
        long = {word for word in meant if len(word) > 1}
        whole = [name for name in names if re.split(r"[./]", _stem(name, column))[-1] in long]
    return whole[0] if len(whole) == 1 else None


def _stem(name: str, column: str) -> str:
    """A column's name in lower case, without a unit in it."""
    unit = unit_of_header(name, column)
    return unit.stem if unit else plain_header(name)
