"""Hyperparameters by rule: functions of (width, layers, tokens, batch) with their evidence.

A rules file in `sweeps/rules/` holds one power rule each for the learning rate, the batch, the
warm-up and the weight decay, and the constants of the parametrisation that they were fitted with.
A sweep names the file; refitting a constant means a new file with new evidence, so that two ladders
under different rules never look alike.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from model.architecture.shape import Parametrisation
from model.records import from_json

FOLDER = Path(__file__).resolve().parent / "rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Sizes of one run, as rules see them."""

    width: float
    layers: float
    tokens: float  # of the whole run
    batch: float = 1.0  # tokens a step


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRule:
    """value × Π (size / reference size)^exponent, kept within [lowest, highest]."""

    value: float  # at the reference sizes
    reference: Point
    width: float = 0.0  # exponents
    layers: float = 0.0
    tokens: float = 0.0
    batch: float = 0.0
    lowest: float = 0.0
    highest: float = 1e12
    evidence: str  # where value and exponents come from: command and numbers, or a paper

    def __post_init__(self) -> None:
        if not 0 <= self.lowest <= self.value <= self.highest:
            raise ValueError(
                f"value must lie in [lowest, highest] = [{self.lowest:g}, {self.highest:g}], "
                f"got {self.value:g}"
            )
        if not self.evidence.strip():
            raise ValueError("evidence must say where the constants come from, got nothing")

    def at(self, point: Point) -> float:
        """The rule's value for a run of these sizes."""
        value = self.value
        for name in ("width", "layers", "tokens", "batch"):
            ratio = getattr(point, name) / getattr(self.reference, name)
            value *= ratio ** getattr(self, name)
        return min(max(value, self.lowest), self.highest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One rules file."""

    learning_rate: PowerRule  # peak, at the parametrisation's base width and depth
    batch: PowerRule  # tokens a step
    warmup: PowerRule  # share of the steps
    weight_decay: PowerRule
    parametrisation: Parametrisation = field(default_factory=Parametrisation)

    def __post_init__(self) -> None:
        if self.batch.batch:
            raise ValueError(f"batch: cannot depend on the batch, got exponent {self.batch.batch}")
        if self.warmup.highest > 0.5:
            raise ValueError(f"warmup: highest must be at most 0.5, got {self.warmup.highest}")


def load_rules(name: str) -> Rules:
    """The rules named by a sweep: a file of `sweeps/rules` without its ending, or a path.

    Raises ValueError naming the file and what is wrong, or the names that exist.
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in FOLDER.glob("*.toml")))
        raise ValueError(f"training.rules: no rules '{name}'; there are {known}, or give a path")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML ({error})") from None
    return from_json(Rules, table, where=str(path))
