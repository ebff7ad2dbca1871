"""What the ledger is told of a sweep's target: when it starts, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model.training.result import load_result
from sweeps.layout import run_folder
from workbench import ledger
from workbench.prepare import Prepared


def ledger_kinds(prepared: Prepared) -> set[str]:
    """The kinds of entries that the ledger holds of this sweep's target."""
    return {
        entry.kind
        for entry in ledger.read(prepared.ledger).entries
        if entry.family == prepared.sweep.name
        and entry.body.get("target_run_id") == prepared.plan.target.run_id
    }


def note_started(prepared: Prepared, tell: Callable[[str], None]) -> str:
    """Enter that the target starts, once; returns the head that its metrics must hold."""
    book = prepared.ledger
    if "target_started" not in ledger_kinds(prepared):
        head = ledger.head(book)
        tell(f"ledger head {head}")
        tell("  keep it outside (a commit, a mail): `report --anchor` then shows the seal as held")
        ledger.append(book, "target_started", prepared.sweep.name, _body(prepared))
    return ledger.head(book)


def note_finished(prepared: Prepared) -> None:
    """Enter how the target ended, once, where it has ended."""
    target = prepared.plan.target
    assert target.run_id is not None
    result = load_result(run_folder(prepared.folder, target.run_id))
    if result is None or "target_finished" in ledger_kinds(prepared):
        return
    body = {**_body(prepared), "status": str(result.status)}
    ledger.append(prepared.ledger, "target_finished", prepared.sweep.name, body)


def _body(prepared: Prepared) -> dict[str, Any]:
    target = prepared.plan.target
    return {"target_run_id": target.run_id, "flops": target.flops}
