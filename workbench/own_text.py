"""What a plan can say of one's own text before the data set is built: how far it will go.

Tokens are estimated from bytes; the built data set knows them, and then the plan does too.
"""

from __future__ import annotations

from collections.abc import Iterator

from model.data.corpus import read_documents
from model.data.files import read_files, text_files
from model.data.spec import PACKAGED_ORIGINS, SourceSpec
from model.data.split import split_documents
from sweeps.planned import Plan
from sweeps.sweep_file import Sweep

BYTES_PER_TOKEN = 3.0  # of a small byte-level BPE on prose; a large vocabulary has more
READ_AT_MOST = 50_000_000  # bytes; of more text only the size is looked at
REPEATED = 0.1  # share of repeated text that is worth a word


def own_text_cautions(sweep: Sweep, planned: Plan) -> Iterator[str]:
    """Cautions on each source that is a folder or file of one's own.

    Raises ValueError where it is missing or holds no text.
    """
    for source in sweep.data.resolved():
        if source.origin in PACKAGED_ORIGINS or source.origin.startswith("hf:"):
            continue
        total = sum(path.stat().st_size for path in text_files(source.origin))
        left = float(total)
        if total <= READ_AT_MOST:
            left, found = _training_bytes(source, sweep)
            yield from found
        if left:
            yield from _epochs(source, left / BYTES_PER_TOKEN, sweep, planned)


def _training_bytes(source: SourceSpec, sweep: Sweep) -> tuple[float, list[str]]:
    """Bytes left to train on, 0 where none are, and what was noticed on the way."""
    documents, found = read_documents(source, sweep.data.seed), []
    raw = sum(len(text.strip().encode()) for _, text in read_files(source.origin))
    kept = sum(len(document.text.encode()) for document in documents)
    if source.max_bytes is None and kept < (1 - REPEATED) * raw:
        found.append(
            f"{source.name}: {1 - kept / raw:.0%} of the text repeats what came before and is "
            f"dropped; {kept:,} of {raw:,} bytes are left"
        )
    held = sweep.data.heldout_windows * sweep.data.context
    try:
        train, _ = split_documents(
            documents, heldout_tokens=held, seed=sweep.data.seed, source=source.name
        )
    except ValueError as error:
        return 0.0, [*found, "; ".join(str(error).splitlines())]
    return float(sum(len(document.text.encode()) for document in train)), found


def _epochs(source: SourceSpec, tokens: float, sweep: Sweep, planned: Plan) -> Iterator[str]:
    """A caution where runs want more tokens than there are."""
    share = sweep.mixture[source.name]
    over = [run for run in planned.runs if run.tokens * share > source.max_epochs * tokens]
    if not over:
        return
    most = max(over, key=lambda run: run.tokens)
    target = ", the target among them" if planned.target in over else ""
    yield (
        f"{source.name}: about {tokens:.2g} tokens to train on, fewer than {len(over)} of "
        f"{len(planned.runs)} runs want{target} ({most.name}: {most.tokens * share:.2g}, "
        f"{most.tokens * share / tokens:.1f} epochs, allowed {source.max_epochs:g}); fits leave "
        "such runs out: add text, lower the budgets, or allow more epochs"
    )
