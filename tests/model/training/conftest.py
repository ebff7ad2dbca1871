"""A tiny dataset on disk, and specs that train on it within a second."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.architecture.shape import Parametrisation, RouterSpec, Shape, VisionShape
from model.training.spec import EvaluationSpec, OptimiserSpec, RunSpec, ScheduleSpec

CONTEXT, VOCAB = 32, 300
SpecMaker = Callable[..., RunSpec]


def write_corpus(folder: Path) -> None:
    """Forty documents in a language of sixty words."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 6))) for _ in range(60)]
    weights = [1 / (rank + 1) for rank in range(60)]
    folder.mkdir(parents=True)
    for number in range(40):
        lines = [" ".join(rng.choices(words, weights=weights, k=12)) + "." for _ in range(40)]
        (folder / f"{number}.txt").write_text("\n".join(lines))


def shape(experts: int, vision: bool) -> Shape:
    """Two layers, width 16."""
    return Shape(
        layers=2,
        width=16,
        heads=4,
        kv_heads=2,
        head_dim=8,
        experts=experts,
        top_k=min(2, experts),
        expert_hidden=16,
        vocab=VOCAB,
        context=CONTEXT,
        vision=VisionShape(width=16, layers=1, heads=2, hidden=16) if vision else None,
    )


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built dataset of prose and digit strips."""
    pytest.importorskip("tokenizers")
    pytest.importorskip("sklearn")
    from model.data.build import build_dataset, data_key
    from model.data.spec import DataSpec, SourceSpec

    root = tmp_path_factory.mktemp("data")
    write_corpus(root / "corpus")
    sources = (
        SourceSpec(name="prose", kind="text", origin=str(root / "corpus"), weight=0.7),
        SourceSpec(name="strips", kind="vision", origin="digits", weight=0.3, max_bytes=256 * 2000),
    )
    spec = DataSpec(vocab=VOCAB, context=CONTEXT, sources=sources, heldout_windows=24)
    build_dataset(spec, root / "built")
    return root / "built" / data_key(spec)


@pytest.fixture(scope="session")
def make_spec(data_folder: Path) -> SpecMaker:
    """Specs for that dataset: `make_spec(experts=1, vision=True, steps=…, …)`."""
    from model.data.manifest import read_manifest
    from model.training.spec import model_source_hash

    manifest = read_manifest(data_folder)

    def make(experts: int = 4, vision: bool = False, **changes: Any) -> RunSpec:
        weights = {"text": 0.8, "vision": 0.2} if vision else {"text": 1.0}
        settings: dict[str, Any] = {
            "shape": shape(experts, vision),
            "parametrisation": Parametrisation(),
            "router": RouterSpec(window=CONTEXT),
            "data": manifest.hash,
            "tokenizer": manifest.tokenizer,
            "mixture": {"prose": 0.7, "strips": 0.3} if vision else {"prose": 1.0},
            "loss_weights": weights,
            "batch": 4,
            "steps": 40,
            "optimiser": OptimiserSpec(learning_rate=0.02),
            "schedule": ScheduleSpec(warmup_steps=4),
            "evaluation": EvaluationSpec(points=3, subset=8),
            "model_source": model_source_hash(),
        }
        return RunSpec(**(settings | changes))

    return make
