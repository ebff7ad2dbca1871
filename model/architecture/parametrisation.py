"""Initial values and AdamW groups: CompleteP for width and depth.

Source: Dey et al. 2025, arXiv:2505.01618, table 1 with alpha = 1; router, experts, encoder and
projector follow from their fan-in, and the coordinate check in the tests confirms them. With m the
width over the base width and s the branch scale (base_layers / layers beyond the base):

| parameter | initial std | learning rate × | weight decay × | eps × |
|---|---|---|---|---|
| embedding, patch, position | embedding_std (patch: by fan-in) | 1 | 0 | 1 |
| attention, experts, router | hidden_gain / sqrt(fan-in); router 0 | 1 / m | m (router 0) | s / m |
| norms, gains, taps in blocks | 1, qk_gain, 0 | 1 | 0 | s / m |
| final norm, output bias | 1, log unigram | 1 | 0 | 1 |
| unembedding | 0 (logits × 1 / m) | 1 | 1 | 1 |

torch's AdamW multiplies the decay by the learning rate, so the decay × m undoes the 1 / m and
their product is the same at every width. The encoder has its own m and s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor, nn

from model.architecture.shape import Parametrisation, Shape

if TYPE_CHECKING:
    from model.architecture.decoder import Decoder


class OptimiserGroup(TypedDict):
    """One torch AdamW group, named."""

    name: str
    params: list[nn.Parameter]
    lr: float
    weight_decay: float
    eps: float


@dataclass(frozen=True, slots=True)
class Factors:
    """What the base learning rate, weight decay and eps are multiplied by."""

    lr: float
    weight_decay: float
    eps: float


def group_of(name: str) -> str:
    """The optimiser group of a parameter, by its name in the model."""
    leaf = name.rsplit(".", 1)[-1]
    if name in ("embedding", "unembedding", "output_bias"):
        return name
    if name == "norm":
        return "final_norm"
    where = "vision_" if name.startswith("vision.") else ""
    if name == "vision.norm":
        return "vision_final_norm"
    if leaf in ("patch", "position"):
        return "vision_embedding"
    if leaf == "projector":
        return "projector"
    if name.endswith("router.weight"):
        return "router"
    if leaf in ("qkv", "out", "w13", "w2"):
        return f"{where}hidden"
    if leaf.startswith(("norm", "conv")) or leaf == "gain":
        return f"{where}block_vectors"
    raise ValueError(f"parameter {name!r} belongs to no group")


def group_factors(shape: Shape, parametrisation: Parametrisation) -> dict[str, Factors]:
    """Factors of every group that a model of the shape may have."""
    m, s = parametrisation.width_ratio(shape), parametrisation.branch_scale(shape)
    factors = {
        "embedding": Factors(parametrisation.embedding_lr, 0.0, 1.0),
        "unembedding": Factors(parametrisation.unembedding_lr, 1.0, 1.0),
        "output_bias": Factors(1.0, 0.0, 1.0),
        "final_norm": Factors(1.0, 0.0, 1.0),
        "hidden": Factors(1 / m, m, s / m),
        "router": Factors(1 / m, 0.0, s / m),
        "block_vectors": Factors(1.0, 0.0, s / m),
    }
    if shape.vision is not None:
        m = parametrisation.vision_width_ratio(shape.vision)
        s = parametrisation.vision_branch_scale(shape.vision)
        factors |= {
            "vision_embedding": Factors(1.0, 0.0, 1.0),
            "vision_final_norm": Factors(1.0, 0.0, 1.0),
            "vision_hidden": Factors(1 / m, m, s / m),
            "vision_block_vectors": Factors(1.0, 0.0, s / m),
            "projector": Factors(1 / m, m, 1 / m),
        }
    return factors


def optimiser_groups(
    model: nn.Module,
    shape: Shape,
    parametrisation: Parametrisation,
    lr: float,
    weight_decay: float,
    eps: float,
) -> list[OptimiserGroup]:
    """AdamW groups for the model; a schedule multiplies each group's lr by the same factor."""
    members: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        members.setdefault(group_of(name), []).append(parameter)
    factors = group_factors(shape, parametrisation)
    return [
        OptimiserGroup(
            name=group,
            params=parameters,
            lr=lr * factors[group].lr,
            weight_decay=weight_decay * factors[group].weight_decay,
            eps=eps * factors[group].eps,
        )
        for group, parameters in members.items()
    ]


@torch.no_grad()
def initialise(model: Decoder, generator: torch.Generator, log_unigram: Tensor | None) -> None:
    """Draw the model's parameters in their order, on the CPU, so that devices agree."""
    shape, parametrisation = model.shape, model.parametrisation
    for name, parameter in model.named_parameters():
        group, leaf = group_of(name), name.rsplit(".", 1)[-1]
        if group in ("unembedding", "output_bias", "router") or leaf.startswith("conv"):
            parameter.zero_()
        elif leaf == "gain":
            parameter.fill_(parametrisation.qk_gain)
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        else:
            std = _std(group, leaf, parameter, shape, parametrisation)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
            if parameter.ndim == 3:
                _clear_padding(leaf, parameter, shape)
    if log_unigram is not None:
        if log_unigram.shape != (shape.vocab,):
            raise ValueError(
                f"log_unigram has shape {tuple(log_unigram.shape)}: must be ({shape.vocab},)"
            )
        model.output_bias.copy_(log_unigram)


def _std(
    group: str, leaf: str, parameter: Tensor, shape: Shape, parametrisation: Parametrisation
) -> float:
    if group == "embedding" or leaf == "position":
        return parametrisation.embedding_std
    # expert weights are (E, fan-in, fan-out), the others (fan-out, fan-in)
    fan_in = parameter.shape[1]
    if parameter.ndim == 3 and leaf == "w2":
        fan_in = shape.expert_hidden
    gain = parametrisation.embedding_std if group == "projector" else parametrisation.hidden_gain
    return float(gain * fan_in**-0.5)


def _clear_padding(leaf: str, parameter: Tensor, shape: Shape) -> None:
    hidden, padded = shape.expert_hidden, shape.padded_hidden
    if leaf == "w13":
        parameter.view(shape.experts, -1, 2, padded)[..., hidden:] = 0
    else:
        parameter[:, hidden:] = 0
