"""Builds the shards of a vision source: random strips of the digits of each side of the split."""

import numpy as np
from numpy.typing import NDArray

from model.data.dataset import DIGIT_IMAGES, DIGIT_LABELS
from model.data.digits import (
    STRIP_PIXELS,
    StripWriter,
    draw_strips,
    load_source_digits,
    patch_table,
    split_digits,
    strips_per_window,
)
from model.data.manifest import SourceManifest
from model.data.measure import Overlap, Site, describe, save_array
from model.data.shards import StripShard
from model.data.spec import SourceSpec

STRIP_WINDOWS = 100_000  # training windows where no max_bytes is given


def build_strips(source: SourceSpec, site: Site) -> tuple[SourceManifest, NDArray[np.float64]]:
    """Write the strips of a vision source; its manifest and how often each id is a target."""
    spec, folder, tokenizer = site.spec, site.folder, site.tokenizer
    per_window = strips_per_window(spec.context)
    rows = STRIP_WINDOWS
    if source.max_bytes is not None:
        rows = max(source.max_bytes // (STRIP_PIXELS * per_window), 1)
    images, labels = load_source_digits()
    pools = split_digits(images, spec.seed)
    rng = np.random.Generator(np.random.Philox(key=spec.seed))
    train = draw_strips((rows, per_window), pools[0], rng, None)
    heldout = draw_strips((spec.heldout_windows, per_window), pools[1], rng, None)
    save_array(folder / DIGIT_IMAGES, images)
    save_array(folder / DIGIT_LABELS, labels)
    save_array(folder / f"{source.name}.train.npy", train)
    save_array(folder / f"{source.name}.heldout.npy", heldout)
    # A digit recurs in many windows, so there is no clean cluster: each window is its own.
    windows = np.arange(heldout.shape[0], dtype=np.int32)
    save_array(folder / f"{source.name}.documents.npy", windows)
    writer = StripWriter(
        labels=labels,
        digit_tokens=tokenizer.digit_tokens,
        image_token=tokenizer.image_token,
        end_token=tokenizer.end_token,
        context=spec.context,
    )
    table = patch_table(images)
    shared = float(np.isin(heldout[heldout >= 0], train).mean())
    return describe(
        source,
        site,
        StripShard(train, writer, table),
        StripShard(heldout, writer, table),
        documents=(pools[0].size, pools[1].size),
        overlap=Overlap(final=shared, raw=shared, of="digit", ngram=None),
        images_per_window=per_window,
    )
