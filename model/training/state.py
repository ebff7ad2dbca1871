"""All that changes while a run trains, how it begins, and its way into a checkpoint and back.

The data order is a pure function of (seed, step) and nothing is drawn at random after the initial
weights, so weights, optimiser moments and counters are the whole state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.architecture.decoder import Decoder
from model.architecture.parametrisation import optimiser_groups
from model.training.checkpoint import Checkpoint
from model.training.progress import Stopwatch
from model.training.ranks import ALONE, Ranks
from model.training.spec import PARTS, RunSpec
from model.training.sums import Sums

if TYPE_CHECKING:
    from model.data.dataset import Dataset

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(slots=True)
class TrainingState:
    """A run in progress."""

    spec: RunSpec
    model: Decoder
    optimiser: torch.optim.AdamW
    peaks: list[float]  # peak learning rate of each group
    sums: Sums
    source_part: Tensor  # part of each source, as a place in PARTS
    ranks: Ranks = ALONE
    step: int = 0  # finished steps
    rows: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )  # by place in Dataset.names
    images: int = 0
    smooth: float | None = None  # smoothed training loss, for the test of divergence
    entropy: float | None = None  # of the router, over the last line's stretch
    dead: int | None = None
    restarts: int = 0
    world_size: int = 1  # most ranks that trained at once
    watch: Stopwatch = field(default_factory=Stopwatch)
    notes: list[str] = field(default_factory=list)

    def checkpoint(self, *, over: bool = False) -> Checkpoint:
        """A snapshot; without the optimiser where training is over.

        All ranks call; only rank 0's is whole, and it is what one process alone would have.
        """
        self.sums.gather(self.ranks)
        return Checkpoint(
            step=self.step,
            weights=self._weights(),
            training=None if over else {**self._moments(), **self.sums.tensors()},
            state={
                "over": over,
                "rows": self.rows.tolist(),
                "images": self.images,
                "smooth": self.smooth,
                "entropy": self.entropy,
                "dead": self.dead,
                "restarts": self.restarts,
                "world_size": self.world_size,
                "seconds": {name: self.watch.read(name) for name in self.watch.seconds},
                "notes": list(self.notes),
            },
        )

    def restore(self, checkpoint: Checkpoint | None) -> bool:
        """Go on from a checkpoint, None for the beginning; True where training was over.

        All ranks call; rank 0 alone has the checkpoint, and the others' argument is not looked at.
        """
        told = self.ranks.tell("checkpoint", None if checkpoint is None else _outline(checkpoint))
        if told is None:
            return False
        whole = checkpoint if self.ranks.first else None
        for name, tensor in self.model.state_dict().items():
            self.ranks.fill(tensor, whole.weights[name] if whole else None)
        if told["training"]:
            tensors = (whole.training if whole else None) or {}
            self._load_moments(set(told["training"]), tensors)
            if self.ranks.first:
                self.sums.load_tensors(tensors)
        state = told["state"]
        self.step = told["step"]
        self.rows = np.asarray(state["rows"], dtype=np.int64)
        self.images, self.smooth = state["images"], state["smooth"]
        self.entropy, self.dead = state["entropy"], state["dead"]
        self.restarts, self.world_size = state["restarts"] + 1, state["world_size"]
        for name, seconds in state["seconds"].items():
            self.watch.seconds[name] += seconds
        self.notes = [*state["notes"], *self.notes]
        return bool(state["over"])

    def whole_model(self) -> Decoder | None:
        """The model in one piece, for an evaluation; None but at rank 0. All ranks call."""
        if self.ranks.size == 1:
            return self.model
        weights = self._weights()
        if not self.ranks.first:
            return None
        model = build_model(self.spec, self.model.image_token)
        model.load_state_dict(weights)
        return model

    def _weights(self) -> dict[str, Tensor]:
        found = self.model.state_dict()
        return {name: self.ranks.whole(tensor) for name, tensor in found.items()}

    def _moments(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            held = self.optimiser.state.get(parameter)
            if held:  # none yet for the image encoder before the first image
                kept = (*MOMENTS, "step")
                tensors |= {f"{key}.{name}": self.ranks.whole(held[key]) for key in kept}
        return tensors

    def _load_moments(self, names: set[str], tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            if f"step.{name}" in names:
                held = {moment: torch.zeros_like(parameter) for moment in MOMENTS}
                held["step"] = torch.zeros((), device=parameter.device)
                for key, tensor in held.items():
                    self.ranks.fill(tensor, tensors.get(f"{key}.{name}"))
                self.optimiser.state[parameter] = held


def _outline(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a rank must know of a checkpoint to take its part of it."""
    return {
        "step": checkpoint.step,
        "state": checkpoint.state,
        "training": sorted(checkpoint.training or ()),
    }


def build_model(spec: RunSpec, image_token: int | None, device: str | None = None) -> Decoder:
    """An untrained model of the spec, its weights not yet set; on the spec's device or another."""
    execution = spec.execution
    model = Decoder(
        spec.shape,
        spec.parametrisation,
        router=spec.router,
        attention=execution.attention,
        experts=execution.experts,
        image_token=image_token,
    )
    if execution.compile:
        model.compile()
    return model.to(device or execution.device)


def begin(spec: RunSpec, dataset: Dataset, ranks: Ranks = ALONE) -> TrainingState:
    """A run before its first step; the initial weights follow from the spec's seed alone.

    Of several ranks each draws them all, on the CPU, and keeps its shard.
    """
    execution, manifest = spec.execution, dataset.manifest
    model = build_model(spec, manifest.image_token, None if ranks.size == 1 else "cpu")
    generator = torch.Generator().manual_seed(spec.seed)
    model.initialise(generator, torch.from_numpy(dataset.log_unigram()))
    model.train()
    ranks.shard(model, execution.device)
    groups = merged(
        optimiser_groups(
            model,
            spec.shape,
            spec.parametrisation,
            spec.optimiser.learning_rate,
            spec.optimiser.weight_decay,
            spec.optimiser.eps,
        )
    )
    optimiser = torch.optim.AdamW(
        groups,
        lr=spec.optimiser.learning_rate,
        betas=(spec.optimiser.beta1, spec.optimiser.beta2),
        fused=True,  # a third of the time of foreach on a CPU, for small models
    )
    kinds = [manifest.sources[name].kind for name in dataset.names]
    return TrainingState(
        spec=spec,
        model=model,
        optimiser=optimiser,
        peaks=[float(group["lr"]) for group in optimiser.param_groups],
        sums=Sums.zeros(spec.shape.layers, spec.shape.experts, execution.device),
        source_part=torch.tensor([PARTS.index(kind) for kind in kinds], device=execution.device),
        ranks=ranks,
        rows=np.zeros(len(kinds), dtype=np.int64),
    )


def merged(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Groups of equal settings joined: each group costs a call at every step."""
    joined: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
    for group in groups:
        settings = {key: value for key, value in group.items() if key not in ("params", "name")}
        key = tuple(sorted(settings.items()))
        joined.setdefault(key, {"params": [], **settings})["params"].extend(group["params"])
    return list(joined.values())
