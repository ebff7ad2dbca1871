"""A profile: what one cluster asks for, as a small TOML file of strict keys.

`--profile cpu` names a shipped one (sweeps/profiles), `--profile path/to/mine.toml` your own. The
fields below are the documentation of the format; what has a default may be left out. Keys of
`[ladder]`, `[target]` and `[service]` such as `partition` go before the same key of the whole file.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model.records import from_json
from model.training.spec import Execution

PROFILES = Path(__file__).resolve().parents[1] / "profiles"
REMEDY = (
    "correct that key; sweeps/slurm/profile.py documents all of them, "
    "sweeps/profiles/cpu.toml shows them"
)
SHARED = ("account", "partition", "qos", "constraint")  # of the whole file, or of one kind of job


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value!r}")


def _one_line(name: str, *texts: str | None) -> None:
    """Raise ValueError where a line of a script would become two."""
    for text in texts:
        if text is not None and not text.isprintable():
            raise ValueError(f"{name} must be one line of printable characters, got {text!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one job gets, and where it may run."""

    nodes: int = 1
    tasks_per_node: int = 1  # more than one task in all: one run over all of them, one rank a task
    cpus: int = 1  # of each node
    gpus: int = 0  # of each node; as many tasks as GPUs where a run is to use all of them
    gpu_type: str | None = None  # such as "h100", where a partition has several
    memory: str | None = None  # of each node, as Slurm writes it: "16G"; the site's own if left out
    time: str = "1:00:00"  # limit of one turn: H:MM:SS or D-HH:MM:SS
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    constraint: str | None = None

    def __post_init__(self) -> None:
        for name in ("gpu_type", *SHARED):
            _one_line(name, getattr(self, name))
        _within("nodes", self.nodes, 1, 100_000)
        _within("cpus", self.cpus, 1, 100_000)
        _within("gpus", self.gpus, 0, 1000)
        devices = min(self.gpus or self.cpus, self.cpus)
        _within("tasks_per_node", self.tasks_per_node, 1, devices)
        if self.memory is not None and not re.fullmatch(r"\d+[KMGT]?", self.memory):
            raise ValueError(f'memory must be like "16G", got {self.memory!r}')
        _ = self.seconds

    @property
    def tasks(self) -> int:
        """Processes that srun starts; more than one train a run together."""
        return self.nodes * self.tasks_per_node

    @property
    def cpus_per_task(self) -> int:
        """Cores of each of them."""
        return self.cpus // self.tasks_per_node

    @property
    def seconds(self) -> int:
        """The time limit; ValueError where it is not written as one."""
        found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", self.time)
        if found is None:
            raise ValueError(f'time must be "H:MM:SS" or "D-HH:MM:SS", got {self.time!r}')
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        if total < 60:
            raise ValueError(f"time must be a minute at least, got {self.time!r}")
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """`[execution]`: how runs compute, where the planning machine cannot measure it."""

    device: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]
    attention: Literal["eager", "sdpa", "flash_attn", "cudnn", "flash"]
    experts: Literal["grouped", "loop"] = "grouped"

    def execution(self) -> Execution:
        """The execution of one run of the ladder."""
        return Execution(
            device=self.device, dtype=self.dtype, attention=self.attention, experts=self.experts
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """`[price]`: what an hour costs, for the dry run."""

    gpu_hour: float = 0.0
    core_hour: float = 0.0  # of jobs without a GPU
    currency: str = ""

    def __post_init__(self) -> None:
        _within("gpu_hour", self.gpu_hour, 0, 1e6)
        _within("core_hour", self.core_hour, 0, 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One cluster, for one kind of sweep."""

    name: str = ""  # the file's name if left out
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    constraint: str | None = None
    ladder: Resources  # of a job that trains runs of the ladder, as many at once as fit into it
    target: Resources | None = None  # the ladder's if left out
    service: Resources = field(default_factory=lambda: Resources(time="0:15:00"))
    pack_minutes: float = 30.0  # of expected work a job; longer runs have theirs to themselves
    throttle: int = 256  # jobs of an array at a time; a later submit changes it for queued ones
    signal_seconds: int = 120  # before the limit; Slurm may be up to a minute early
    stalls: int = 3  # starts of a run from one step before it is given up
    resubmissions: int = 2  # times that a cluster may submit missing runs again by itself
    after_refusal: Literal["train", "stop"] = "train"  # the target, if all its seals are refusals
    setup: tuple[str, ...] = ()  # shell lines before the job
    srun: tuple[str, ...] = ()  # arguments of srun, such as "--cpu-bind=none"
    sbatch: dict[str, str] = field(default_factory=dict)  # more options, by name without dashes
    python: str | None = None  # the shell command that starts Python; this one if left out
    execution: Frozen | None = None
    price: Price = field(default_factory=Price)

    def __post_init__(self) -> None:
        for name in ("name", "python", *SHARED):
            _one_line(name, getattr(self, name))
        _one_line("srun", *self.srun)
        _one_line("sbatch", *self.sbatch, *self.sbatch.values())
        _within("pack_minutes", self.pack_minutes, 0, 1e5)
        _within("throttle", self.throttle, 1, 1e6)
        _within("signal_seconds", self.signal_seconds, 1, 65535)
        _within("stalls", self.stalls, 1, 1000)
        _within("resubmissions", self.resubmissions, 0, 1000)
        for job in (self.ladder, self.target):
            if job is not None and job.seconds <= self.signal_seconds:
                raise ValueError(
                    f"signal_seconds must be below the time limits, got {self.signal_seconds} "
                    f"with time = {job.time!r}"
                )

    def resources(self, kind: Literal["ladder", "target", "service"]) -> Resources:
        """What a job of that kind gets, with the file's own account, partition and so on."""
        own = {"ladder": self.ladder, "target": self.target or self.ladder}.get(kind, self.service)
        return dataclasses.replace(
            own, **{name: getattr(own, name) or getattr(self, name) for name in SHARED}
        )


def differences(old: Profile, new: Profile) -> list[str]:
    """What jobs of two profiles get otherwise, such as "ladder.cpus 64 -> 4"."""
    before, after = _flat(old), _flat(new)
    return [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _flat(profile: Profile) -> dict[str, object]:
    """What is asked of Slurm for the jobs of a profile, by key."""
    kinds: tuple[Literal["ladder", "target", "service"], ...] = ("ladder", "target", "service")
    flat: dict[str, object] = {
        f"{kind}.{key}": value
        for kind in kinds
        for key, value in dataclasses.asdict(profile.resources(kind)).items()
    }
    more = ("signal_seconds", "setup", "srun", "python")
    return flat | {key: getattr(profile, key) for key in more} | profile.sbatch


def load_profile(name: str) -> Profile:
    """The profile in a TOML file, or the shipped one of that name.

    Raises ValueError that starts with the path on anything wrong in the file.
    """
    path = Path(name)
    if not path.is_file():
        path = PROFILES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.toml")))
        raise ValueError(f"{name}: no such profile\nname a TOML file, or one of: {known}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        profile = from_json(Profile, table, where=str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML ({error})") from None
    except ValueError as error:
        raise ValueError(f"{error}\n{REMEDY}") from None
    return dataclasses.replace(profile, name=profile.name or path.stem)
