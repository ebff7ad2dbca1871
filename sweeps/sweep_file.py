"""The sweep file: the one thing a person writes, as frozen dataclasses.

`load_sweep` reads TOML strictly: an unknown key, a wrong type or a value out of range is a
ValueError that starts with the file and names the key. The fields below are the documentation of
the format; what has a default may be left out. `[router]` and `[evaluation]` take the keys of
`RouterSpec` and `EvaluationSpec`, `[[data.sources]]` those of `SourceSpec`.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model.architecture.shape import RouterSpec
from model.data.spec import PACKAGED_ORIGINS, DataSpec, SourceSpec
from model.records import from_json
from model.training.spec import EvaluationSpec
from sweeps.nearby import no_sweep_file
from sweeps.sweep_keys import check_keys

REMEDY = "correct it; sweeps/sweep_file.py documents all of them, sweeps/demo.toml shows them"


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`[target]`: the large run that is to be predicted, then trained."""

    flops: float  # training FLOPs, counted as model.architecture.accounting counts
    tokens_per_param: float | None = None  # nominal tokens / n_active; the ladder's if left out

    def __post_init__(self) -> None:
        _within("flops", self.flops, 1e6, 1e30)
        if self.tokens_per_param is not None:
            _within("tokens_per_param", self.tokens_per_param, 0.1, 1e5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """`[ladder]`: the small runs. Budgets are a list, or lowest, highest and per_decade."""

    budgets: tuple[float, ...] = ()  # training FLOPs of each rung, ascending
    lowest: float | None = None  # FLOPs of the smallest rung of a geometric grid
    highest: float | None = None  # FLOPs of its largest rung, met exactly
    per_decade: float | None = None  # rungs a factor of ten, rounded so that both ends are met
    ratios: tuple[float, ...] = (30.0,)  # one prediction a ratio, from rungs <= target / ratio
    tokens_per_param: float = 20.0  # nominal tokens / n_active
    seeds: tuple[int, ...] = (1,)  # runs a rung, smallest rung first; one entry holds for all
    grid: tuple[float, ...] = (1.0,)  # multiples of tokens_per_param trained at every budget
    twin_seeds: int = 0  # runs a rung of the dense twin (experts off, equal active FLOPs)
    minimum_steps: int = 1000  # the batch is made smaller rather than train fewer steps

    def __post_init__(self) -> None:
        ends = (self.lowest, self.highest, self.per_decade)
        if self.budgets and any(end is not None for end in ends):
            raise ValueError("budgets is a full list: leave out lowest, highest and per_decade")
        if not self.budgets and any(end is None for end in ends):
            raise ValueError("give budgets, or all of lowest, highest and per_decade")
        if any(not 1e6 <= budget <= 1e30 for budget in self.budgets):
            raise ValueError(f"budgets must lie in [1e6, 1e30], got {self.budgets}")
        if any(b <= a for a, b in zip(self.budgets, self.budgets[1:], strict=False)):
            raise ValueError(f"budgets must rise, got {self.budgets}")
        if self.lowest is not None and self.highest is not None and self.per_decade is not None:
            _within("lowest", self.lowest, 1e6, 1e30)
            _within("highest", self.highest, self.lowest, 1e30)
            _within("per_decade", self.per_decade, 0.1, 100)
        for name in ("ratios", "seeds", "grid"):
            if not getattr(self, name):
                raise ValueError(f"{name} must have at least one entry, got none")
        for ratio in self.ratios:
            _within("ratios", ratio, 1, 1e9)
        for count in self.seeds:
            _within("seeds", count, 1, 100)
        for multiple in self.grid:
            _within("grid", multiple, 0.01, 100)
        if len(set(self.grid)) != len(self.grid) or 1.0 not in self.grid:
            raise ValueError(f"grid must hold 1 and no multiple twice, got {self.grid}")
        _within("tokens_per_param", self.tokens_per_param, 0.1, 1e5)
        _within("twin_seeds", self.twin_seeds, 0, 100)
        _within("minimum_steps", self.minimum_steps, 1, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionFamily:
    """`[family.vision]`: the image encoder that grows with the decoder."""

    width_ratio: float = 1.0  # encoder width / decoder width, rounded to whole heads
    layers: int = 1
    hidden_ratio: float = 2.0  # MLP hidden width / encoder width
    patch: int = 8  # pixels along a patch's side
    image_height: int = 8
    image_width: int = 32

    def __post_init__(self) -> None:
        _within("width_ratio", self.width_ratio, 0.05, 20)
        _within("layers", self.layers, 1, 200)
        _within("hidden_ratio", self.hidden_ratio, 0.1, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """`[family]`: how every shape follows from one width, so that only size moves on the ladder."""

    head_dim: int = 64
    attention_ratio: float = 1.0  # inner attention width (heads × head_dim) / width
    kv_group: int = 1  # query heads that share one key and value head
    width_step: int = 64  # widths are its multiples
    layers: int = 2  # number of layers, or the least of it where width_per_layer is given
    width_per_layer: float | None = None  # layers = max(layers, round(width / width_per_layer))
    expert_ratio: float = 1.375  # hidden width of one expert / width
    experts: int = 8  # 1: dense
    top_k: int = 2
    shared_ratio: float = 0.0  # hidden width of the shared expert / width; 0: none
    conv: bool = False  # short causal convolution before each branch
    vision: VisionFamily | None = None

    def __post_init__(self) -> None:
        for name in ("head_dim", "kv_group", "width_step", "layers", "experts"):
            _within(name, getattr(self, name), 1, 65536)
        _within("top_k", self.top_k, 1, self.experts)
        _within("attention_ratio", self.attention_ratio, 0.05, 20)
        _within("expert_ratio", self.expert_ratio, 0.05, 20)
        _within("shared_ratio", self.shared_ratio, 0, 20)
        if self.width_per_layer is not None:
            _within("width_per_layer", self.width_per_layer, 1, 65536)
        inner = self.width_step * self.attention_ratio
        if not math.isclose(inner % (self.head_dim * self.kv_group), 0, abs_tol=1e-9):
            raise ValueError(
                f"width_step × attention_ratio must be a multiple of head_dim × kv_group "
                f"({self.head_dim * self.kv_group}), got {inner:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """`[data]`: vocabulary, window and sources. `text` swaps in one's own prose by one line."""

    vocab: int  # size of the byte-level BPE
    context: int  # tokens a sequence
    text: str | None = None  # a folder, a file or "hf:NAME"; stands in for all sources of text
    sources: tuple[SourceSpec, ...] = ()
    heldout_windows: int = 320  # held-out sequences of each source
    heldout_overlap: float = 0.01  # share of held-out 13-grams that training may contain
    seed: int = 0  # of the split and of the held-out windows; apart from the sweep's seed

    def __post_init__(self) -> None:
        if not self.text and not self.sources:
            raise ValueError('give text = "folder" or at least one [[data.sources]]')

    def resolved(self) -> tuple[SourceSpec, ...]:
        """The sources with `text` in place: it takes the text sources' share, or what is left."""
        if self.text is None:
            return self.sources
        others = tuple(source for source in self.sources if source.kind != "text")
        replaced = [source for source in self.sources if source.kind == "text"]
        share = math.fsum(source.weight for source in replaced)
        if not replaced:
            share = 1 - math.fsum(source.weight for source in others)
        if share <= 1e-9:
            raise ValueError(f"text: the other sources' weights leave no share for it ({share:g})")
        epochs = max((source.max_epochs for source in replaced), default=1.0)
        own = SourceSpec(
            name="text", kind="text", origin=self.text, weight=share, max_epochs=epochs
        )
        return (own, *others)

    def spec(self) -> DataSpec:
        """What the data room builds and caches."""
        return DataSpec(
            vocab=self.vocab,
            context=self.context,
            sources=self.resolved(),
            heldout_windows=self.heldout_windows,
            heldout_overlap=self.heldout_overlap,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """`[training]`: what is the same for every run; sizes come from the rules."""

    rules: str = "complete-p"  # a file of sweeps/rules, or a path beside the sweep file
    schedule: Literal["cosine", "wsd"] = "cosine"
    decay_fraction: float = 0.2  # wsd only: share of the steps in the falling stretch
    final_fraction: float = 0.0  # learning rate at the end / peak
    clip: float = 1.0  # largest global norm of the gradient
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _within("decay_fraction", self.decay_fraction, 0.01, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`[execution]`: where and how; "auto" is measured once, at the first run, then frozen."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    workers: int = 0  # ladder runs at once; 0: one a CPU core, or one a GPU
    target_threads: int = 0  # CPU threads of the target run; 0: all cores

    def __post_init__(self) -> None:
        _within("workers", self.workers, 0, 1024)
        _within("target_threads", self.target_threads, 0, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One sweep: a family, its ladder, its data, and the target it predicts."""

    name: str = ""  # also the folder under runs/; the file's name if left out
    seed: int = 0  # every run's seed follows from it
    target: Target
    ladder: Ladder
    family: Family
    data: Data
    loss: dict[str, float]  # weight of each part in the headline loss; they sum to 1
    training: Training = field(default_factory=Training)
    router: RouterSpec = field(default_factory=RouterSpec)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    execution: Place = field(default_factory=Place)

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, 2**40)
        if self.name and (
            not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name) or self.name == "data"
        ):
            raise ValueError(
                f"name must be letters, digits, '_', '-' and '.', and not 'data', got {self.name!r}"
            )
        kinds = {source.kind for source in self.data.resolved()}
        if set(self.loss) - kinds:
            raise ValueError(
                f"loss: no source of kind {', '.join(sorted(set(self.loss) - kinds))}; "
                f"the sources are of {', '.join(sorted(kinds))}"
            )
        total = math.fsum(self.loss.values())
        if not math.isclose(total, 1, abs_tol=1e-6) or min(self.loss.values()) <= 0:
            raise ValueError(f"loss: weights must be positive and sum to 1, got {self.loss}")
        if "vision" in kinds and self.family.vision is None:
            raise ValueError("data: a source of kind vision needs a [family.vision] table")

    @property
    def mixture(self) -> dict[str, float]:
        """Share of the training sequences by source name; sums to 1."""
        sources = self.data.resolved()
        total = math.fsum(source.weight for source in sources)
        return {source.name: source.weight / total for source in sources}


def load_sweep(path: Path) -> Sweep:
    """The sweep in a TOML file; relative paths in it are taken from the file's own folder.

    Raises ValueError that starts with the path on anything wrong in the file.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML ({error})") from None
    except OSError as error:
        raise no_sweep_file(path, error) from None
    try:
        check_keys(Sweep, table, str(path))
        sweep = from_json(Sweep, table, where=str(path))
    except ValueError as error:
        raise ValueError(f"{error}\n{REMEDY}") from None
    folder = path.resolve().parent
    sources = tuple(
        dataclasses.replace(source, origin=_located(source.origin, folder))
        for source in sweep.data.sources
    )
    text = sweep.data.text and _located(sweep.data.text, folder)
    rules = _located(sweep.training.rules, folder)
    return dataclasses.replace(
        sweep,
        name=sweep.name or path.stem,
        data=dataclasses.replace(sweep.data, text=text, sources=sources),
        training=dataclasses.replace(sweep.training, rules=rules),
    )


def _located(origin: str, folder: Path) -> str:
    """An existing path, seen from `folder`, made absolute; a name such as "sympy" as it is."""
    if origin.startswith("hf:") or origin in PACKAGED_ORIGINS:
        return origin
    path = (folder / Path(origin).expanduser()).absolute()
    spelled = "/" in origin or origin.startswith((".", "~"))
    return str(path) if spelled or path.exists() else origin
