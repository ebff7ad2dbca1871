"""The written-out cross entropy equals torch's."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from model.architecture.loss import token_losses  # noqa: E402


def test_losses_and_gradients_equal_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 30 * torch.randn(3, 5, 11, generator=generator)
    logits[0, 0, 0] = 500.0  # would overflow without the maximum taken off
    targets = torch.randint(0, 11, (3, 5), generator=generator)
    weight = torch.rand(3, 5, generator=generator)
    results = []
    for ours in (True, False):
        x = logits.clone().requires_grad_()
        if ours:
            losses = token_losses(x, targets)
        else:
            losses = F.cross_entropy(x.flatten(0, 1), targets.flatten(), reduction="none")
            losses = losses.view(3, 5)
        (losses * weight).sum().backward()
        results.append((losses.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)
