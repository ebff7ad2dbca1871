"""The first page: the verdict, its table, and what the seal is worth, as words."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.content import Content, Outcomes
from reports.inputs import finished, floats, number, texts
from reports.numbers import (
    DASH,
    clean,
    interval,
    percent,
    plain,
    plural,
    power_of_ten,
    ratio,
    share,
)
from reports.page_blocks import Block, without_empty, words_table
from reports.pages import points, rate_interval
from reports.tables import in_sizes
from reports.verdict import (
    Outcome,
    compute_words,
    prior_words,
    seal_facts,
    seal_sentence,
    tone,
    verdict_sentence,
)

HEAD = (
    "prediction", "compute ratio", "predicted", "50 %", "90 %", "actual", "error",
    "Δlog₁₀ C", "last {}", "last two {}s",
)  # fmt: skip
WEIGHTS = [1.05, 1.05, 1, 1.5, 1.5, 0.85, 1.15, 0.95, 1.1, 1.2]  # of the columns' widths
LETTER = 0.1  # of such a weight


def front_page(content: Content) -> dict[str, Any]:
    """The first page's words and tables; figures are named by the builder."""
    inputs, headline = content.inputs, content.headline
    kicker = "Prediction against actual"
    if inputs.actual is None:
        kicker = "Projection" if inputs.seal is None else "Sealed prediction"
    seal_tone = "none" if inputs.seal is None else str(inputs.seal["state"])
    against = sum(weight == "against" for weight, _ in content.findings)
    return {
        "kicker": kicker,
        "title": clean(inputs.title, 110),
        "sentence": verdict_sentence(headline.loss),
        "tone": tone(headline.loss),
        "lines": _lines(content),
        "tables": _tables(content),
        "seal": {
            "tone": seal_tone,
            "sentence": seal_sentence(inputs.seal),
            "prior": prior_words(inputs.seal) or "",
            "facts": [[label, value] for label, value in seal_facts(inputs.seal)],
        },
        "against": f"{plural(against, 'finding')} to weigh against this result" if against else "",
        "caption": _caption(content),
    }


def _lines(content: Content) -> list[str]:
    inputs, loss = content.inputs, content.headline.loss
    lines = []
    late = inputs.seal is not None and inputs.seal.get("sealed_before_target") is False
    if inputs.seal is not None and (late or inputs.seal["state"] == "broken"):
        lines.append("Not a forecast: the seal does not hold (below).")
    flops = number(inputs.headline.target.get("flops"))
    known = content.ratios[inputs.headline.name]
    if loss.predicted is not None:
        text = f"Predicted {plain(loss.predicted)} nats per token"
        if loss.lo90 is not None:
            text += f" (90 % interval {interval(loss.lo90, loss.hi90)})"
        text += f" at {power_of_ten(flops)} FLOPs" if flops else ""
        text += f", {ratio(known)} the largest run used." if known else "."
        lines.append(text)
    if loss.diverged:
        lines.append("The target diverged; no loss or pass rate of it is compared below.")
    elif loss.predicted is None and loss.actual is not None:
        lines.append(f"The target came out at {plain(loss.actual)} nats per token.")
    if loss.error_percent is not None:
        side = "high" if loss.error_percent > 0 else "low"
        text = (
            f"Actual {plain(loss.actual)}: the prediction was "
            f"{percent(abs(loss.error_percent), 2)} too {side}"
        )
        words = compute_words(loss.delta_log10_compute)
        lines.append(f"{text}; the target did {words}." if words else f"{text}.")
    lines += [_other(content, item.name) for item in inputs.predictions[1:]]
    return lines


def _other(content: Content, name: str) -> str:
    """A line on a prediction that is not the headline."""
    item, headline = content.outcomes[name].loss, content.inputs.headline
    target = next(p.target for p in content.inputs.predictions if p.name == name)
    known = content.ratios[name]
    where = f"from {ratio(known)} less compute"
    if target.get("flops") != headline.target.get("flops"):
        where = f"{ratio(known)} the largest run used" if known else "of another target"
    text = f"{clean(name, 60)}, {where}: "
    if item.predicted is not None:
        text += f"predicted {plain(item.predicted)}"
        if item.actual is None and not item.diverged:
            return f"{text} (90 % interval {interval(item.lo90, item.hi90)})."
        text += "; "
    sentence = verdict_sentence(item)
    return f"{text}{sentence[0].lower()}{sentence[1:]}"


def _tables(content: Content) -> list[Block]:
    return [
        _table(content, rate=False),
        *([_table(content, rate=True)] if content.has_rates else []),
    ]


def _table(content: Content, *, rate: bool) -> Block:
    rows = [_row(content, name, item, rate=rate) for name, item in content.outcomes.items()]
    head = [title.format(content.inputs.rung) for title in HEAD]
    head[6] = "error, points" if rate else "error"
    caption = "Pass rate" if rate else "Loss, nats per token"
    numeric = [False] + [True] * (len(HEAD) - 1)
    block = words_table(head, rows, numeric=numeric, size=8.2, caption=caption)
    longest = max(len(row[0]) for row in rows)
    first = min(max(WEIGHTS[0], LETTER * (longest + 2)), 2.4)
    return without_empty(block | {"weights": [first, *WEIGHTS[1:]]})


def _row(content: Content, name: str, outcomes: Outcomes, *, rate: bool) -> list[str]:
    item = outcomes.pass_rate if rate else outcomes.loss
    prediction = next(found for found in content.inputs.predictions if found.name == name)
    if item.refused:
        bounds = ["refused", DASH, DASH]
    elif rate:
        bounds = [
            share(item.predicted),
            rate_interval(item.lo50, item.hi50),
            rate_interval(item.lo90, item.hi90),
        ]
    else:
        bounds = [
            plain(item.predicted),
            interval(item.lo50, item.hi50),
            interval(item.lo90, item.hi90),
        ]
    return [
        clean(name, 60),
        ratio(prediction.compute_ratio),
        *bounds,
        share(item.actual) if rate else plain(item.actual),
        points(item) if rate else percent(item.error_percent, 2, signed=True),
        plain(item.delta_log10_compute, 2, signed=True),
        _naive(item, "last_rung", rate=rate),
        _naive(item, "last_two_rungs", rate=rate),
    ]


def _naive(item: Outcome, name: str, *, rate: bool) -> str:
    guess = item.naive[name]
    if guess is None:
        return DASH
    if rate:
        if item.actual is None:
            return share(guess)
        return f"{share(guess)}\n({plain(100 * (guess - item.actual), 1, signed=True)})"
    error = item.naive_error_percent[name]
    shown = plain(guess)
    return shown if error is None else f"{shown}\n({percent(error, 2, signed=True)})"


def _drawn_law(content: Content) -> str:
    """The law of the line: the one of most weight in the prediction."""
    if in_sizes(content.inputs.headline.loss):
        return "the law in sizes at the target's tokens per parameter,"
    return "the headline law"


def _caption(content: Content) -> str:
    marks = set(content.forecast["mark"])
    text = "Loss against training compute."
    if "law" in marks:
        text += f" Line and shading: {_drawn_law(content)} with its 50 and 90 % intervals."
    if "interval" in marks:
        text += " Open mark at the target: the prediction, thick bar 50 %, thin bar 90 %."
    if "actual" in marks:
        text += " Diamond: the actual."
    drawn = content.forecast[content.forecast["mark"] == "law"]["prediction"].nunique()
    if drawn > 1:
        text += " Dashed: the law of another prediction."
    runs = content.inputs.runs
    measured = np.isfinite(floats(runs, "loss")) & ~np.isin(texts(runs, "role"), ["target"])
    undrawn = int(np.sum(measured & ~finished(runs)))
    if undrawn:
        text += f" Not drawn: {plural(undrawn, 'run')} that did not finish."
    if any(item.loss.naive["last_rung"] is not None for item in content.outcomes.values()):
        rung = content.inputs.rung
        text += (
            f" Last {rung} in the table: the loss of the largest runs of the target's own recipe; "
            f"last two {rung}s: the line through these and the ones below them."
        )
    return text
