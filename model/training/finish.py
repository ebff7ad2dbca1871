"""The end of a run: held-out losses, count-model baselines, pass rates, and the result."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model.architecture.accounting import six_nd, train_flops
from model.evaluation.heldout import bits_per_byte, evaluate_heldout
from model.records import canonical, read_json, write_atomic
from model.training.device import device_name, peak_memory_bytes, precision, versions
from model.training.interruption import Interruption
from model.training.metrics import MetricsWriter
from model.training.result import NgramLosses, PartLoss, RunResult, RunStatus
from model.training.schedule import is_annealed
from model.training.spec import run_id
from model.training.state import TrainingState

if TYPE_CHECKING:
    from model.data.dataset import Dataset
    from model.evaluation.pass_rate import SampleRow

SAMPLES_NAME = "samples.csv"
SAMPLE_COLUMNS = ("problem", "bucket", "kind", "n_samples", "n_passed", "gold_nll")


def conclude(
    state: TrainingState,
    dataset: Dataset,
    folder: Path,
    data_folder: Path,
    metrics: MetricsWriter,
    status: RunStatus,
    peak: float | None,
    interruption: Interruption,
) -> RunResult:
    """Evaluate what was trained and put the result together; a diverged run is not evaluated."""
    spec = state.spec
    loss: PartLoss | None = None
    parts: dict[str, PartLoss] = {}
    ngrams: dict[str, NgramLosses] = {}
    with state.watch.stage("evaluate"):
        if status is RunStatus.FINISHED:
            loss, parts = evaluate_heldout(
                state.model,
                dataset,
                mixture=spec.mixture,
                loss_weights=spec.loss_weights,
                execution=spec.execution,
            )
            if not math.isfinite(loss.mean):
                status, loss, parts = RunStatus.DIVERGED, None, {}
        if loss is not None:
            _write_final_line(state, metrics, loss, parts)
            interruption.check(f"{folder}: stopped after the held-out losses")
            ngrams = part_ngrams(state, dataset, data_folder)
            interruption.check(f"{folder}: stopped before the pass rates")
            with precision(spec.execution):
                rows = pass_rates(state, dataset)
            interruption.check(f"{folder}: stopped during the pass rates")
            write_samples(folder / SAMPLES_NAME, rows)
    with state.watch.stage("save"):
        metrics.flush(sync=True)
    return _result(state, dataset, status, loss, parts, ngrams, peak)


def _write_final_line(
    state: TrainingState, metrics: MetricsWriter, loss: PartLoss, parts: dict[str, PartLoss]
) -> None:
    spec = state.spec
    metrics.append(
        {
            "kind": "heldout",
            "final": True,
            "step": state.step,
            "tokens": spec.tokens,
            "flops": train_flops(spec.shape, sequences=spec.sequences, images=state.images),
            "loss": loss.mean,
            "loss_se": loss.se,
            **{f"loss_{part}": value.mean for part, value in parts.items()},
        }
    )


def part_ngrams(
    state: TrainingState, dataset: Dataset, data_folder: Path
) -> dict[str, NgramLosses]:
    """Losses of count models that saw as many tokens of each source as the run did, by part.

    They depend on data and token count alone, so they are kept beside the data for other seeds.
    Images have no count model.
    """
    from model.data.ngrams import ngram_losses

    spec = state.spec
    found: dict[str, list[tuple[float, NgramLosses]]] = {}
    for name, rows in zip(dataset.names, state.rows.tolist(), strict=True):
        source = dataset.manifest.sources[name]
        if source.kind == "vision" or rows == 0:
            continue
        tokens = min(rows * spec.shape.context, source.tokens_train)
        kept = data_folder / "ngrams" / f"{name}-{tokens}.json"
        try:
            losses = NgramLosses(**read_json(kept))
        except (FileNotFoundError, ValueError, TypeError):
            bigram, trigram = ngram_losses(dataset, name, tokens)
            losses = NgramLosses(bigram=float(bigram), trigram=float(trigram))
            write_atomic(kept, canonical(losses))
        found.setdefault(str(source.kind), []).append((spec.mixture[name], losses))
    return {part: _mixed(pairs) for part, pairs in found.items()}


def _mixed(pairs: list[tuple[float, NgramLosses]]) -> NgramLosses:
    total = sum(share for share, _ in pairs)
    return NgramLosses(
        bigram=sum(share * losses.bigram for share, losses in pairs) / total,
        trigram=sum(share * losses.trigram for share, losses in pairs) / total,
    )


def pass_rates(state: TrainingState, dataset: Dataset) -> list[SampleRow]:
    """One row a problem, programs first, then digit strips with and without their image."""
    evaluation = state.spec.evaluation
    generator = torch.Generator().manual_seed(evaluation.seed)
    rows: list[SampleRow] = []
    kinds = {source.kind for source in dataset.manifest.sources.values()}
    if evaluation.problems and "tasks" in kinds:
        from model.evaluation.pass_rate import evaluate_programs
        from model.tasks.problems import problems

        rows += evaluate_programs(
            state.model,
            dataset,
            problems(evaluation.problems, evaluation.seed),
            samples=evaluation.samples,
            temperature=evaluation.temperature,
            generator=generator,
        )
    if evaluation.strips and "vision" in kinds:
        from model.evaluation.pass_rate import evaluate_strips

        rows += evaluate_strips(state.model, dataset, evaluation.strips)
    return rows


def write_samples(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The counts of every problem, as CSV; a missing likelihood stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, SAMPLE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def _result(
    state: TrainingState,
    dataset: Dataset,
    status: RunStatus,
    loss: PartLoss | None,
    parts: dict[str, PartLoss],
    ngrams: dict[str, NgramLosses],
    peak: float | None,
) -> RunResult:
    spec, sources = state.spec, dataset.manifest.sources
    sequences = state.step * spec.batch
    tokens = sequences * spec.shape.context
    flops = float(train_flops(spec.shape, sequences=sequences, images=state.images))
    seconds = state.watch.total()
    peak = None if peak is None else peak * state.world_size
    return RunResult(
        run_id=run_id(spec),
        status=status,
        loss=None if loss is None else loss.mean,
        loss_se=None if loss is None else loss.se,
        losses=parts,
        bits_per_byte=bits_per_byte(parts, _bytes_per_token(state, dataset)),
        ngrams=ngrams,
        tokens=tokens,
        sequences=sequences,
        images=state.images,
        flops=flops,
        flops_6nd=float(six_nd(spec.shape, tokens)),
        epochs={
            name: rows / sources[name].windows_train
            for name, rows in zip(dataset.names, state.rows.tolist(), strict=True)
            if name in spec.mixture
        },
        steps=state.step,
        seconds=seconds,
        tokens_per_second=tokens / seconds.train,
        flops_per_second=flops / seconds.train,
        mfu=None if peak is None else flops / seconds.train / peak,
        peak_flops_per_second=peak,
        peak_memory_bytes=peak_memory_bytes(spec.execution.device),
        router_entropy=_finite(state.entropy),
        dead_experts=state.dead,
        device=device_name(spec.execution.device),
        versions=versions(),
        restarts=state.restarts,
        world_size=state.world_size,
        annealed=status is RunStatus.FINISHED and is_annealed(spec.schedule),
        notes=tuple(state.notes),
    )


def _bytes_per_token(state: TrainingState, dataset: Dataset) -> dict[str, float]:
    """Of the held-out windows by part, weighted as the losses are; images have none."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, share in state.spec.mixture.items():
        source = dataset.manifest.sources[name]
        if source.kind != "vision":
            found.setdefault(str(source.kind), []).append((share, source.bytes_per_token))
    return {
        part: sum(share * size for share, size in pairs) / sum(share for share, _ in pairs)
        for part, pairs in found.items()
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
