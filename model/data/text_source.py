"""Builds the shards of a source of text, code or tasks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.corpus import (
    Document,
    read_documents,
    read_heldout_programs,
)
from model.data.heldout import Draw, draw_heldout
from model.data.manifest import SourceManifest
from model.data.measure import Overlap, Site, describe, save_array
from model.data.packing import pack_whole, stream
from model.data.shards import Shard, StreamShard, WindowShard
from model.data.spec import DataSpec, SourceSpec
from model.data.split import split_documents

Tokens = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Texts:
    """A source's documents."""

    source: SourceSpec
    train: list[Document]
    heldout: list[Document]


@dataclass(frozen=True, slots=True)
class Packed:
    """A source's documents and their training shard."""

    texts: Texts
    tokens: Tokens  # 1-D stream, or for tasks 2-D windows of whole documents
    cut_documents: int


def read_texts(source: SourceSpec, spec: DataSpec) -> Texts:
    """The documents of a source, split; programs come split by behaviour."""
    heldout_tokens = spec.heldout_windows * spec.context
    documents = read_documents(source, spec.seed)
    if source.origin == "programs":
        known = {document.text for document in documents}
        heldout = read_heldout_programs(spec.seed, heldout_tokens)
        return Texts(source, documents, [one for one in heldout if one.text not in known])
    train, heldout = split_documents(
        documents, heldout_tokens=heldout_tokens, seed=spec.seed, source=source.name
    )
    return Texts(source, train, heldout)


def pack(texts: Texts, site: Site) -> Packed:
    """Write the training shard of a source."""
    path = site.folder / f"{texts.source.name}.train.npy"
    end = site.tokenizer.end_token
    encoded = site.tokenizer.encode_documents([document.text for document in texts.train])
    if texts.source.kind == "tasks":
        windows, _, cuts = pack_whole(encoded, site.spec.context, end)
        save_array(path, windows)
        return Packed(texts, windows, cuts)
    flat, _ = stream(encoded, end)
    save_array(path, flat)
    return Packed(texts, flat, 0)


def build_text(
    packed: Packed, training: list[Tokens], site: Site
) -> tuple[SourceManifest, NDArray[np.float64]]:
    """Write the held-out windows of a source; its manifest and how often each id is a target.

    `training` are the training shards of all sources: a held-out window may be in none of them.
    """
    source, end, documents = packed.texts.source, site.tokenizer.end_token, packed.texts.heldout
    whole = source.kind == "tasks"
    draw = Draw(
        count=site.spec.heldout_windows,
        context=site.spec.context,
        limit=None if whole else site.spec.heldout_overlap,
        end_token=end,
        seed=site.spec.seed,
    )
    encoded = site.tokenizer.encode_documents([document.text for document in documents])
    drawn = draw_heldout(source.name, encoded, whole, training, draw)
    units = sorted({document.unit for document in documents})
    number = {unit: index for index, unit in enumerate(units)}
    owners = np.array([number[document.unit] for document in documents], dtype=np.int32)
    save_array(site.folder / f"{source.name}.heldout.npy", drawn.windows)
    save_array(site.folder / f"{source.name}.documents.npy", owners[drawn.documents])
    overlap = Overlap(final=drawn.overlap, raw=drawn.overlap_raw, of="13-gram", ngram=drawn.overlap)
    shard: Shard = StreamShard(packed.tokens, site.spec.context)
    if whole:
        shared = _shared_documents(packed.texts)
        overlap = Overlap(final=shared, raw=shared, of="document", ngram=drawn.overlap)
        shard = WindowShard(packed.tokens, end)
    return describe(
        source,
        site,
        shard,
        WindowShard(drawn.windows, end),
        documents=(len({document.unit for document in packed.texts.train}), len(units)),
        overlap=overlap,
        cut_documents=packed.cut_documents,
    )


def _shared_documents(texts: Texts) -> float:
    """Share of held-out documents whose text is also in training."""
    known = {document.text for document in texts.train}
    return sum(document.text in known for document in texts.heldout) / len(texts.heldout)
