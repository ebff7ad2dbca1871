"""What a careful reader should know against the result, in plain words.

Every sentence is made from the tables; a measurement that is missing says nothing. Findings
that speak against the prediction come first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd

from fits.observations import observe
from fits.predictions.estimate import is_neutral
from fits.predictions.prediction import Prediction
from fits.uncertainty.bootstrap import SeedNoise, seed_noise
from reports.inputs import ReportInputs, finished, floats, part_column, part_names, texts
from reports.numbers import breakable, clean, joined, percent, plain, plural, share, significant
from reports.verdict import Outcome, naive_words, prior_words

Finding = tuple[str, str]  # weight ("against", "note") and sentence
FAINT_ROUTER = 0.8  # router entropy as a share of an even router's
HEAVY_UNEMBEDDING = 0.5
OVERLAP = 0.01
SIZES = ("n_active", "tokens", "n_total", "n_experts", "unique_tokens")
NO_SEEDS = "no two runs differ by seed alone"  # as the forecaster says it


def diagnostics(inputs: ReportInputs, outcomes: dict[str, dict[str, Outcome]]) -> list[Finding]:
    """All findings, those against the prediction first; outcomes by prediction and quantity."""
    found = _of_predictions(inputs, outcomes)
    found += _seal(inputs)
    found += _noise(inputs, outcomes[inputs.headline.name]["loss"])
    found += _ladder(inputs)
    found += _runs(inputs.runs)
    found += _health(inputs.runs)
    found += _data(inputs)
    found += [("note", clean(note)) for note in inputs.notes]
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda finding: finding[0] != "against")


def _of_predictions(inputs: ReportInputs, outcomes: dict[str, dict[str, Outcome]]) -> list[Finding]:
    """Findings on single predictions; what is true of several is said once, with their names."""
    whose: dict[Finding, list[str]] = {}
    for prediction in inputs.predictions:
        for finding in _of_prediction(prediction, outcomes[prediction.name], inputs.rung):
            whose.setdefault(finding, []).append(clean(prediction.name, 60))
    every = len(inputs.predictions)
    return [
        (weight, f"{'every prediction' if 1 < len(names) == every else '; '.join(names)}: {text}")
        for (weight, text), names in whose.items()
    ]


def _of_prediction(
    prediction: Prediction, outcomes: dict[str, Outcome], rung: str
) -> Iterator[Finding]:
    yield from _refusals(outcomes)
    missed = [clean(key) for key, item in outcomes.items() if item.inside_90 is False]
    judged = [key for key, item in outcomes.items() if item.inside_90 is not None]
    if missed:
        yield (
            "against",
            f"the 90 % interval missed {len(missed)} of {len(judged)} quantities: "
            f"{joined(missed)}.",
        )
    elif judged:
        yield "note", f"the 90 % interval contained all {len(judged)} quantities."
    loss = outcomes["loss"]
    words = naive_words(loss, rung)
    if words is not None:
        weight = "against" if "nearer to the actual" in words else "note"
        yield weight, f"{words[0].lower()}{words[1:]}"
    if loss.predicted and loss.lo90 is not None and loss.hi90 is not None:
        width = 100 * (loss.hi90 - loss.lo90) / loss.predicted
        yield "note", f"the 90 % interval is {percent(width)} of the prediction wide."
    estimates = [("", prediction.loss), ("pass rate: ", prediction.pass_rate)]
    estimates += [(f"{clean(part)}: ", item) for part, item in prediction.parts.items()]
    estimates += [(f"{clean(part)}: ", item) for part, item in prediction.buckets.items()]
    said: dict[str, list[str]] = {}
    of_parts = {f"{part}: {text}" for part, e in prediction.parts.items() for text in e.cautions}
    for prefix, estimate in estimates:
        for caution in estimate.cautions:
            if not prefix and caution in of_parts:  # a headline made of parts repeats theirs
                continue
            said.setdefault(clean(caution), []).append(prefix)
    for caution in prediction.cautions:
        said.setdefault(clean(caution), []).insert(0, "")
    for caution, prefixes in said.items():
        where = "" if "" in prefixes else joined([text.rstrip(": ") for text in prefixes]) + ": "
        weight = "note" if is_neutral(caution) else "against"
        yield weight, f"{where}{caution.rstrip('.')}."


def _refusals(outcomes: dict[str, Outcome]) -> Iterator[Finding]:
    grouped: dict[tuple[str, str], list[str]] = {}
    for quantity, outcome in outcomes.items():
        if outcome.refused:
            key = (clean(outcome.refused), clean(outcome.reason or "").rstrip("."))
            grouped.setdefault(key, []).append(quantity)
    for (refused, reason), quantities in grouped.items():
        why = f": {reason}" if reason else ""
        yield "against", f"{joined(quantities)} refused as {refused}{why}."


def _seal(inputs: ReportInputs) -> Iterator[Finding]:
    seal = inputs.seal
    if seal is None:
        yield "against", "No ledger was kept; the order of prediction and training is not shown."
        return
    if seal["state"] == "unanchored":
        yield (
            "against",
            "The ledger's head was not fixed outside (a commit, a mail), so the order of "
            "prediction and training rests on the word of whoever keeps the ledger.",
        )
    for problem in seal.get("problems") or ():
        yield "against", f"Seal: {clean(problem).rstrip('.')}."
    words = prior_words(seal)
    if words is not None:
        yield ("against" if words[0].isdigit() else "note"), words


def _noise(inputs: ReportInputs, loss: Outcome) -> Iterator[Finding]:
    """Spread of runs that differ by seed alone against the error that the law made."""
    noise = _seeds(inputs.runs)
    if noise is None or noise.measured is None:
        if not any(NO_SEEDS in text for item in inputs.predictions for text in item.loss.cautions):
            words = f"No {inputs.rung} was trained with two seeds"
            yield "against", f"{words}, so the noise of a run is not measured."
        return
    text = (
        "Runs that differ by seed alone spread by "
        f"{percent(100 * noise.measured, 2)} of the loss (one standard deviation, "
        f"{plural(noise.pairs, 'run')} repeated)"
    )
    error = loss.error_percent
    if error is not None and noise.measured > 0:
        times = abs(error) / (100 * noise.measured)
        text += f"; the error at the target is {plain(times, 1)} of these"
    yield "note", text + "."


def _seeds(runs: pd.DataFrame) -> SeedNoise | None:
    """Noise among finished runs whose sizes are all known; None where there is no such run.

    Of n_active and tokens, one is enough beside the compute. A row given twice is no second seed.
    """
    known = {column: floats(runs, column) for column in ("flops", "loss", *SIZES)}
    table = pd.DataFrame(known)
    ladder = [role not in ("target", "twin") for role in texts(runs, "role")]
    chosen = finished(runs) & np.array(ladder, dtype=bool)
    table = table[chosen].dropna(axis=1, how="all")
    if not {"flops", "loss"} <= set(table.columns):
        return None
    for one, other in (("n_active", "tokens"), ("tokens", "n_active")):
        if one in table and other not in table:
            table[other] = table["flops"] / table[one]
    table = table[(table > 0).all(axis=1) & np.isfinite(table).all(axis=1)].drop_duplicates()
    return seed_noise(observe(table)) if len(table) else None


def _ladder(inputs: ReportInputs) -> Iterator[Finding]:
    runs = inputs.runs
    failed = Counter(
        status
        for status, role in zip(texts(runs, "status"), texts(runs, "role"), strict=True)
        if status not in ("", "finished") and role != "target"
    )
    if inputs.diverged:
        yield "against", "The target diverged, so the recipe did not carry over to its size."
    for status, many in failed.items():
        yield "against", f"{plural(many, 'run')} {clean(status)}: not in any fit."
    left = {str(row.get("run_id")) for row in inputs.headline.loss.left_out}
    if left:
        yield "note", f"{plural(len(left), 'run')} left out of the headline fit, listed above."
    for part in part_names(inputs):
        loss, bigram = floats(runs, part_column(part)), floats(runs, f"bigram_{part}")
        worse = int(np.sum(loss > bigram))
        if worse:
            yield (
                "against",
                f"{clean(part)}: {plural(worse, 'run')} of {int(np.isfinite(bigram).sum())} did no "
                "better than counting pairs of tokens, so the law spans a change of regime.",
            )
    nominal = [role in ("", "ladder", "target") for role in texts(runs, "role")]
    per_param = floats(runs, "tokens_per_param")[nominal]
    per_param = per_param[np.isfinite(per_param)]
    if per_param.size and per_param.max() > 2 * per_param.min():
        yield (
            "against",
            f"Tokens per parameter run from {plain(per_param.min(), 1)} to "
            f"{plain(per_param.max(), 1)} over ladder and target; the law assumes one allocation.",
        )


def _runs(runs: pd.DataFrame) -> Iterator[Finding]:
    for column, noun in (
        ("model_source", "versions of the model code"),
        ("device", "kinds of device"),
        ("dtype", "number formats"),
        ("torch", "versions of torch"),
        ("attention", "attention backends"),
        ("data", "data sets"),
    ):
        kinds = sorted({text for text in texts(runs, column) if text})
        if len(kinds) > 1:
            shown = joined([clean(kind, 40) for kind in kinds[:4]])
            yield "against", f"The runs mix {len(kinds)} {noun}: {shown}."
    restarts = floats(runs, "restarts")
    many = int(np.nansum(restarts > 0))
    if many:
        yield "note", f"{plural(many, 'run')} went on after an interruption."
    raw = [text for text in texts(runs, "annealed") if text in ("False", "0", "0.0")]
    if raw:
        yield "against", f"{plural(len(raw), 'run')} ended before the learning rate had decayed."


def _health(runs: pd.DataFrame) -> Iterator[Finding]:
    heavy = floats(runs, "unembedding_share")
    many = int(np.sum(heavy > HEAVY_UNEMBEDDING))
    if many:
        yield (
            "against",
            f"In {plural(many, 'run')} of {len(runs)} the unembedding takes more than half of the "
            f"compute (at most {share(np.nanmax(heavy), 0)}); there the law describes a vocabulary "
            "more than a network.",
        )
    elif np.isfinite(heavy).any():
        yield "note", f"The unembedding takes at most {share(np.nanmax(heavy), 0)} of the compute."
    dead = floats(runs, "dead_experts")
    many = int(np.nansum(dead > 0))
    if many:
        yield (
            "against",
            f"{plural(many, 'run')} ended with experts that no token chose "
            f"(at most {significant(np.nanmax(dead))} in a run).",
        )
    elif np.isfinite(dead).any():
        yield "note", "No expert was dead at the end of any run."
    even = floats(runs, "router_entropy")  # a share of log(experts): 1 is an even router
    even = even[np.isfinite(even)]
    if even.size and even.max() <= 1.01:
        low = float(even.min())
        text = f"Router entropy is at least {share(low, 0)} of an even router's in every run"
        weight = "against" if low < FAINT_ROUTER else "note"
        yield weight, text + ("; some routers lean on few experts." if low < FAINT_ROUTER else ".")


def _data(inputs: ReportInputs) -> Iterator[Finding]:
    sources = (inputs.manifest or {}).get("sources") or {}
    for name, source in sources.items():
        overlap = source.get("overlap")
        if isinstance(overlap, float | int) and overlap > OVERLAP:
            yield (
                "against",
                f"{breakable(name, 60)}: {share(overlap, 2)} of the held-out 13-grams also stand "
                "in training.",
            )
        epochs = floats(inputs.runs, f"epochs_{name}")
        if bool(np.nanmax(epochs, initial=0) > 1):
            yield (
                "against",
                f"{breakable(name, 60)}: seen {plain(np.nanmax(epochs), 2)} times over in the "
                "longest run; repeated data are worth less than fresh.",
            )
