"""A task's two measures, and the checkpoints that join them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.observations import Indices, Vector, numbers, run_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task with answers to choose from: where its loss and its accuracy stand in a table."""

    name: str
    bits: str  # column: bits per byte of the right answer
    accuracy: str  # column: share of items answered rightly, 0 … 1
    choices: int | None = None  # None: chance is fitted

    def __post_init__(self) -> None:
        if self.choices is not None and self.choices < 2:
            raise ValueError(f"task {self.name}: choices is {self.choices}; at least 2")

    @property
    def chance(self) -> float | None:
        """Accuracy of a blind guess, None where it is to be fitted."""
        return None if self.choices is None else 1 / self.choices

    @classmethod
    def named(cls, name: str, *, choices: int | None = None) -> "Task":
        """The task whose columns are `bpb_<name>` and `acc_<name>`."""
        return cls(name=name, bits=f"bpb_{name}", accuracy=f"acc_{name}", choices=choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """One task's bits per byte and accuracy at many checkpoints, in order of bits."""

    bits: Vector
    accuracy: Vector
    cluster: Indices  # checkpoints of one run
    runs: tuple[str, ...]  # names of the clusters


def checkpoints_of(table: pd.DataFrame, task: Task) -> Checkpoints:
    """The task's columns; ValueError naming row and value for no number or accuracy off 0 … 1."""
    bits = numbers(table, task.bits)
    accuracy = numbers(table, task.accuracy, positive=False)
    wrong = np.flatnonzero((accuracy < 0) | (accuracy > 1))
    if wrong.size:
        row = table.index[wrong[0]]
        raise ValueError(
            f"row {row}: {task.accuracy} is {accuracy[wrong[0]]:g}; it must be a share in 0 … 1"
        )
    names = np.array(run_ids(table), dtype=str)
    order = np.lexsort([names, accuracy, bits])
    known, cluster = np.unique(names, return_inverse=True)
    return Checkpoints(
        bits=bits[order],
        accuracy=accuracy[order],
        cluster=cluster.astype(np.int64)[order],
        runs=tuple(str(name) for name in known),
    )


def smoothed(
    table: pd.DataFrame, task: Task, *, window: int = 5, skip: float = 0.1
) -> pd.DataFrame:
    """Raw checkpoints as the published second step takes them.

    Each run loses its first `skip` of tokens; bits and accuracy become means of the last `window`
    checkpoints. Needs `run_id` and `tokens`. Source: arXiv:2412.04403, section 3.2.
    """
    if window < 1 or not 0 <= skip < 1:
        raise ValueError(f"window {window} must be at least 1 and skip {skip} in 0 … 1")
    tokens = numbers(table, "tokens")
    ordered = table.assign(tokens=tokens, run_id=list(run_ids(table)))
    ordered = ordered.sort_values(["run_id", "tokens"], kind="stable")
    columns = [task.bits, task.accuracy]
    last = ordered.groupby("run_id")["tokens"].transform("max")
    kept = ordered[ordered["tokens"] > skip * last].copy()
    means = kept.groupby("run_id")[columns].rolling(window, min_periods=1).mean()
    kept[columns] = means.droplevel(0).loc[kept.index]
    return kept
