"""Pass rates: sampled programs run against their tests, and digit strips read from images.

Counts are kept by problem, and beside them the likelihood of the right answer, which still moves
where nothing passes. Run under the same autocast as training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.evaluation.generate import generate, number_images
from model.evaluation.sandbox import GradeItem, Limits, grade_batch
from model.tasks.problems import Problem

if TYPE_CHECKING:
    from model.data.dataset import Dataset

SLACK_TOKENS = 8  # a sample may be so much longer than the longest gold body
ROWS_AT_ONCE = 128  # rows of a forward pass

StripKind = Literal["strip", "strip_blind"]


class SampleRow(TypedDict):
    """One problem's counts, as they stand in the samples table."""

    problem: str
    bucket: str
    kind: Literal["program", "strip", "strip_blind"]
    n_samples: int
    n_passed: int
    gold_nll: float | None  # nats of the whole answer with its end; None if it exceeds the context


def evaluate_programs(
    model: Any,
    dataset: Dataset,
    problems: Sequence[Problem],
    *,
    samples: int,
    temperature: float,
    generator: torch.Generator | None = None,
    limits: Limits | None = None,
) -> list[SampleRow]:
    """A row for each problem: `samples` bodies drawn at `temperature` (0: the likeliest one).

    A sample ends at the end token; one that goes on for 8 tokens more than the longest gold body
    is cut there. `generator` lives on the CPU. Raises ValueError if samples is below 1.
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: must be at least 1")
    end, image = dataset.manifest.end_token, dataset.manifest.image_token
    prompts = [dataset.encode(problem.prompt) for problem in problems]
    golds = [
        [*_continuation(dataset, prompt, problem), end]
        for prompt, problem in zip(prompts, problems, strict=True)
    ]
    drawn = generate(
        model,
        [prompt for prompt in prompts for _ in range(samples)],
        max_new_tokens=max(map(len, golds), default=1) + SLACK_TOKENS,
        temperature=temperature,
        generator=generator,
        stop_token=end,
    )
    repeated = [problem for problem in problems for _ in range(samples)]
    # An image token has no text: a body that holds one is not the text that it decodes to.
    bodies = ["\0" if image in new else dataset.decode(new) for new in drawn]
    verdicts = grade_batch(
        [GradeItem(p.prompt, body, p.tests) for p, body in zip(repeated, bodies, strict=True)],
        limits=limits,
    )
    likelihoods = gold_nll(model, prompts, golds, end_token=end, context=dataset.manifest.context)
    return [
        {
            "problem": problem.id,
            "bucket": problem.bucket,
            "kind": "program",
            "n_samples": samples,
            "n_passed": sum(v.passed for v in verdicts[i * samples : (i + 1) * samples]),
            "gold_nll": likelihoods[i],
        }
        for i, problem in enumerate(problems)
    ]


def evaluate_strips(
    model: Any,
    dataset: Dataset,
    n: int,
    *,
    samples: int = 1,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[SampleRow]:
    """Two rows for each of `n` held-out strips: with its image, and blind (all pixels zero)."""
    strips = dataset.strips_eval(n)
    rows: list[SampleRow] = []
    kinds: tuple[StripKind, ...] = ("strip", "strip_blind")
    for kind in kinds:
        pixels = strips.patches if kind == "strip" else np.zeros_like(strips.patches)
        rows += read_strips(
            model,
            dataset,
            pixels,
            strips.answers,
            kind=kind,
            samples=samples,
            temperature=temperature,
            generator=generator,
        )
    return rows


def read_strips(
    model: Any,
    dataset: Dataset,
    patches: NDArray[np.float32],
    answers: Sequence[str],
    *,
    kind: StripKind,
    samples: int = 1,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[SampleRow]:
    """A row for each image (n, positions, pixels): passed if exactly its digits are written."""
    end, image = dataset.manifest.end_token, dataset.manifest.image_token
    prompts = [[image] * patches.shape[1] for _ in answers]
    digits = [[token for digit in answer for token in dataset.encode(digit)] for answer in answers]
    golds = [[*tokens, end] for tokens in digits]
    pixels = torch.from_numpy(patches)
    drawn = generate(
        model,
        [prompt for prompt in prompts for _ in range(samples)],
        max_new_tokens=max(map(len, golds), default=1),
        temperature=temperature,
        generator=generator,
        stop_token=end,
        patches=pixels.repeat_interleave(samples, 0),
    )
    likelihoods = gold_nll(
        model,
        prompts,
        golds,
        end_token=end,
        context=dataset.manifest.context,
        patches=pixels,
        image_token=image,
    )
    return [
        {
            "problem": f"strip-{i}-{answers[i]}",
            "bucket": f"k{len(answers[i])}",
            "kind": kind,
            "n_samples": samples,
            "n_passed": drawn[i * samples : (i + 1) * samples].count(digits[i]),
            "gold_nll": likelihoods[i],
        }
        for i in range(len(answers))
    ]


@torch.inference_mode()
def gold_nll(
    model: Any,
    prompts: Sequence[Sequence[int]],
    golds: Sequence[Sequence[int]],
    *,
    end_token: int,
    context: int,
    patches: Tensor | None = None,
    image_token: int | None = None,
) -> list[float | None]:
    """Nats of each gold given its prompt, teacher-forced; None where both exceed the context.

    `patches` (one image a prompt, each prompt nothing but its positions of `image_token`).
    """
    rows = [[*prompt, *gold] for prompt, gold in zip(prompts, golds, strict=True)]
    found: list[float | None] = [None] * len(rows)
    fitting = [i for i in range(len(rows)) if len(rows[i]) <= context + 1]
    training = model.training
    model.eval()
    try:
        for start in range(0, len(fitting), ROWS_AT_ONCE):
            chosen = fitting[start : start + ROWS_AT_ONCE]
            pixels = None if patches is None else patches[chosen]
            losses_BT = _losses(model, [rows[i] for i in chosen], end_token, pixels, image_token)
            for row, i in enumerate(chosen):
                first = len(prompts[i]) - 1
                found[i] = float(losses_BT[row, first : first + len(golds[i])].sum())
    finally:
        model.train(training)
    return found


def _losses(
    model: Any,
    rows: list[list[int]],
    end_token: int,
    patches: Tensor | None,
    image_token: int | None,
) -> Tensor:
    """Cross-entropy of every token but the first, float64 (rows, longest - 1).

    Padding stands on the right, where causal attention hides it from all that counts.
    """
    device = next(model.parameters()).device
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [end_token] * (longest - len(row)) for row in rows], device=device)
    inputs, images = tokens[:, :-1], {}
    if patches is not None and image_token is not None:
        image_ids = number_images(inputs, image_token, patches.shape[1])
        images = {"patches": patches.to(device), "image_ids": image_ids}
    logits_BTV = model(inputs, **images).logits_BTV.float()
    return torch.nn.functional.cross_entropy(
        logits_BTV.transpose(1, 2), tokens[:, 1:], reduction="none"
    ).double()


def _continuation(dataset: Dataset, prompt: list[int], problem: Problem) -> list[int]:
    """Tokens of the gold body as they follow the prompt's in a training document."""
    whole = dataset.encode(problem.prompt + problem.gold)
    if whole[: len(prompt)] == prompt:
        return whole[len(prompt) :]
    return dataset.encode(problem.gold)
