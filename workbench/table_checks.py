"""What can be wrong with a table of runs: its loss, signs, agreement and repeats.

Scale is judged elsewhere: a column's in `workbench.column_scale`, a row's in `workbench.odd_sizes`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fits.observations import ranges
from workbench.quantities import plain_header

# Below these medians a column cannot be a plain count: no language model is that small.
SMALLEST = {"n_active": 1e4, "tokens": 1e5, "flops": 1e9}
AGREE = 2.0  # flops within this factor of 6·n·tokens: attention and embeddings explain less
ODD_ROW = 1.5  # a row this far from the table's own usual ratio is named
LOW_LOSS = 1.3  # nats per token of text; the largest models end near 1.7
HIGH_LOSS = 15.0  # nats per token; a uniform guess over 3 million words


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing noticed in a table."""

    column: str
    rows: tuple[int, ...]  # from 1, the header not counted; empty for the whole column
    text: str
    doubt: bool  # True where a person should look
    groups: tuple[tuple[int, ...], ...] = ()  # the rows, where some of them belong together

    @classmethod
    def of(cls, column: str, rows: Iterable[int], text: str, *, doubt: bool = False) -> "Finding":
        """A finding from any rows."""
        return cls(column=column, rows=tuple(int(row) for row in rows), text=text, doubt=doubt)

    def sentence(self) -> str:
        """Like "loss, rows 3 and 7–9: not a number"."""
        named = group_names(self.groups) if self.groups else row_names(self.rows)
        where = f", {named}" if self.rows else ""
        subject = row_names(self.rows) if self.column == "row" else f"{self.column}{where}"
        return f"{subject}: {self.text}"


def row_names(rows: Iterable[int], shown: int = 12) -> str:
    """Like "row 3" or "rows 3, 7–9"; long lists end in how many more there are."""
    numbers = set(rows)
    texts = ranges(numbers)
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(texts[:shown])}{more}"


def group_names(groups: Sequence[Sequence[int]], shown: int = 6) -> str:
    """Like "rows 3 and 4; 9 and 10"; many groups end in how many more there are."""
    texts = [" and ".join(map(str, group)) for group in groups]
    more = f"; and {len(texts) - shown} more such groups" if len(texts) > shown else ""
    return f"rows {'; '.join(texts[:shown])}{more}"


def check_source(
    table: pd.DataFrame, cells: pd.DataFrame, name: str, *, unit: bool
) -> list[Finding]:
    """What the name of the loss, and a perplexity beside it, say of its being in nats.

    `unit` says that the name's own unit was applied, so that no question is left.
    """
    found = []
    if re.search(r"\b(ppl|perplexity)\b", plain_header(name)) and not name.startswith("ln("):
        text = f"{name!r} is a perplexity by its name: --columns 'loss=ln({name})' makes it nats"
        found.append(Finding.of("loss", (), text, doubt=True))
    if re.search(r"\b(bpb|bpc|bits? per (byte|char(acter)?))\b", plain_header(name)):
        text = f"{name!r} is in bits per byte or character by its name, and predictions will be"
        found.append(Finding.of("loss", (), text, doubt=True))
    if re.search(r"\btrain(ing)?\b", re.sub(r"[/.]", " ", plain_header(name))):
        text = f"{name!r} is a training loss by its name: of the last batches, and not held out"
        found.append(Finding.of("loss", (), text, doubt=True))
    for word in ("ppl", "perplexity"):
        beside = name.replace("loss", word)
        if beside == name or beside not in cells:
            continue
        values = pd.to_numeric(cells[beside], errors="coerce")
        ratio = float((np.log(values.where(values > 1)) / table["loss"]).median())
        if abs(ratio - np.log(2)) < 0.02:
            text = f"in bits: {beside!r} is 2 to its power; --columns 'loss={name}*0.693147'"
            found.append(Finding.of("loss", (), text, doubt=True))
        elif abs(ratio - 1) < 0.03:
            text = f"in nats: {beside!r} is e to its power"
            found.append(Finding.of("loss", (), text))
    usual = float(table["loss"][table["loss"] > 0].median())
    if usual < LOW_LOSS and not unit and not any(finding.doubt for finding in found):
        text = f"a median of {usual:.3g} is low for nats per token of text; bits or nats per "
        text += "character or byte? predictions will be in the table's own unit"
        found.append(Finding.of("loss", (), text, doubt=True))
    if not found and not unit and name != "loss" and name in cells:
        found.append(Finding.of("loss", (), "read as nats per token, as no unit is named"))
    return found


def check_table(table: pd.DataFrame) -> list[Finding]:
    """Everything doubtful about a run table; columns that it lacks are not missed."""
    return [
        *_check_signs(table),
        *_check_loss(table),
        *_check_flops(table),
        *_check_repeats(table),
    ]


def _check_signs(table: pd.DataFrame) -> list[Finding]:
    found = []
    for column in ("flops", "n_active", "tokens", "loss"):
        rows = list(table.index[table[column] <= 0]) if column in table else []
        if rows:
            table.loc[rows, "status"] = "missing"
            text = f"not above 0 ({table[column][rows[0]]:g}), the run is kept out of fits"
            found.append(Finding.of(column, rows, text, doubt=True))
    return found


def _check_loss(table: pd.DataFrame) -> list[Finding]:
    rows = table.index[table["loss"] > HIGH_LOSS]
    if not len(rows):
        return []
    text = f"above {HIGH_LOSS:g} nats per token ({table['loss'][rows[0]]:g}); a perplexity? "
    text += "--columns 'loss=ln(COLUMN)' makes it nats"
    return [Finding.of("loss", rows, text, doubt=True)]


def _check_flops(table: pd.DataFrame) -> list[Finding]:
    """Rows whose flops disagree with 6 · n_active · tokens, all together or one by one."""
    if not {"n_active", "tokens"} <= set(table.columns):
        return []
    ratio = table["flops"] / (6.0 * table["n_active"] * table["tokens"])
    usual = float(ratio.median())
    if not np.isfinite(usual) or usual <= 0:
        return []
    found = []
    off = table.index[(ratio > AGREE) | (ratio < 1 / AGREE)]
    if len(off):
        text = f"disagrees with 6 × n_active × tokens: the median of flops over it is {usual:.3g}"
        found.append(Finding.of("flops", off, text, doubt=True))
    odd = table.index[(ratio > ODD_ROW * usual) | (ratio < usual / ODD_ROW)]
    if len(odd) and len(odd) < len(table) / 2:
        text = f"{ratio[odd[0]]:.3g} × 6·n_active·tokens, where the table usually has {usual:.3g}"
        found.append(Finding.of("flops", odd, text, doubt=True))
    return found


def _check_repeats(table: pd.DataFrame) -> list[Finding]:
    """Names that stand there twice, and equal settings whose losses differ."""
    found = []
    named = table.index[table["run_id"].duplicated(keep=False)]
    if len(named):
        text = f"run_id {table['run_id'][named[0]]!r} and its like repeat: checkpoints of one run?"
        found.append(Finding.of("run_id", named, text, doubt=True))
    keys = [
        c for c in ("flops", "n_active", "tokens", "n_total", "n_experts", "seed") if c in table
    ]
    known = table.drop(index=named).dropna(subset=["flops", "loss"])
    known = known[known["status"] == "finished"]
    alike = known[known.duplicated(subset=keys, keep=False)].groupby(keys, dropna=False)
    groups = sorted(tuple(int(row) for row in rows.index) for _, rows in alike)
    if groups:
        text = "the same settings with different losses: seeds, or one recipe worse than the other?"
        both = Finding.of("loss", sorted(row for group in groups for row in group), text)
        found.append(replace(both, groups=tuple(groups)))
    return found
