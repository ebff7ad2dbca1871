"""What can be wrong with a table of runs as a whole: scale, agreement, repeats, odd values.

A bare number names no unit. Its scale is judged from the other columns (flops against
6 · n_active · tokens, tokens per parameter) and applied only where exactly one scale agrees with
them; otherwise the table is refused with the question that a person can answer.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fits.observations import ranges
from workbench.errors import InputError
from workbench.quantities import PF_DAY, plain_header, unit_of_header

# Below these medians a column cannot be a plain count: no language model is that small.
SMALLEST = {"n_active": 1e4, "tokens": 1e5, "flops": 1e9}
SCALES = {
    "n_active": {1.0: "", 1e3: "thousands", 1e6: "millions", 1e9: "billions"},
    "tokens": {1.0: "", 1e6: "millions", 1e9: "billions", 1e12: "trillions"},
    "flops": {1.0: "", 1e12: "1e12", 1e15: "1e15", 1e18: "1e18", 1e21: "1e21", PF_DAY: "PF-days"},
}
AGREE = 2.0  # flops within this factor of 6·n·tokens: attention and embeddings explain less
ODD_ROW = 1.5  # a row this far from the table's own usual ratio is named
TOKENS_PER_PARAM = (0.5, 2000.0)  # beyond this a scale is not believed
HIGH_LOSS = 15.0  # nats per token; a uniform guess over 3 million words


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing noticed in a table."""

    column: str
    rows: tuple[int, ...]  # from 1, the header not counted; empty for the whole column
    text: str
    doubt: bool  # True where a person should look

    @classmethod
    def of(cls, column: str, rows: Iterable[int], text: str, *, doubt: bool = False) -> "Finding":
        """A finding from any rows."""
        return cls(column=column, rows=tuple(int(row) for row in rows), text=text, doubt=doubt)

    def sentence(self) -> str:
        """Like "loss, rows 3 and 7–9: not a number"."""
        where = f", {row_names(self.rows)}" if self.rows else ""
        subject = row_names(self.rows) if self.column == "row" else f"{self.column}{where}"
        return f"{subject}: {self.text}"


def row_names(rows: Iterable[int], shown: int = 12) -> str:
    """Like "row 3" or "rows 3, 7–9"; long lists end in how many more there are."""
    numbers = set(rows)
    texts = ranges(numbers)
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(texts[:shown])}{more}"


def header_units(
    cells: pd.DataFrame, sources: Mapping[str, str], fixed: Container[str]
) -> dict[str, tuple[str, float]]:
    """Units that column names state, where the scale is not fixed and the numbers are no counts."""
    found = {}
    for column, source in sources.items():
        unit = unit_of_header(source, column)
        bare = pd.to_numeric(cells[source], errors="coerce").median()
        if unit and column not in fixed and bare < SMALLEST.get(column, np.inf):
            found[column] = (unit.unit, unit.factor)
    return found


def settle_scale(
    path: Path, table: pd.DataFrame, sources: Mapping[str, str], fixed: Container[str] = ()
) -> list[Finding]:
    """Bring columns that are too small to be counts to scale, in place, where the others agree.

    The scale of `fixed` columns was given. A table that carries 6 · n · tokens beside, as the
    workbench's own do, shows that it counts plainly. Raises InputError with the question where no
    scale or more than one agrees.
    """
    if _counts_plainly(table):
        return []
    medians = {
        c: float(table[c].median()) for c in SMALLEST if c in table and table[c].notna().any()
    }
    small = [c for c, median in medians.items() if 0 < median < SMALLEST[c] and c not in fixed]
    if not small:
        return []
    options: list[tuple[float, ...]] = [tuple(SCALES[c]) if c in small else (1.0,) for c in medians]
    agreeing = [
        scales
        for choice in product(*options)
        if _plausible(scales := dict(zip(medians, choice, strict=True)), table)
    ]
    if len(agreeing) != 1:
        raise _which_unit(path, table, sources, small, agreeing)
    findings = []
    for column in small:
        factor, first = agreeing[0][column], float(table[column].dropna().iloc[0])
        table[column] *= factor
        text = f"guessed to be in {SCALES[column][factor]} ({first:g} is {first * factor:g}): "
        text += "the other columns then agree"
        findings.append(Finding.of(column, (), text, doubt=True))
    return findings


def _which_unit(
    path: Path,
    table: pd.DataFrame,
    sources: Mapping[str, str],
    small: list[str],
    agreeing: list[dict[str, float]],
) -> InputError:
    """The question that only a person can answer, with the answers that would make sense."""
    what = [f"{c} runs from {table[c].min():g} to {table[c].max():g}" for c in small]
    asked = ",".join(f"{column}={sources[column]}*FACTOR" for column in small)
    readings = agreeing or [{small[0]: factor} for factor, word in SCALES[small[0]].items() if word]
    several = len(small) > 1
    words = [
        " and ".join(
            f"{factor[c]:g} {f'for {c} ' if several else ''}(in {SCALES[c][factor[c]]})"
            for c in small
            if c in factor
        )
        for factor in readings
    ]
    return InputError(
        f"{path}: {' and '.join(what)}, too small for a plain count; in which unit?",
        f"say so: workbench import … --columns '{asked}', with FACTOR {' or '.join(words)}, "
        "or 1 (as it stands)",
    )


def _counts_plainly(table: pd.DataFrame) -> bool:
    """Whether `flops_6nd` is 6 · n_active · tokens in every row, and these are whole and large."""
    names = ["flops_6nd", "n_active", "tokens"]
    if not set(names) <= set(table.columns):
        return False
    rows = table[names].dropna()
    if rows.empty or (rows[names[1:]] % 1 != 0).any(axis=None) or rows["n_active"].min() < 1000:
        return False
    return bool(np.allclose(rows["flops_6nd"], 6.0 * rows["n_active"] * rows["tokens"], rtol=1e-6))


def _plausible(scales: Mapping[str, float], table: pd.DataFrame) -> bool:
    """Whether columns at these scales are counts, and agree with each other."""
    scaled = {column: table[column] * factor for column, factor in scales.items()}
    if any(values.median() < SMALLEST[column] for column, values in scaled.items()):
        return False
    if not {"n_active", "tokens"} <= set(scaled):
        return False
    n, tokens = scaled["n_active"], scaled["tokens"]
    if not TOKENS_PER_PARAM[0] <= float((tokens / n).median()) <= TOKENS_PER_PARAM[1]:
        return False
    if "flops" not in scaled:
        return True
    ratio = float((scaled["flops"] / (6 * n * tokens)).median())
    return 1 / 3 <= ratio <= 3


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
    if not found and not unit and name != "loss" and name in cells:
        found.append(Finding.of("loss", (), "read as nats per token, as no unit is named"))
    return found


def check_table(table: pd.DataFrame) -> list[Finding]:
    """Everything doubtful about a run table; columns that it lacks are not missed."""
    return [
        *_check_signs(table),
        *_check_scale(table),
        *_check_loss(table),
        *_check_flops(table),
        *_check_repeats(table),
    ]


def _check_scale(table: pd.DataFrame) -> list[Finding]:
    """Rows whose size is no count while the others' are: 0.35 among 1.3e9."""
    found = []
    for column in ("n_active", "tokens"):
        if column not in table:
            continue
        usual, values = float(table[column].median()), table[column]
        rows = table.index[(values > 0) & (values < SMALLEST[column]) & (values < usual / 1e4)]
        if len(rows):
            table.loc[rows, "status"] = "missing"
            text = f"{values[rows[0]]:g} where the table usually has {usual:.3g}: another unit?"
            found.append(Finding.of(column, rows, f"{text} kept out of fits", doubt=True))
    return found


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
    rows = known.index[known.duplicated(subset=keys, keep=False)]
    if len(rows):
        text = "the same settings with different losses: seeds, or one recipe worse than the other?"
        found.append(Finding.of("loss", rows, text))
    return found
