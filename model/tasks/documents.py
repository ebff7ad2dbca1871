"""Training documents: programs by the thousand, each operation taught on its own and in chains."""

import random
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate, cycle

from model.tasks.drawing import Drawing
from model.tasks.lexicon import lexicon

DEPTH_WEIGHTS = {1: 0.2, 2: 0.35, 3: 0.25, 4: 0.2}  # share of documents


def program_documents(
    seed: int, n_bytes: int, *, heldout: bool = False
) -> Iterator[tuple[str, str]]:
    """Pairs of document id and text, until their UTF-8 length reaches `n_bytes`.

    Texts recur as their verbs are frequent: half of the single operations are drawn by Zipf's
    law, the others go round the whole lexicon, which is taught entirely within 1 MB. `heldout`
    gives documents of evaluation-only behaviours instead (none of depth 1), about 16 times as
    slowly. Raises ValueError if n_bytes is negative.
    """
    if n_bytes < 0:
        raise ValueError(f"n_bytes={n_bytes}: must be at least 0")
    rng = random.Random(f"programs {seed} {heldout}")
    weights = {d: w for d, w in DEPTH_WEIGHTS.items() if d > 1 or not heldout}
    depths, cumulative = list(weights), list(accumulate(weights.values()))
    everything = list(lexicon())
    rng.shuffle(everything)
    taught = cycle(everything)
    draw = Drawing(rng)
    written = 0
    while written < n_bytes:
        depth = depths[bisect(cumulative, rng.random() * cumulative[-1], hi=len(depths) - 1)]
        if depth == 1 and rng.random() < 0.5:
            program = draw.known((next(taught),))
        else:
            program = draw.program(depth)
        if program is None or program.heldout != heldout:
            continue
        text = program.prompt + program.body
        written += len(text)  # ASCII
        yield program.document_id, text
