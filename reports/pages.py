"""The pages after the first: which blocks stand under which heading.

A section without data is left out, heading and all.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.content import Content
from reports.evidence import law_blocks, run_blocks
from reports.inputs import number
from reports.numbers import (
    DASH,
    breakable,
    clean,
    interval,
    joined,
    percent,
    plain,
    power_of_ten,
    share,
    significant,
)
from reports.page_blocks import (
    SMALL,
    Block,
    facts_block,
    figure_block,
    list_block,
    pivot_block,
    table_block,
    words_table,
)
from reports.past import past_blocks
from reports.run_tables import spread_facts
from reports.tables import NEAR, in_sizes
from reports.verdict import Outcome

Section = dict[str, Any]
VERSIONS = ("device", "dtype", "threads", "attention", "torch", "model_source", "data", "versions")


def sections(content: Content, figures: set[str]) -> list[Section]:
    """Title and blocks of each section that has something to show."""
    found = [
        ("Loss by part", _parts(content, figures)),
        ("Residuals", _residuals(content, figures)),
        ("Pass rates", _rates(content, figures)),
        ("Loss curves", _curves(figures)),
        ("Runs", run_blocks(content)),
        ("What the prediction rests on", law_blocks(content)),
        ("On the table's own past", past_blocks(content.past, drawn="backtest" in figures)),
        ("How it was made", _making(content)),
        ("Diagnostics", _diagnostics(content)),
    ]
    return [{"title": title, "blocks": blocks} for title, blocks in found if blocks]


def _parts(content: Content, figures: set[str]) -> list[Block]:
    blocks: list[Block] = []
    if "parts" in figures:
        caption = "Held-out loss by part, nats per token."
        if any((table["mark"] == "law").any() for table in content.part_forecasts.values()):
            caption += " Line: the law of the headline prediction with its 50 and 90 % bands; "
            caption += "open mark: the prediction."
        if any((table["mark"] == "actual").any() for table in content.part_forecasts.values()):
            caption += " Diamond: the actual."
        blocks.append(figure_block("parts", caption))
    named = list(dict.fromkeys(p for item in content.outcomes.values() for p in item.parts))
    if named:
        weights = content.inputs.loss_weights
        caption = "Predicted and actual by part, nats per token"
        if weights:
            shown = [f"{clean(name)} {significant(value)}" for name, value in weights.items()]
            caption += f"; the headline loss weighs them as {joined(shown)}"
        blocks.append(_pivot(content, "part", named, caption + "."))
    references = content.tables["references"]
    if not references.empty:
        caption = "The largest run beside other measures: nats per token, bits per byte."
        blocks.append(table_block(references, caption=caption))
    return blocks


def _pivot(
    content: Content, key: str, named: list[str], caption: str, *, rate: bool = False
) -> Block:
    """Parts or buckets with their actual and each prediction; all-refused ones only named."""
    items = {
        name: {"all problems": found.pass_rate, **found.buckets} if rate else found.parts
        for name, found in content.outcomes.items()
    }
    shown = []
    for name, found in items.items():
        refusals = dict.fromkeys(item.refused for item in found.values())
        if None in refusals or not refusals:
            shown.append(name)
        else:
            words = joined([clean(refused, 40) for refused in refusals])
            caption += f" {clean(name, 60)} refused every {key}: {words}."
    rows = {
        quantity: _cells([items[name].get(quantity) for name in items], rate=rate)
        for quantity in named
    }
    kept = [
        0,
        *(1 + 3 * at + cell for at, n in enumerate(items) if n in shown for cell in (0, 1, 2)),
    ]
    chosen = {quantity: [cells[place] for place in kept] for quantity, cells in rows.items()}
    return pivot_block(key, chosen, shown, caption)


def _cells(items: list[Outcome | None], *, rate: bool) -> list[str]:
    """The actual, then predicted, interval and error of each prediction."""
    cells = [DASH]
    for item in items:
        if item is None:
            cells += [DASH] * 3
            continue
        if item.actual is not None:
            cells[0] = share(item.actual) if rate else plain(item.actual)
        if item.refused:
            cells += [f"refused: {breakable(item.refused, 40)}", DASH, DASH]
        elif rate:
            cells += [share(item.predicted), rate_interval(item.lo90, item.hi90), points(item)]
        else:
            error = percent(item.error_percent, signed=True)
            cells += [plain(item.predicted), interval(item.lo90, item.hi90), error]
    return cells


def _residuals(content: Content, figures: set[str]) -> list[Block]:
    if "residuals" not in figures:
        return []
    caption = (
        "How far each run lies over the drawn law, in percent of the loss. Filled: used by this "
        "law; open: not used by it; diamond: the actual. "
    )
    if any(in_sizes(item.loss) for item in content.inputs.predictions):
        caption += (
            "A law in sizes is drawn at its target's tokens per parameter, so that only the runs "
            f"within a factor of {significant(NEAR)} of these are compared with it; those"
        )
    else:
        caption += "Residuals that bend are a law that does not fit; those"
    caption += " of the runs do not show the error of the extrapolation."
    return [figure_block("residuals", caption)]


def _rates(content: Content, figures: set[str]) -> list[Block]:
    blocks: list[Block] = []
    if "rates" in figures:
        caption = (
            "Pass rate at one sample a problem against training compute, by bucket. Bars: 90 % "
            "binomial intervals with a problem as the unit, runs of equal compute pooled; line "
            "and bands: the law; diamond: the target."
        )
        blocks.append(figure_block("rates", caption))
    if content.has_rates:
        every = [bucket for item in content.outcomes.values() for bucket in item.buckets]
        named = list(dict.fromkeys(["all problems", *every]))
        caption = "Pass rates; errors in percentage points."
        blocks.append(_pivot(content, "bucket", named, caption, rate=True))
    if "strips" in figures:
        caption = (
            "Digit strips answered exactly, beside the same model with the image zeroed: what "
            "lies between is read from the image. Diamonds: the target."
        )
        blocks.append(figure_block("strips", caption))
    return blocks


def rate_interval(lo: float | None, hi: float | None) -> str:
    """A pass-rate interval in percent."""
    if lo is None or hi is None:
        return DASH
    return f"{interval(100 * lo, 100 * hi, 1)}\u202f%"


def points(outcome: Outcome) -> str:
    """The error of a pass rate in percentage points."""
    if outcome.predicted is None or outcome.actual is None:
        return DASH
    return plain(100 * (outcome.predicted - outcome.actual), 1, signed=True)


def _curves(figures: set[str]) -> list[Block]:
    if "curves" not in figures:
        return []
    caption = (
        "Each line is a run: loss on the held-out windows against the compute it had spent, "
        "darker for larger runs, with the final compute under some of the ends."
    )
    return [figure_block("curves", caption)]


def _making(content: Content) -> list[Block]:
    inputs = content.inputs
    blocks: list[Block] = []
    facts = {str(key).replace("_", " "): _fact(value) for key, value in inputs.family.items()}
    for key, value in spread_facts(inputs.runs, VERSIONS).items():
        facts.setdefault(key.replace("_", " "), value)
    manifest = inputs.manifest or {}
    for key in ("hash", "tokenizer", "vocab", "context"):
        if manifest.get(key) is not None:
            facts.setdefault(f"data {key}", _fact(manifest[key]))
    facts = {key: value for key, value in facts.items() if value != DASH}
    if facts:
        blocks.append(facts_block(facts))
    hashed = [item for item in inputs.predictions if item.inputs_hash]
    if hashed:
        rows = [[clean(p.name, 60), p.inputs_hash[:16], str(p.seed)] for p in hashed]
        head, caption = ["prediction", "tables hash", "seed"], "The tables behind each prediction."
        blocks.append(words_table(head, rows, numeric=[False, False, True], caption=caption))
    blocks += _tables_of_making(content)
    return blocks


def _fact(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return DASH if value is None else ("yes" if value else "no")
    found = number(value) if isinstance(value, int | float) else None
    if found is None:
        return clean(value) if str(value) else DASH
    return power_of_ten(found, 2) if abs(found) >= 1e7 else significant(found, 7)


def _tables_of_making(content: Content) -> list[Block]:
    captions = {
        "sources": "Data: training documents and tokens, share of held-out 13-grams that also "
        "stand in training, and the most epochs that any run took.",
        "costs": "Compute and time by role, summed over runs.",
        "wall": "Wall time by stage.",
    }
    blocks = []
    for name, caption in captions.items():
        table: pd.DataFrame = content.tables[name]
        if table.empty or (name == "costs" and len(table) < 2):
            continue
        size = SMALL if name == "sources" else 8.4
        last = name == "wall"
        blocks.append(table_block(table, size=size, caption=caption, bold_last=last))
    return blocks


def _diagnostics(content: Content) -> list[Block]:
    return [list_block(content.findings)] if content.findings else []
