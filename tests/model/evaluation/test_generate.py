"""Cached generation equals the model run afresh for every token."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from model.architecture.decoder import Decoder  # noqa: E402
from model.architecture.shape import Parametrisation, Shape, VisionShape  # noqa: E402
from model.evaluation.generate import generate, number_images, pick  # noqa: E402

torch.set_num_threads(1)

IMAGE = 1
SHAPE = Shape(
    layers=2,
    width=16,
    heads=4,
    kv_heads=2,
    head_dim=8,
    experts=4,
    top_k=2,
    expert_hidden=22,
    conv=True,
    vocab=40,
    context=32,
    vision=VisionShape(width=12, layers=1, heads=2, hidden=16, patch=4),
)


@pytest.fixture(scope="module")
def model() -> Decoder:
    built = Decoder(SHAPE, Parametrisation(), image_token=IMAGE)
    generator = torch.Generator().manual_seed(0)
    built.initialise(generator)
    with torch.no_grad():
        built.unembedding.copy_(torch.randn(40, 16, generator=generator))
        for name, parameter in built.named_parameters():
            if "conv" in name:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        built.output_bias[IMAGE] = -100.0  # a text model never writes an image
    return built


@torch.no_grad()
def afresh(model: Decoder, prompt: list[int], new: int, patches: Tensor | None) -> list[int]:
    tokens = torch.tensor([prompt])
    for _ in range(min(new, SHAPE.context - len(prompt))):
        ids = None if patches is None else number_images(tokens, IMAGE, 16)
        logits = model(tokens, patches, ids).logits_BTV
        tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], 1)
    return [int(t) for t in tokens[0, len(prompt) :]]


def test_greedy_equals_uncached(model: Decoder) -> None:
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12], [13] * 28]
    new = generate(model, prompts, max_new_tokens=9, temperature=0)
    assert new == [afresh(model, prompt, 9, None) for prompt in prompts]
    assert [len(row) for row in new] == [9, 9, 9, 4]  # the last fills its context


def test_greedy_with_images_equals_uncached(model: Decoder) -> None:
    patches = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(2))
    prompts = [[4] + [IMAGE] * 16, [7, 8], [9] + [IMAGE] * 16]
    new = generate(model, prompts, max_new_tokens=5, temperature=0, patches=patches)
    for i, image in ((0, patches[:1]), (1, None), (2, patches[1:])):
        assert new[i] == afresh(model, prompts[i], 5, image)
    swapped = generate(model, prompts, max_new_tokens=5, temperature=0, patches=patches.flip(0))
    assert swapped[1] == new[1]


def test_rows_at_once_changes_nothing(model: Decoder) -> None:
    prompts = [[5, i] for i in range(2, 9)]
    one = generate(model, prompts, max_new_tokens=6, temperature=0)
    assert one == generate(model, prompts, max_new_tokens=6, temperature=0, rows_at_once=2)


def test_stop_token_ends_a_row(model: Decoder) -> None:
    free = generate(model, [[5, 6, 7]], max_new_tokens=12, temperature=0)[0]
    stop = free[4]
    stopped = generate(model, [[5, 6, 7]], max_new_tokens=12, temperature=0, stop_token=stop)[0]
    assert stopped == free[: free.index(stop)]


def test_seed_decides_the_samples(model: Decoder) -> None:
    def draw(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return generate(model, [[5, 6]] * 4, max_new_tokens=8, temperature=1.0, generator=generator)

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


def test_samples_follow_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(20000, -1)
    drawn = pick(logits, 0.5, torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=3) / len(drawn)
    # standard error of a share at most .5 / sqrt(20000) = .0035
    torch.testing.assert_close(share, torch.tensor([0.0, 2.0, 4.0]).softmax(0), atol=0.015, rtol=0)


def test_works_under_autocast_and_keeps_the_mode(model: Decoder) -> None:
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        new = generate(model, [[5, 6, 7]], max_new_tokens=4, temperature=0)
    assert len(new[0]) == 4
    assert model.training


def test_training_after_generation(model: Decoder) -> None:
    # tables and masks made in inference mode must not poison a later backward pass
    fresh = Decoder(replace(SHAPE, context=30), Parametrisation(), image_token=IMAGE)
    fresh.initialise(torch.Generator().manual_seed(0))
    generate(fresh, [[3] * 29], max_new_tokens=1, temperature=0)
    fresh(torch.full((2, 29), 3)).logits_BTV.sum().backward()
    assert fresh.output_bias.grad is not None


def test_bad_arguments_are_refused(model: Decoder) -> None:
    def call(prompt: list[int], **options: object) -> None:
        arguments = {"max_new_tokens": 2, "temperature": 0.0} | options
        generate(model, [prompt], **arguments)  # type: ignore[arg-type]

    for prompt, options, message in (
        ([], {}, "prompt 0 has 0 tokens"),
        ([3] * 32, {}, "from 1 to 31"),
        ([3], {"max_new_tokens": 0}, "max_new_tokens = 0"),
        ([3], {"temperature": -1.0}, "temperature = -1"),
        ([3], {"temperature": 1.0}, "generator = None"),
        ([IMAGE] * 15, {"patches": torch.rand(1, 16, 16)}, "multiple of 16"),
        ([3, 4], {"patches": torch.rand(1, 16, 16)}, "1 images for 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call(prompt, **options)  # type: ignore[arg-type]
