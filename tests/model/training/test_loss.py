"""Losses, gradient clipping, and the running sums between lines."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from model.training.loss import objective, row_losses, unigram_loss  # noqa: E402
from model.training.step import clip_gradients  # noqa: E402
from model.training.sums import Sums, load_entropy  # noqa: E402


def test_row_losses_are_weighted_cross_entropies() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1, 2], [3, 4, 0]])
    weights = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.5, 0.0]])
    rows = row_losses(logits.bfloat16(), targets, weights)
    log_p = logits.bfloat16().float().log_softmax(-1)
    first = -(log_p[0, 0, 0] + log_p[0, 2, 2])
    torch.testing.assert_close(rows, torch.stack([first, -0.5 * log_p[1, 1, 4]]))


def test_objective_divides_by_positions_and_adds_the_router() -> None:
    rows = torch.tensor([6.0, 2.0])
    assert objective(rows, 8, None) == 1.0
    assert objective(rows, 8, torch.tensor(0.25)) == 1.25


def test_unigram_loss_of_a_uniform_distribution() -> None:
    assert unigram_loss(torch.zeros(64)) == pytest.approx(math.log(64))


@pytest.mark.parametrize("limit", [0.1, 1e3])
def test_clipping_is_torchs(limit: float) -> None:
    generator = torch.Generator().manual_seed(0)
    grads = [torch.randn(3, 4, generator=generator), torch.randn(5, generator=generator)]
    norms, clipped = [], []
    for own in (True, False):
        parameters = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in grads]
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad.clone()
        idle = torch.nn.Parameter(torch.zeros(2))  # without a gradient
        optimiser = torch.optim.SGD([*parameters, idle], lr=0.1)
        norms.append(
            clip_gradients(optimiser, limit)
            if own
            else torch.nn.utils.clip_grad_norm_(parameters, limit)
        )
        clipped.append([parameter.grad for parameter in parameters])
    torch.testing.assert_close(norms[0], norms[1])
    torch.testing.assert_close(clipped[0], clipped[1])


def test_a_line_has_no_headline_where_a_part_did_not_occur() -> None:
    sums = Sums.zeros(layers=1, experts=2, device="cpu")
    sums.loss += torch.tensor([6.0, 0.0, 0.0, 1.0])
    sums.weight += torch.tensor([2.0, 0.0, 0.0, 1.0])
    sums.scalars += torch.tensor([2.0, 1.0])
    sums.load += torch.tensor([[3.0, 0.0]])
    line = sums.line({"text": 3.0, "vision": 1.0})
    assert (line["loss"], line["loss_text"], line["loss_vision"]) == (2.5, 3.0, 1.0)
    assert line["loss_tokens"] == pytest.approx(7 / 3) and "loss_code" not in line
    assert (line["grad_norm"], line["dead_experts"]) == (0.5, 1)
    assert line["router_entropy"] == pytest.approx(0)
    assert sums.line({"text": 1.0, "code": 1.0})["loss"] is None
    sums.reset()
    assert float(sums.loss.sum() + sums.load.sum()) == 0


def test_router_entropy_is_of_the_whole_stretch() -> None:
    one_sided = torch.tensor([[8.0, 0.0], [4.0, 4.0]]), torch.tensor([[0.0, 8.0], [4.0, 4.0]])
    assert load_entropy(one_sided[0]) == pytest.approx(0.5)
    assert load_entropy(one_sided[0] + one_sided[1]) == pytest.approx(1)
    assert load_entropy(torch.ones(2, 1)) is None
