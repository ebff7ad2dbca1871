"""Numbers as people write them in tables: "4.4 nats", "1.3B", "2 PF-days", "1,300,000,000".

A unit is never guessed from a cell that names none; what a whole column of bare numbers means is
judged in `workbench.table_checks`, where the other columns can confirm it.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

PF_DAY = 1e15 * 86_400
COUNTS = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mn": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9}
COUNTS |= {"g": 1e9, "billion": 1e9, "t": 1e12, "tn": 1e12, "trillion": 1e12}
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21}
_PREFIXES |= {"kilo": 1e3, "mega": 1e6, "giga": 1e9, "tera": 1e12, "peta": 1e15, "exa": 1e18}
_PREFIXES |= {"zetta": 1e21, "y": 1e24, "yotta": 1e24}
FLOPS = {f"{prefix}flop": factor for prefix, factor in _PREFIXES.items()}
FLOPS |= {"pf-day": PF_DAY, "pfd": PF_DAY, "pflop/s-day": PF_DAY, "petaflop/s-day": PF_DAY}
_PER_TOKEN = ("", "/token", "/tok", " per token")
LOSSES = {f"nat{per}": 1.0 for per in _PER_TOKEN} | {f"bit{per}": math.log(2) for per in _PER_TOKEN}

COUNTED = ("tokens", "budget", "steps", "batch", "warmup_steps", "width", "layers", "seed", "rung")

MISSING = {"", "-", "–", "—", "na", "n/a", "null", "none", "<na>"}
NOT_FINITE = {"nan", "inf", "-inf", "+inf", "infinity", "-infinity"}
_NUMBER = re.compile(
    r"(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"(?P<percent>\s*%)?\s*(?P<unit>.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One cell: its value where it has one, and the unit that was read and applied."""

    kind: Literal["number", "missing", "not finite", "unreadable", "ambiguous"]
    value: float = math.nan
    unit: str = ""


def read_quantity(cell: object, column: str) -> Quantity:
    """The number in a cell of the run-table column that it is mapped to.

    Ambiguous is a comma between digits where the column is no count: 3,532 nats are 3.532 in half
    of the world.
    """
    if cell is None:
        return Quantity("missing")
    if isinstance(cell, bool):
        return Quantity("unreadable")
    text = str(cell).strip()
    if text.lower() in MISSING:
        return Quantity("missing")
    if text.lower() in NOT_FINITE:
        return Quantity("not finite")
    try:  # the plain case first: it is nearly all of them
        return _number(float(text.replace("_", "?")), "")
    except ValueError:
        return _with_unit(text, column)


@dataclass(frozen=True, slots=True)
class HeaderUnit:
    """A unit that a column's name states, as in "params (B)" or "compute_pf_days"."""

    stem: str  # the name without it, in lower case with spaces: "params"
    unit: str
    factor: float


def unit_of_header(header: str, column: str) -> HeaderUnit | None:
    """The unit named at the end of a header that is mapped to this run-table column."""
    words = plain_header(header)
    for unit, factor in sorted(units_of(column).items(), key=lambda item: -len(item[0])):
        spelled = re.escape(unit.replace("-", " "))
        found = re.search(rf"(?: in)?[\s(\[/]+{spelled}s?[)\]]?$", words)
        if factor != 1 and found:
            return HeaderUnit(words[: found.start()], unit, factor)
    return None


def plain_header(header: str) -> str:
    """A column's name in lower case, words apart by spaces."""
    return re.sub("[_-]", " ", header.strip().lower())


def units_of(column: str) -> dict[str, float]:
    """The units that a run-table column may be written in, with their factors."""
    if column.startswith("flops"):
        return FLOPS
    if column == "tokens" or column.startswith("n_"):
        return COUNTS
    return LOSSES if column == "loss" or column.startswith("loss_") else {}


def counts_things(column: str) -> bool:
    """Whether the column holds counts, in which a comma parts thousands."""
    return column.startswith(("flops", "n_")) or column in COUNTED


def _number(value: float, unit: str) -> Quantity:
    return Quantity("number", value, unit) if math.isfinite(value) else Quantity("not finite")


def _with_unit(text: str, column: str) -> Quantity:
    if not counts_things(column) and re.search(r"\d,\d", text):
        return Quantity("ambiguous")
    found = _NUMBER.fullmatch(text)
    if found is None or found["percent"]:
        return Quantity("unreadable")
    unit = re.sub(r"\s+", " ", found["unit"].strip().lower())
    if column == "tokens" or column.startswith("n_"):
        unit = re.sub(r"\s*\b(param(eter)?s?|tok(en)?s?)$", "", unit)
    value = float(found["number"].replace(",", ""))
    if not unit:
        return _number(value, "")
    known = units_of(column)
    singular = re.sub(r"s(?=$|/tok| per token)", "", unit)
    for name in (unit, singular):
        if name in known:
            return _number(value * known[name], found["unit"].strip())
    return Quantity("unreadable")
