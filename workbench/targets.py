"""What is to be predicted, as a person writes it: `--target flops=1e23`."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from model.records import content_hash
from workbench.errors import InputError
from workbench.quantities import read_quantity

TARGET_KEYS = ("flops", "n_active", "tokens", "n_total", "n_experts")
AGREE = 3.0  # flops within this factor of 6·n·tokens raise no doubt
MISTYPED = 30.0  # and beyond this factor they are no count of the same run
REACH = 10.0  # times the largest compute, where no target was named
SAME_COUNT = 1.15  # flops within this factor of 6·n·tokens are counted like it
SAME_TOKENS = 1.05  # runs whose tokens differ by less were trained on one amount of data
UNITS = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3))


def parse_target(text: str) -> dict[str, float]:
    """The target of `--target flops=1e23` or `--target n_active=70B,tokens=1.4T`.

    flops is 6 · n_active · tokens where only those are given. Raises ValueError naming the part.
    """
    target: dict[str, float] = {}
    for pair in re.split(r",(?=\s*\w+\s*=)", text):
        key, equals, value = (piece.strip() for piece in pair.partition("="))
        if not equals or key not in TARGET_KEYS:
            close = get_close_matches(key, TARGET_KEYS, n=1) if equals else []
            hint = f"did you mean {close[0]}={value}? " if close else ""
            what = f"--target {pair!r}: {f'no key {key!r}' if equals else 'no pair'}"
            raise InputError(what, f"{hint}write KEY=NUMBER, KEY of {', '.join(TARGET_KEYS)}")
        if key in target:
            raise ValueError(f"--target {text!r} names {key} twice\nwrite each key once")
        quantity = read_quantity(value, key)
        if quantity.kind != "number" or quantity.value <= 0:
            what = f"--target {key}={value}: it must be a finite number above 0"
            raise ValueError(f"{what}\nwrite it like flops=1e23, n_active=70B, tokens=1.4T")
        target[key] = float(f"{quantity.value:.15g}")  # 4.1B is 4.1e9 to the last bit
    if {"flops", "n_active", "tokens"} <= set(target):
        times = target["flops"] / (6.0 * target["n_active"] * target["tokens"])
        if not 1 / MISTYPED <= times <= MISTYPED:
            what = f"--target {text!r}: flops is {times:.3g} times 6·n_active·tokens"
            raise InputError(what, "one of the three is mistyped; n_active and tokens are enough")
    if "flops" not in target:
        if not {"n_active", "tokens"} <= set(target):
            what = f"--target {text!r} needs flops, or n_active and tokens"
            raise ValueError(f"{what}\nsuch as flops=1e23, or n_active=70B,tokens=1.4T")
        target["flops"] = 6.0 * target["n_active"] * target["tokens"]
    return target


def parse_targets(texts: Sequence[str]) -> list[dict[str, float]]:
    """Each `--target` in order; ValueError also where two of them are the same question."""
    found: dict[str, dict[str, float]] = {}
    for text in texts:
        target = parse_target(text)
        if target_id(target) in found:
            raise InputError(f"--target {text!r} is asked twice", "keep one of them")
        found[target_id(target)] = target
    return list(found.values())


def suggest_target(runs: pd.DataFrame) -> dict[str, float]:
    """A target of REACH times the largest compute, with every size that all usable runs have.

    Sizes follow the runs with as many experts as the largest one: their median tokens per
    parameter, or their one amount of data, and their median sparsity. Each number has two digits.
    Raises InputError where no finished run of the ladder is there.
    """
    rows = _fitted(runs)
    if rows.empty:
        raise InputError("the table holds no finished run", "see its `status` column")
    flops = REACH * float(rows["flops"].max())
    known = {key for key in TARGET_KEYS if key in rows and bool((rows[key] > 0).all())}
    if not {"n_active", "tokens"} <= known:
        return {"flops": _digits(flops)}
    target = {}
    if "n_experts" in known:
        target["n_experts"] = float(rows["n_experts"].iloc[int(rows["flops"].to_numpy().argmax())])
        rows = rows[rows["n_experts"] == target["n_experts"]]
    per_pair = flops_per_pair(runs)
    counted_plainly = 1 / SAME_COUNT < per_pair / 6 < SAME_COUNT
    per_pair = 6.0 if counted_plainly else per_pair
    tokens = float(rows["tokens"].median())
    if rows["tokens"].max() > SAME_TOKENS * rows["tokens"].min():
        tokens = float(np.sqrt(flops / per_pair * (rows["tokens"] / rows["n_active"]).median()))
    n = flops / per_pair / tokens
    sizes = {"n_active": _digits(n), "tokens": _digits(tokens)}
    if "n_total" in known:
        target["n_total"] = _digits(n * float((rows["n_total"] / rows["n_active"]).median()))
    flops = 6.0 * sizes["n_active"] * sizes["tokens"] if counted_plainly else _digits(flops)
    return {"flops": flops} | sizes | target


def flops_per_pair(runs: pd.DataFrame) -> float:
    """Median of flops / (n_active · tokens) over the top decade of the usable runs; NaN for none.

    6 where embeddings and attention are left out of the count; small models count more.
    """
    rows = _fitted(runs)
    if rows.empty or not {"n_active", "tokens"} <= set(rows.columns):
        return float("nan")
    rows = rows[rows["flops"] >= rows["flops"].max() / 10]
    return float((rows["flops"] / (rows["n_active"] * rows["tokens"])).median())


def _fitted(runs: pd.DataFrame) -> pd.DataFrame:
    fitted = (runs["status"] == "finished") & runs["role"].isin(["ladder", "grid", ""])
    return runs[fitted & (runs["flops"] > 0)]


def _digits(value: float) -> float:
    return float(f"{value:.2g}")


def target_doubts(target: dict[str, float], runs: pd.DataFrame) -> tuple[str, ...]:
    """A caution where the target's compute is far from what its sizes cost, in general or here."""
    if not {"n_active", "tokens"} <= set(target):
        return ()
    plain = 6.0 * target["n_active"] * target["tokens"]
    ratio, usual = target["flops"] / plain, flops_per_pair(runs) / 6.0
    if not 1 / AGREE <= ratio <= AGREE:
        return (f"the target's flops are {ratio:.3g} × 6·n_active·tokens; is one mistyped?",)
    if ratio == 1.0 and not 1 / SAME_COUNT < usual < SAME_COUNT and np.isfinite(usual):
        return (
            f"the target's flops are taken as 6·n_active·tokens, where the largest runs' are "
            f"{usual:.3g} times that: add flops={_digits(usual * plain):g} to count alike",
        )
    return ()


def target_id(target: dict[str, Any]) -> str:
    """What a target is called in the ledger: a hash of what is known of it."""
    return content_hash({key: float(target[key]) for key in TARGET_KEYS if key in target})


def target_name(target: dict[str, float]) -> str:
    """Like "flops=1e+23" or "n_active=70B, tokens=1.4T", rounded to four digits."""
    keys = [key for key in TARGET_KEYS if key in target]
    if len(keys) > 1 and target["flops"] == 6.0 * target.get("n_active", 0) * target.get(
        "tokens", 0
    ):
        keys.remove("flops")
    return ", ".join(f"{key}={_short(key, target[key])}" for key in keys)


def target_option(target: Mapping[str, Any]) -> str:
    """The `--target` that `parse_target` reads back as this target, to the last digit."""
    known = {key: float(target[key]) for key in TARGET_KEYS if key in target}
    short = target_name(known).replace(" ", "")
    if parse_target(short) == known:
        return short
    return ",".join(f"{key}={value!r}" for key, value in known.items())


def _short(key: str, value: float) -> str:
    """A count with k, M, B or T where that says all of it in few digits."""
    for unit, factor in UNITS:
        if key != "flops" and value >= factor:
            return f"{value / factor:.4g}{unit}"
    return f"{value:g}"
