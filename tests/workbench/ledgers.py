"""Ledgers to attack: filled by the clock, and forged with every link made good again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workbench import ledger
from workbench.ledger import GENESIS

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
FAMILY, TARGET = "demo", "abc123"


def fill(path: Path, entries: int = 4) -> None:
    for index in range(entries):
        body = {"target_run_id": TARGET, "name": f"x{index}", "loss": 3.0 + index}
        ledger.append(path, "prediction", FAMILY, body, now=NOW + timedelta(minutes=index))


def problems(path: Path) -> str:
    return "\n".join(ledger.verify(path, now=LATER))


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Forge the ledger with every hash and link made good again from the first line on."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    change(entries)
    previous = GENESIS
    for index, entry in enumerate(entries):
        entry |= {"previous": previous, "index": index}
        forged = ledger.Entry(**entry)
        entry["hash"] = previous = ledger._hash(forged)
    path.write_text("".join(ledger._canonical(entry) + "\n" for entry in entries))
