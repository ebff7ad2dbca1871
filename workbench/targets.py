"""What is to be predicted, as a person writes it: `--target flops=1e23`."""

import re
from typing import Any

from model.records import content_hash
from workbench.quantities import read_quantity

TARGET_KEYS = ("flops", "n_active", "tokens", "n_total", "n_experts")
AGREE = 3.0  # flops within this factor of 6·n·tokens raise no doubt


def parse_target(text: str) -> dict[str, float]:
    """The target of `--target flops=1e23` or `--target n_active=70B,tokens=1.4T`.

    flops is 6 · n_active · tokens where only those are given. Raises ValueError naming the part.
    """
    target: dict[str, float] = {}
    for pair in re.split(r",(?=\s*\w+\s*=)", text):
        key, equals, value = (piece.strip() for piece in pair.partition("="))
        if not equals or key not in TARGET_KEYS:
            raise ValueError(
                f"--target {pair!r}: no pair\nwrite KEY=NUMBER, KEY of {', '.join(TARGET_KEYS)}"
            )
        if key in target:
            raise ValueError(f"--target {text!r} names {key} twice\nwrite each key once")
        quantity = read_quantity(value, key)
        if quantity.kind != "number" or quantity.value <= 0:
            what = f"--target {key}={value}: it must be a finite number above 0"
            raise ValueError(f"{what}\nwrite it like flops=1e23, n_active=70B, tokens=1.4T")
        target[key] = quantity.value
    if "flops" not in target:
        if not {"n_active", "tokens"} <= set(target):
            what = f"--target {text!r} needs flops, or n_active and tokens"
            raise ValueError(f"{what}\nsuch as flops=1e23, or n_active=70B,tokens=1.4T")
        target["flops"] = 6.0 * target["n_active"] * target["tokens"]
    return target


def target_doubts(target: dict[str, float]) -> tuple[str, ...]:
    """A caution where the target's compute is far from what its sizes cost."""
    if not {"n_active", "tokens"} <= set(target):
        return ()
    ratio = target["flops"] / (6.0 * target["n_active"] * target["tokens"])
    if 1 / AGREE <= ratio <= AGREE:
        return ()
    return (f"the target's flops are {ratio:.3g} × 6·n_active·tokens; is one of them mistyped?",)


def target_id(target: dict[str, Any]) -> str:
    """What a target is called in the ledger: a hash of what is known of it."""
    return content_hash({key: float(target[key]) for key in TARGET_KEYS if key in target})


def target_name(target: dict[str, float]) -> str:
    """Like "flops=1e+23" or "n_active=70B, tokens=1.4T"."""
    keys = [key for key in TARGET_KEYS if key in target]
    if len(keys) > 1 and target["flops"] == 6.0 * target.get("n_active", 0) * target.get(
        "tokens", 0
    ):
        keys.remove("flops")
    return ", ".join(f"{key}={_short(key, target[key])}" for key in keys)


def _short(key: str, value: float) -> str:
    """A count with k, M, B or T where that says all of it in few digits."""
    for unit, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if key != "flops" and value >= factor:
            return f"{value / factor:.4g}{unit}"
    return f"{value:g}"
