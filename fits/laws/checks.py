"""What every law asks of its constants, and of the points where it is asked."""

from typing import Any

import numpy as np

from fits.observations import Points, Vector

# Columns of a run table, by the name that `Points` has for them.
COLUMNS = {
    "n": "n_active", "tokens": "tokens", "n_total": "n_total", "n_experts": "n_experts",
    "unique_tokens": "unique_tokens",
}  # fmt: skip


def require_constants(
    law: Any, *, at_least_zero: tuple[str, ...] = (), above_zero: tuple[str, ...] = ()
) -> None:
    """Raise ValueError naming the law, the constant and its value where one is out of range."""
    kind = type(law).__name__
    for name in at_least_zero:
        if not getattr(law, name) >= 0:
            raise ValueError(f"{kind} {name} is {getattr(law, name)}; it must be at least 0")
    for name in above_zero:
        if not getattr(law, name) > 0:
            raise ValueError(f"{kind} {name} is {getattr(law, name)}; it must be above 0")


def known(at: Points, *names: str) -> tuple[Vector, ...]:
    """The named arrays of the points; ValueError naming the columns that are not known there."""
    missing = [COLUMNS[name] for name in names if getattr(at, name) is None]
    if missing:
        raise ValueError(f"this law predicts only where {' and '.join(missing)} is known")
    return tuple(np.asarray(getattr(at, name), dtype=np.float64) for name in names)
