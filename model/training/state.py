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
    step: int = 0  # finished steps
    rows: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )  # by place in Dataset.names
    images: int = 0
    smooth: float | None = None  # smoothed training loss, for the test of divergence
    entropy: float | None = None  # of the router, over the last line's stretch
    dead: int | None = None
    restarts: int = 0
    watch: Stopwatch = field(default_factory=Stopwatch)
    notes: list[str] = field(default_factory=list)

    def checkpoint(self, *, over: bool = False) -> Checkpoint:
        """A snapshot; without the optimiser where training is over."""
        return Checkpoint(
            step=self.step,
            weights=dict(self.model.state_dict()),
            training=None if over else {**self._moments(), **self.sums.tensors()},
            state={
                "over": over,
                "rows": self.rows.tolist(),
                "images": self.images,
                "smooth": self.smooth,
                "entropy": self.entropy,
                "dead": self.dead,
                "restarts": self.restarts,
                "seconds": {name: self.watch.read(name) for name in self.watch.seconds},
                "notes": list(self.notes),
            },
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(checkpoint.weights)
        if checkpoint.training is not None:
            self._load_moments(checkpoint.training)
            self.sums.load_tensors(checkpoint.training)
        state = checkpoint.state
        self.step = checkpoint.step
        self.rows = np.asarray(state["rows"], dtype=np.int64)
        self.images, self.smooth = state["images"], state["smooth"]
        self.entropy, self.dead = state["entropy"], state["dead"]
        self.restarts = state["restarts"] + 1
        for name, seconds in state["seconds"].items():
            self.watch.seconds[name] += seconds
        self.notes = [*state["notes"], *self.notes]

    def _moments(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            held = self.optimiser.state.get(parameter)
            if held:  # none yet for the image encoder before the first image
                tensors |= {f"{moment}.{name}": held[moment] for moment in MOMENTS}
                tensors[f"step.{name}"] = held["step"]
        return tensors

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            if f"step.{name}" in tensors:
                self.optimiser.state[parameter] = {
                    "step": tensors[f"step.{name}"].to(parameter.device),
                    **{m: tensors[f"{m}.{name}"].to(parameter.device) for m in MOMENTS},
                }


def build_model(spec: RunSpec, image_token: int | None) -> Decoder:
    """An untrained model of the spec, on its device, its weights not yet set."""
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
    return model.to(execution.device)


def begin(spec: RunSpec, dataset: Dataset) -> TrainingState:
    """A run before its first step; the initial weights follow from the spec's seed alone."""
    execution, manifest = spec.execution, dataset.manifest
    model = build_model(spec, manifest.image_token)
    generator = torch.Generator().manual_seed(spec.seed)
    model.initialise(generator, torch.from_numpy(dataset.log_unigram()))
    model.train()
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
