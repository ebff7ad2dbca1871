"""What a benchmark measured: a row each, a table for people, a JSON file for the record."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.records import write_atomic
from workbench.output import cell, console, table

COLUMNS = ("what", "measured", "must reach", "", "how")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement. `measured` is None where it could not be made; `detail` then says why."""

    what: str
    measured: float | None
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bound was met; None where there is no bound or nothing was measured."""
        if self.measured is None or (self.at_least is None and self.at_most is None):
            return None
        high_enough = self.at_least is None or self.measured >= self.at_least
        return high_enough and (self.at_most is None or self.measured <= self.at_most)

    @property
    def bound(self) -> str:
        """The bound in words, empty where there is none."""
        low = None if self.at_least is None else f"≥ {self.at_least:g}"
        high = None if self.at_most is None else f"≤ {self.at_most:g}"
        return " and ".join(text for text in (low, high) if text)

    def cells(self) -> tuple[str, ...]:
        """The row as a table shows it."""
        measured = "–" if self.measured is None else f"{cell(self.measured)} {self.unit}".strip()
        mark = {True: "met", False: "MISSED", None: ""}[self.met]
        if self.measured is None:
            mark = "not measured"
        return (self.what, measured, self.bound, mark, self.detail)


def show(title: str, rows: Iterable[Row]) -> None:
    """Print the rows as a table."""
    console().print(table(title, COLUMNS, [row.cells() for row in rows]))


def machine(device: str, **facts: Any) -> dict[str, Any]:
    """What was measured on."""
    return {
        "device": device,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        **facts,
    }


def save(folder: Path, kind: str, place: dict[str, Any], rows: Iterable[Row]) -> Path:
    """Write the rows to a file of `folder`, whole or not at all; returns the file.

    `kind` "slurm" has one file, slurm.json; "speed" and "gpu-check" have one for each machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", str(place["device"]).lower()).strip("-") or "unknown"
    names = {"speed": f"{name}-{place['cores']}-cores", "gpu-check": name, "slurm": "slurm"}
    path = folder / f"{names[kind]}.json"
    record = {
        "schema": 1,
        "kind": kind,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": place,
        "rows": [asdict(row) | {"met": row.met} for row in rows],
    }
    write_atomic(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path
