"""Which units are held out. A unit (service, module, file, behaviour) is never divided."""

from collections.abc import Sequence

from model.data.corpus import Document, unit_rank

HELDOUT_UNITS = 0.05
# Candidate windows come from six times the text that the held-out windows need, since many
# candidates are rejected for their overlap with training.
_SPARE = 6
_BYTES_PER_TOKEN = 3
_LARGEST_SHARE = 0.25


def split_documents(
    documents: Sequence[Document], *, heldout_tokens: int, seed: int, source: str
) -> tuple[list[Document], list[Document]]:
    """(training, held-out) documents: 5 % of the units and enough text for `heldout_tokens`.

    Documents of one unit, and documents of equal text, stay on one side. ValueError where the
    held-out side would take more than a quarter of the text.
    """
    owner = _joined_units(documents)
    sizes: dict[str, int] = {}
    for document in documents:
        unit = owner[document.unit]
        sizes[unit] = sizes.get(unit, 0) + len(document.text.encode())
    total, wanted = sum(sizes.values()), heldout_tokens * _BYTES_PER_TOKEN * _SPARE
    heldout: set[str] = set()
    taken = 0
    # A unit larger than a twentieth of the text would be a poor sample by itself.
    ranked = sorted(sizes, key=lambda unit: unit_rank(seed, f"{source}:{unit}"))
    for unit in [unit for unit in ranked if sizes[unit] <= total / 20] or ranked:
        if taken >= wanted and len(heldout) >= HELDOUT_UNITS * len(sizes):
            break
        heldout.add(unit)
        taken += sizes[unit]
    if taken < wanted or taken > _LARGEST_SHARE * total:
        raise ValueError(
            f"source {source}: too little text, {total:,} bytes in {len(sizes):,} units; "
            f"the held-out windows need about {wanted / _LARGEST_SHARE:,.0f}\n"
            "add text, or lower heldout_windows or context"
        )
    train = [document for document in documents if owner[document.unit] not in heldout]
    return train, [document for document in documents if owner[document.unit] in heldout]


def _joined_units(documents: Sequence[Document]) -> dict[str, str]:
    """For each unit the one that stands for it: units that share a text are one."""
    parent = {document.unit: document.unit for document in documents}

    def root(unit: str) -> str:
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return unit

    first: dict[str, str] = {}
    for document in documents:
        other = first.setdefault(document.text, document.unit)
        a, b = sorted((root(other), root(document.unit)))
        parent[b] = a
    return {unit: root(unit) for unit in parent}
