"""The resolved description of one run, and its identity. Needs no torch.

Everything that changes a result stands here, with nothing left to be chosen later: what was chosen
by measuring (dtype, threads, attention and expert backend) was chosen at planning and is frozen.
Paths, clusters and clocks stay outside, so that the same spec has the same id everywhere.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model.architecture.shape import Parametrisation, RouterSpec, Shape
from model.records import content_hash

PARTS = ("text", "code", "tasks", "vision")


def _check(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise ValueError unless low <= value <= high (low < value where open_low)."""
    if not math.isfinite(value) or value > high or value < low or (open_low and value == low):
        left = "(" if open_low else "["
        raise ValueError(f"{name} must lie in {left}{low:g}, {high:g}], got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserSpec:
    """AdamW at the base width; the parametrisation scales it for each group of parameters."""

    learning_rate: float  # peak, of a group whose multiplier is 1
    weight_decay: float = 0.0  # multiplied by the learning rate at each step, as torch does
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8
    clip: float = 1.0  # largest global norm of the gradient

    def __post_init__(self) -> None:
        _check("learning_rate", self.learning_rate, 0, 10, open_low=True)
        _check("weight_decay", self.weight_decay, 0, 1e3)
        _check("beta1", self.beta1, 0, 0.99999)
        _check("beta2", self.beta2, 0, 0.99999999)
        _check("eps", self.eps, 0, 1e-2, open_low=True)
        _check("clip", self.clip, 0, 1e6, open_low=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """The learning rate's way: linear warm-up, then cosine, or constant and a linear decay."""

    kind: Literal["cosine", "wsd"] = "cosine"
    warmup_steps: int = 0
    decay_steps: int = 0  # wsd only: the length of the last, falling stretch
    final_fraction: float = 0.0  # of the peak, reached as the last step ends

    def __post_init__(self) -> None:
        if self.kind not in ("cosine", "wsd"):
            raise ValueError(f"kind must be 'cosine' or 'wsd', got {self.kind!r}")
        _check("warmup_steps", self.warmup_steps, 0, 1e9)
        _check("decay_steps", self.decay_steps, 0, 1e9)
        _check("final_fraction", self.final_fraction, 0, 1)
        if self.kind == "cosine" and self.decay_steps:
            raise ValueError(
                f"decay_steps belongs to 'wsd'; with 'cosine' it must be 0, got {self.decay_steps}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """What is measured on the way (held-out loss on a subset) and at the end (everything)."""

    points: int = 6  # log-spaced steps with a held-out loss on a subset, before the end
    subset: int = 32  # held-out windows of each source at those points
    problems: int = 0  # program problems at the end; 0: none
    samples: int = 1  # programs sampled for each problem
    temperature: float = 0.0  # 0: greedy
    strips: int = 0  # digit strips at the end; 0: none
    seed: int = 0  # of the problems and the sampling

    def __post_init__(self) -> None:
        _check("points", self.points, 0, 1000)
        _check("subset", self.subset, 1, 1e6)
        _check("problems", self.problems, 0, 1e6)
        _check("samples", self.samples, 1, 1e4)
        _check("temperature", self.temperature, 0, 10)
        _check("strips", self.strips, 0, 1e6)
        _check("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How the arithmetic is done; each field may change the last bits of a loss."""

    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int = 1
    attention: Literal["eager", "sdpa", "flash_attn", "cudnn", "flash"] = "eager"
    experts: Literal["grouped", "loop"] = "grouped"
    compile: bool = False

    def __post_init__(self) -> None:
        _check("threads", self.threads, 1, 1024)
        if self.device == "cpu" and self.attention not in ("eager", "sdpa"):
            raise ValueError(
                f"attention on the cpu must be 'eager' or 'sdpa', got {self.attention!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run, resolved."""

    schema: int = 1
    shape: Shape
    parametrisation: Parametrisation
    router: RouterSpec
    data: str  # hash of the data manifest
    tokenizer: str  # hash of the tokenizer
    mixture: dict[str, float]  # share of the sequences, by source name
    loss_weights: dict[str, float]  # weight in the headline loss, by part
    batch: int  # sequences a step
    steps: int
    optimiser: OptimiserSpec
    schedule: ScheduleSpec
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    seed: int = 0
    execution: Execution = field(default_factory=Execution)
    model_source: str  # model_source_hash() of the code that trains it

    def __post_init__(self) -> None:
        if self.schema != 1:
            raise ValueError(f"schema must be 1, got {self.schema}")
        _check("batch", self.batch, 1, 2**31)
        _check("steps", self.steps, 1, 2**40)
        _check("seed", self.seed, 0, 2**63 - 1)
        for name, shares in (("mixture", self.mixture), ("loss_weights", self.loss_weights)):
            if not shares:
                raise ValueError(f"{name} must name at least one share, got none")
            for key, share in shares.items():
                _check(f"{name}.{key}", share, 0, 1e9, open_low=True)
        for part in self.loss_weights:
            if part not in PARTS:
                raise ValueError(
                    f"loss_weights: part must be one of {', '.join(PARTS)}, got {part!r}"
                )
        waits = self.schedule.warmup_steps + self.schedule.decay_steps
        if waits > self.steps:
            raise ValueError(
                f"warmup_steps + decay_steps must lie in [0, {self.steps}], "
                f"the run's steps, got {waits}"
            )

    @property
    def sequences(self) -> int:
        """Sequences seen in training."""
        return self.batch * self.steps

    @property
    def tokens(self) -> int:
        """Positions through the decoder in training, image positions included."""
        return self.sequences * self.shape.context


def run_id(spec: RunSpec) -> str:
    """The content hash of everything that changes the result."""
    return content_hash(spec)


def model_source_hash() -> str:
    """Hash of every Python file of the model room, by name and content."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
