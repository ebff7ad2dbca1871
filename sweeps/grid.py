"""From a budget in FLOPs to a shape, a batch and a number of steps that meet it within 1 %.

Widths are discrete, so the shape whose nominal run costs nearest the budget is taken and the
sequences make up the rest: tokens per parameter wander around their nominal value, FLOPs do not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from model.architecture.accounting import n_active, train_flops
from model.architecture.shape import Shape, VisionShape
from model.data.mixture import source_counts
from sweeps.rules import Point, Rules
from sweeps.sweep_file import Family, Ladder, Sweep

TOLERANCE = 0.01  # counted FLOPs against the budget
FEWEST_SEQUENCES = 100  # with fewer, whole sequences cannot meet a budget within the tolerance
WIDEST = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What a budget buys."""

    shape: Shape
    batch: int  # sequences a step
    steps: int
    images: int  # seen in the whole run
    flops: int  # counted

    @property
    def sequences(self) -> int:
        """Sequences of the whole run."""
        return self.batch * self.steps

    @property
    def tokens(self) -> int:
        """Positions through the decoder."""
        return self.sequences * self.shape.context

    @property
    def tokens_per_param(self) -> float:
        """Tokens over active parameters."""
        return self.tokens / n_active(self.shape)


def budgets(ladder: Ladder) -> tuple[float, ...]:
    """FLOPs of the rungs, ascending: the given list, or a geometric grid that meets both ends."""
    if ladder.budgets:
        return ladder.budgets
    if ladder.lowest is None or ladder.highest is None or ladder.per_decade is None:
        raise ValueError("give budgets, or all of lowest, highest and per_decade")
    decades = math.log10(ladder.highest / ladder.lowest)
    intervals = max(1, round(decades * ladder.per_decade)) if decades > 0 else 0
    if not intervals:
        return (ladder.lowest,)
    ratio = (ladder.highest / ladder.lowest) ** (1 / intervals)
    inner = tuple(ladder.lowest * ratio**rung for rung in range(intervals))
    return (*inner, ladder.highest)


def shape_of(family: Family, width: int, *, vocab: int, context: int) -> Shape:
    """The family's shape at one width; every other size follows from it."""
    layers = family.layers
    if family.width_per_layer is not None:
        layers = max(layers, round(width / family.width_per_layer))
    heads = round(width * family.attention_ratio / family.head_dim)
    dense = family.experts == 1
    return Shape(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads // family.kv_group,
        head_dim=family.head_dim,
        experts=family.experts,
        top_k=family.top_k,
        expert_hidden=round(width * family.expert_ratio),
        shared_hidden=0 if dense else round(width * family.shared_ratio),
        conv=family.conv,
        vocab=vocab,
        context=context,
        vision=_vision(family, width),
    )


def _vision(family: Family, width: int) -> VisionShape | None:
    vision = family.vision
    if vision is None:
        return None
    heads = max(1, round(width * vision.width_ratio / family.head_dim))
    inner = heads * family.head_dim
    return VisionShape(
        width=inner,
        layers=vision.layers,
        heads=heads,
        hidden=round(inner * vision.hidden_ratio),
        patch=vision.patch,
        image_height=vision.image_height,
        image_width=vision.image_width,
    )


def nominal_images(sweep: Sweep) -> dict[str, float]:
    """Images a sequence holds, by vision source, before a data set is built.

    As many [image][up to 4 answer digits][end] as fit into the context.
    """
    vision = sweep.family.vision
    if vision is None:
        return {}
    patches = (vision.image_height // vision.patch) * (vision.image_width // vision.patch)
    packed = float(max(1, sweep.data.context // (patches + 5)))
    return {source.name: packed for source in sweep.data.resolved() if source.kind == "vision"}


def images_seen(counts: Mapping[str, int], per_sequence: Mapping[str, float]) -> int:
    """Images in so many sequences of each source."""
    return round(sum(counts[name] * packed for name, packed in per_sequence.items()))


def flops_at(
    sweep: Sweep, shape: Shape, sequences: float, per_sequence: Mapping[str, float]
) -> float:
    """Counted FLOPs of `sequences` at the mixture's mean, for sizing."""
    images = sum(sweep.mixture[name] * packed for name, packed in per_sequence.items())
    text = train_flops(shape, sequences=1, images=0)
    image = train_flops(shape, sequences=1, images=1) - text if images else 0
    return sequences * (text + images * image)


def choose_shape(
    sweep: Sweep, budget: float, tokens_per_param: float, per_sequence: Mapping[str, float]
) -> Shape:
    """The shape whose run at the nominal tokens per parameter costs nearest `budget`, in ratio.

    Raises ValueError naming the smallest budget where none is small enough.
    """
    best: tuple[float, Shape] | None = None
    for step in itertools.count(1):
        width = step * sweep.family.width_step
        if width > WIDEST:
            raise ValueError(f"budget {budget:.3g} FLOPs needs a width above {WIDEST}")
        shape = shape_of(sweep.family, width, vocab=sweep.data.vocab, context=sweep.data.context)
        sequences = n_active(shape) * tokens_per_param / shape.context
        if best is None:
            least = max(sequences / 2, float(FEWEST_SEQUENCES))
            smallest = flops_at(sweep, shape, least, per_sequence)
            if budget < smallest * (1 - 1e-9):
                raise ValueError(
                    f"budget {budget:.3g} FLOPs is too small for any shape of this family: "
                    f"width {width} needs at least {smallest:.3g} FLOPs\n"
                    "raise it, or make the smallest shape cheaper (width_step, vocab, context)"
                )
        nominal = flops_at(sweep, shape, sequences, per_sequence)
        distance = abs(math.log(nominal / budget))
        if best is not None and distance > best[0]:
            return best[1]
        best = (distance, shape)
    raise AssertionError("unreachable: the widths end")


def allocate(
    sweep: Sweep,
    budget: float,
    rules: Rules,
    *,
    tokens_per_param: float,
    per_sequence: Mapping[str, float],
    dense: bool = False,
) -> Allocation:
    """The run that `budget` buys; `dense` swaps in the dense twin at the same budget.

    The batch follows its rule unless that leaves fewer than `ladder.minimum_steps` steps.
    """
    shape = choose_shape(sweep, budget, tokens_per_param, per_sequence)
    if dense:
        shape = shape.dense_twin()
    sequences = budget / flops_at(sweep, shape, 1, per_sequence)
    tokens = sequences * shape.context
    wanted = rules.batch.at(Point(width=shape.width, layers=shape.layers, tokens=tokens))
    batch = max(1, round(wanted / shape.context))
    if sequences / batch < sweep.ladder.minimum_steps:
        batch = max(1, math.floor(sequences / sweep.ladder.minimum_steps))
    steps = max(1, round(sequences / batch))
    counts = source_counts(sweep.mixture, batch * steps)
    images = images_seen(counts, per_sequence)
    flops = train_flops(shape, sequences=batch * steps, images=images)
    if abs(flops / budget - 1) > TOLERANCE:
        raise ValueError(
            f"budget {budget:.3g} FLOPs: {steps} steps of {batch} sequences count {flops:.3g}, "
            f"which is not within {TOLERANCE:.0%}\nask for a larger budget"
        )
    return Allocation(shape=shape, batch=batch, steps=steps, images=images, flops=flops)
