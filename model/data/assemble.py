"""From a spec to the files of a dataset, in a folder that is empty."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from model.data.corpus import origin_version
from model.data.dataset import LOG_UNIGRAM, TOKENIZER
from model.data.manifest import (
    MANIFEST,
    SCHEMA,
    Manifest,
    ShardFile,
    SourceManifest,
    sealed,
    sha256_of,
)
from model.data.measure import Site, save_array
from model.data.spec import DataSpec
from model.data.strip_source import build_strips
from model.data.text_source import Texts, build_text, pack, read_texts
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.records import canonical, write_atomic

SAMPLE_CHARACTERS = 10_000_000  # of all sources together, that the tokenizer is trained on
_LARGEST_SAMPLE = 100_000  # of one document

Progress = Callable[[str, float], None]


def assemble(spec: DataSpec, key: str, folder: Path, report: Progress) -> None:
    """Write shards, tokenizer and manifest of `spec` into `folder`; `key` is noted in the last."""
    versions = {source.name: origin_version(source) for source in spec.sources}
    texts = []
    for number, source in enumerate(spec.sources):
        if source.kind != "vision":
            report(f"reading {source.origin}", 0.4 * number / len(spec.sources))
            texts.append(read_texts(source, spec))
    report("training the tokenizer", 0.4)
    tokenizer = train_tokenizer(_sample(texts), spec.vocab)
    write_atomic(folder / TOKENIZER, tokenizer.to_text())
    site = Site(spec=spec, folder=folder, tokenizer=tokenizer, versions=versions)
    packed = {}
    for number, text in enumerate(texts):
        report(f"encoding {text.source.name}", 0.5 + 0.3 * number / len(texts))
        packed[text.source.name] = pack(text, site)
    training = [one.tokens for one in packed.values()]
    sources, counts = {}, {}
    for number, source in enumerate(spec.sources):
        report(f"held-out windows of {source.name}", 0.8 + 0.2 * number / len(spec.sources))
        if source.kind == "vision":
            made, counts[source.name] = build_strips(source, site)
        else:
            made, counts[source.name] = build_text(packed[source.name], training, site)
        sources[source.name] = made
        report(
            f"{source.name}: {made.windows_train:,} windows; {made.overlap_of} overlap of the "
            f"held-out windows {made.overlap:.2%} ({made.overlap_raw:.2%} before the draw)",
            0.8 + 0.2 * (number + 1) / len(spec.sources),
        )
    save_array(folder / LOG_UNIGRAM, np.stack([counts[name] for name in sorted(counts)]))
    _write_manifest(spec, key, folder, tokenizer, sources)


def _sample(texts: Sequence[Texts]) -> list[str]:
    """Training text by weight, the start of each document, for the tokenizer."""
    total = sum(text.source.weight for text in texts)
    sample = []
    for text in texts:
        left = int(SAMPLE_CHARACTERS * text.source.weight / total)
        for document in text.train:
            sample.append(document.text[: min(left, _LARGEST_SAMPLE)])
            left -= len(sample[-1])
            if left <= 0:
                break
    return sample


def _write_manifest(
    spec: DataSpec,
    key: str,
    folder: Path,
    tokenizer: Tokenizer,
    sources: dict[str, SourceManifest],
) -> None:
    files = {
        path.name: ShardFile(bytes=path.stat().st_size, sha256=sha256_of(path))
        for path in sorted(folder.iterdir())
    }
    manifest = Manifest(
        schema=SCHEMA,
        key=key,
        hash="",
        spec=spec,
        tokenizer=tokenizer.hash,
        vocab=spec.vocab,
        context=spec.context,
        image_token=tokenizer.image_token,
        end_token=tokenizer.end_token,
        sources=sources,
        files=files,
    )
    write_atomic(folder / MANIFEST, canonical(sealed(manifest)))
