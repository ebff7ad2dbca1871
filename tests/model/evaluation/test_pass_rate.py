from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from model.architecture.decoder import Decoder  # noqa: E402
from model.architecture.shape import Parametrisation, Shape, VisionShape  # noqa: E402
from model.evaluation import pass_rate  # noqa: E402
from model.evaluation.floor import swapped_body_floor  # noqa: E402
from model.evaluation.pass_rate import (  # noqa: E402
    evaluate_programs,
    evaluate_strips,
    gold_nll,
    read_strips,
)
from model.tasks.problems import BUCKETS, problems  # noqa: E402

END, IMAGE, CONTEXT = 128, 129, 128


class Characters:
    """A dataset whose tokens are ASCII characters."""

    manifest = SimpleNamespace(end_token=END, image_token=IMAGE, context=CONTEXT)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: list[int]) -> str:
        return bytes(token for token in tokens if token < END).decode()

    def strips_eval(self, n: int) -> Any:
        rng = np.random.default_rng(0)
        answers = tuple(str(10**i)[: i % 4 + 1] for i in range(n))
        return SimpleNamespace(patches=rng.random((n, 4, 64), dtype=np.float32), answers=answers)


DATASET: Any = Characters()


@pytest.fixture(scope="module")
def model() -> Decoder:
    torch.set_num_threads(1)
    shape = Shape(
        layers=2,
        width=32,
        heads=4,
        kv_heads=2,
        head_dim=8,
        experts=2,
        top_k=1,
        expert_hidden=16,
        vocab=136,
        context=CONTEXT,
        vision=VisionShape(width=16, layers=1, heads=2, hidden=16),
    )
    decoder = Decoder(shape, Parametrisation(), image_token=IMAGE)
    decoder.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():  # so that logits differ from the start
        for parameter in decoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.manual_seed(1)) * 0.1)
    return decoder


def answering(replies: list[list[int]]) -> Any:
    """A stand-in for generate: the n-th prompt's n-th reply."""

    def generate(model: object, prompts: list[list[int]], **_: object) -> list[list[int]]:
        assert len(prompts) == len(replies)
        return replies

    return generate


def test_programs_are_counted_by_problem(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    some = problems(9, 0)
    right = [DATASET.encode(problem.gold) for problem in some]
    wrong = DATASET.encode("\n return x")
    # Of three samples the n-th problem gets n % 4 right; an image token in a body is no text.
    replies = [
        right[i] if k < i % 4 else [*right[i], IMAGE] if k == 2 else wrong
        for i in range(9)
        for k in range(3)
    ]
    monkeypatch.setattr(pass_rate, "generate", answering(replies))
    rows = evaluate_programs(model, DATASET, some, samples=3, temperature=1.0)
    assert [row["n_passed"] for row in rows] == [i % 4 for i in range(9)]
    assert [row["problem"] for row in rows] == [problem.id for problem in some]
    assert {row["kind"] for row in rows} == {"program"} and rows[0]["n_samples"] == 3
    assert [row["bucket"] for row in rows] == [problem.bucket for problem in some]


def test_an_untrained_model_passes_nothing_and_is_unsure(model: Decoder) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = evaluate_programs(
        model, DATASET, problems(4, 0), samples=2, temperature=1.0, generator=generator
    )
    assert [row["n_passed"] for row in rows] == [0] * 4
    assert all(row["gold_nll"] is not None and row["gold_nll"] > 50 for row in rows)


def test_gold_likelihood_does_not_depend_on_the_padding(model: Decoder) -> None:
    prompts = [[100, 101], [5, 6, 7, 8, 9], [3]]
    golds = [[102, END], [10, 11, 12, END], [4] * 40]
    found = gold_nll(model, prompts, golds, end_token=END, context=CONTEXT)
    for prompt, gold, total in zip(prompts, golds, found, strict=True):
        tokens = torch.tensor([prompt + gold])
        with torch.no_grad():
            logs = model(tokens[:, :-1]).logits_BTV.log_softmax(-1)[0]
        by_hand = -sum(
            logs[len(prompt) - 1 + place, token].item() for place, token in enumerate(gold)
        )
        assert total == pytest.approx(by_hand, rel=1e-4)


def test_gold_beyond_the_context_is_missing_not_a_number(model: Decoder) -> None:
    golds = [[4] * (CONTEXT - 1), [4] * CONTEXT]
    found = gold_nll(model, [[3, 3]] * 2, golds, end_token=END, context=CONTEXT)
    assert found[0] is not None and found[1] is None


def test_strips_stand_beside_their_blind_baseline(model: Decoder) -> None:
    rows = evaluate_strips(model, DATASET, 8)
    assert [row["kind"] for row in rows] == ["strip"] * 8 + ["strip_blind"] * 8
    assert [row["bucket"] for row in rows[:4]] == ["k1", "k2", "k3", "k4"]
    seen = [row["gold_nll"] for row in rows[:8]]
    blind = [row["gold_nll"] for row in rows[8:]]
    assert all(a != b for a, b in zip(seen, blind, strict=True))
    # Blind, equal answers are equally likely whatever the image was.
    again = read_strips(model, DATASET, np.zeros((1, 4, 64), np.float32), ["1"], kind="strip_blind")
    assert again[0]["gold_nll"] == pytest.approx(blind[0], rel=1e-4)


def test_strips_pass_by_all_their_digits(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [[*b"12"], [*b"12", IMAGE], [*b"1"], [*b"7"], [*b"77"], []]
    monkeypatch.setattr(pass_rate, "generate", answering(replies))
    rows = read_strips(
        model, DATASET, np.zeros((2, 4, 64), np.float32), ["12", "7"], kind="strip", samples=3
    )
    assert [row["n_passed"] for row in rows] == [1, 1]


def test_bodies_of_other_problems_hardly_ever_pass() -> None:
    floors = swapped_body_floor(problems(60, 0), others=4)
    assert set(floors) == set(BUCKETS) and max(floors.values()) == 0
    with pytest.raises(ValueError, match="others=0"):
        swapped_body_floor([], others=0)


def test_no_samples_are_refused(model: Decoder) -> None:
    with pytest.raises(ValueError, match="samples=0"):
        evaluate_programs(model, DATASET, [], samples=0, temperature=1.0)
