"""Predicted against actual: the errors, and the sentences that say them plainly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fits.predictions.prediction import Estimate
from reports.inputs import number
from reports.numbers import DASH, clean, clock, joined, moment, plain, plural, seconds

NAIVE = ("last_rung", "last_two_rungs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One predicted quantity beside what came out; None is what nobody knows."""

    predicted: float | None
    lo50: float | None
    hi50: float | None
    lo90: float | None
    hi90: float | None
    actual: float | None
    refused: str | None
    reason: str | None
    error_percent: float | None  # 100 (predicted − actual) / actual
    delta_log10_compute: float | None  # decades by which the target did better than its compute
    inside_50: bool | None
    inside_90: bool | None
    naive: dict[str, float | None]
    naive_error_percent: dict[str, float | None]
    diverged: bool = False  # the target ended without a loss, so there is no actual

    def as_json(self) -> dict[str, Any]:
        """The outcome as report.json holds it; lo and hi are the 90 % interval."""
        found: dict[str, Any] = asdict(self)
        found["lo"], found["hi"] = self.lo90, self.hi90
        if self.refused is None:
            del found["refused"], found["reason"]
        return found


def judge(
    estimate: Estimate,
    actual: object,
    target_flops: object,
    *,
    rate: bool = False,
    diverged: bool = False,
) -> Outcome:
    """The outcome of one estimate; rate says that it is a pass rate and not a loss."""
    measured = None if diverged else number(actual)
    refused = estimate.refused
    median, lo50, hi50, lo90, hi90 = (
        None if refused else number(value)
        for value in (estimate.median, estimate.lo50, estimate.hi50, estimate.lo90, estimate.hi90)
    )
    naive = {name: number(estimate.naive.get(name)) for name in NAIVE}
    shift = None
    if not refused and measured is not None:
        shift = compute_shift(estimate.band, measured, target_flops, rate=rate)
    return Outcome(
        predicted=median,
        lo50=lo50,
        hi50=hi50,
        lo90=lo90,
        hi90=hi90,
        actual=measured,
        refused=refused,
        reason=estimate.reason if refused else None,
        error_percent=error_percent(median, measured),
        delta_log10_compute=shift,
        inside_50=inside(lo50, measured, hi50),
        inside_90=inside(lo90, measured, hi90),
        naive=naive,
        naive_error_percent={name: error_percent(naive[name], measured) for name in NAIVE},
        diverged=diverged,
    )


def error_percent(predicted: float | None, actual: float | None) -> float | None:
    """100 (predicted − actual) / actual; None where either is missing or the actual is 0."""
    if predicted is None or actual is None or actual == 0:
        return None
    return 100 * (predicted - actual) / actual


def inside(lo: float | None, value: float | None, hi: float | None) -> bool | None:
    """Whether lo ≤ value ≤ hi; None where one of them is missing."""
    if lo is None or value is None or hi is None:
        return None
    return lo <= value <= hi


def compute_shift(
    band: Sequence[Mapping[str, object]],
    actual: float,
    target_flops: object,
    *,
    rate: bool = False,
) -> float | None:
    """log10 of the compute at which the median law gives the actual, less that of the target.

    Positive: the target did better than its compute promised. The law is the drawn median;
    between and beyond its points it is continued as a·C^-b + c through the three points
    around, which is exact for that law. None where the law never reaches the actual (below its
    floor) or does not fall. A pass rate is read as −log(rate).
    """
    flops = number(target_flops)
    rows = [(number(row.get("flops")), number(row.get("median"))) for row in band]
    points = sorted(
        (math.log10(c), -math.log(y) if rate else y)
        for c, y in rows
        if c is not None and y is not None and c > 0 and (y > 0 or not rate)
    )
    if len(points) < 3 or flops is None or flops <= 0 or (rate and actual <= 0):
        return None
    x, y = np.array(points).T
    if not bool(np.all(np.diff(x) > 0) and np.all(np.diff(y) < 0)):
        return None
    found = _reach(x, y, -math.log(actual) if rate else actual)
    return None if found is None else found - math.log10(flops)


def _reach(x: NDArray[np.float64], y: NDArray[np.float64], level: float) -> float | None:
    """The x at which the falling curve takes the level, by its three nearest points."""
    step = max(1, len(x) // 8)  # beyond an end, points further apart carry the curvature better
    if level >= y[0]:
        chosen = [0, min(step, len(x) - 2), min(2 * step, len(x) - 1)]
    elif level <= y[-1]:
        chosen = [max(0, len(x) - 1 - 2 * step), max(1, len(x) - 1 - step), len(x) - 1]
    else:
        start = min(max(int(np.searchsorted(-y, -level)) - 1, 0), len(x) - 3)
        chosen = [start, start + 1, start + 2]
    return _solve(x[chosen], y[chosen], level)


def _solve(x: NDArray[np.float64], y: NDArray[np.float64], level: float) -> float | None:
    """The x at which c + a·exp(−b·x) through three falling points takes the level."""
    left, right = x[1] - x[0], x[2] - x[1]
    wanted = (y[0] - y[1]) / (y[1] - y[2])

    def drop_ratio(b: float) -> float:
        # (e^{-b x0} - e^{-b x1}) / (e^{-b x1} - e^{-b x2}), the common factor e^{-b x1} removed
        return float(np.expm1(b * left) / -np.expm1(-b * right))

    if wanted <= left / right * (1 + 1e-9):  # straight or bending down: no floor to be seen
        slope = (y[2] - y[1]) / right if level <= y[1] else (y[1] - y[0]) / left
        return float(x[1] + (level - y[1]) / slope)
    low, high = 1e-9, 1.0
    while drop_ratio(high) < wanted and high < 64:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if drop_ratio(middle) < wanted else (low, middle)
    b = (low + high) / 2
    scale = (y[1] - y[2]) / -np.expm1(-b * right)  # a·exp(−b·x1)
    floor = y[1] - scale
    if level <= floor:
        return None
    return float(x[1] - math.log((level - floor) / scale) / b)


def verdict_sentence(outcome: Outcome, noun: str = "loss") -> str:
    """One sentence: contained, missed, refused, diverged, or not yet trained."""
    if outcome.refused is not None:
        reason = f" — {clean(outcome.reason)}" if outcome.reason else ""
        return f"Refused: {clean(outcome.refused)}{reason}".rstrip(".") + "."
    if outcome.diverged:
        return f"The target diverged: it ended without a {noun} to hold against the prediction."
    if outcome.actual is None:
        return f"The target is not yet trained; this is the {noun} predicted for it."
    if outcome.inside_90 is None:
        return f"The actual {noun} is known, but there is no 90 % interval to hold against it."
    if outcome.inside_90:
        return f"The 90 % interval contained the actual {noun}."
    assert outcome.hi90 is not None
    side = "above" if outcome.actual > outcome.hi90 else "below"
    return f"The 90 % interval missed the actual {noun}, which came out {side} it."


def tone(outcome: Outcome) -> str:
    """hit, miss or open: how the verdict is coloured."""
    if outcome.refused is None and outcome.diverged:
        return "miss"
    if outcome.refused is not None or outcome.inside_90 is None:
        return "open"
    return "hit" if outcome.inside_90 else "miss"


def compute_words(shift: float | None) -> str | None:
    """The error in compute as half a sentence; None where it cannot be said."""
    if shift is None:
        return None
    if abs(shift) < 0.005:
        return "as well as the law says for its compute"
    factor = plain(10 ** abs(shift), 2)
    side = "more" if shift > 0 else "less"
    decades = f"{plain(shift, 2, signed=True)}\u00a0decades"
    return f"as if trained with {factor} times {side} compute ({decades})"


def naive_words(outcome: Outcome, rung: str = "rung") -> str | None:
    """Whether the law came nearer than the naive guesses; None where nothing can be compared."""
    if outcome.error_percent is None:
        return None
    names = dict(
        zip(NAIVE, (f"the last {rung}", f"a line through the last two {rung}s"), strict=True)
    )
    errors = {
        names[name]: abs(error)
        for name, error in outcome.naive_error_percent.items()
        if error is not None
    }
    nearer = [name for name, error in errors.items() if error < abs(outcome.error_percent)]
    if not errors:
        return None
    if not nearer:
        return f"The law came nearer than {joined(list(errors), 'and')}."
    verb = "was" if len(nearer) == 1 else "were"
    first = joined(nearer, "and")
    return f"{first[0].upper()}{first[1:]} {verb} nearer to the actual than the law."


def seal_sentence(seal: Mapping[str, Any] | None) -> str:
    """What the seal is worth, in a sentence or two."""
    if seal is None:
        return "No ledger was kept, so nothing shows when this prediction was made."
    state = seal["state"]
    when = _when(seal)
    if state == "broken":
        problems = "; ".join(clean(problem) for problem in seal.get("problems") or ())
        why = f": {problems}" if problems else ""
        return f"The seal is broken{why}. Read this as a fit after the fact, not as a forecast."
    if seal.get("sealed_before_target") is None:
        sealed = clock(seal.get("sealed_at"))
        return f"Sealed at {sealed}; a table does not show when its target was trained."
    if seal.get("sealed_before_target") is False:
        return f"Not a forecast: the prediction was not sealed before the target started.{when}"
    if state == "held":
        return (
            f"The seal held: the ledger is whole and its head is fixed by an outside anchor.{when}"
        )
    return (
        f"Unanchored: the ledger is whole, but nothing outside of it fixes its head, so the one "
        f"who keeps it could have rewritten it.{when}"
    )


def _when(seal: Mapping[str, Any]) -> str:
    sealed, started = moment(seal.get("sealed_at")), moment(seal.get("target_started_at"))
    if sealed is None or started is None:
        return ""
    lead = (started - sealed).total_seconds()
    side = "before" if lead >= 0 else "after"
    return f" Sealed {seconds(abs(lead))} {side} the target started."


def seal_facts(seal: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Label and value of what the ledger says."""
    if seal is None:
        return [("seal", "none")]
    seen, started = number(seal.get("prior_targets_seen")), clock(seal.get("target_started_at"))
    return [
        ("seal", str(seal["state"])),
        ("sealed at", clock(seal.get("sealed_at"))),
        *([("target started", started)] if started != DASH else []),
        ("targets seen before", "not recorded" if seen is None else f"{seen:.0f}"),
        ("ledger head", clean(seal.get("head") or "–")[:16]),
    ]


def prior_words(seal: Mapping[str, Any] | None) -> str | None:
    """What targets trained earlier mean for the prediction; None where nothing is recorded."""
    seen = None if seal is None else number(seal.get("prior_targets_seen"))
    if seen is None:
        return None
    if seen == 0:
        return "Targets of this family trained before: none is recorded in this ledger."
    return (
        f"{plural(int(seen), 'target')} of this family had been trained before this seal; "
        "the recipe or the law may have been chosen knowing how they came out."
    )
