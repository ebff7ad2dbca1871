"""Run tables as forecasting cases: fit the small runs, predict the largest, which are held out.

A source is what one group measured with one recipe; its tables share data and are left out
together when something is tuned on the others. All but the tiny ladders are public tables, read
from the folder `runs` of WORKBENCH_TABLES and never copied here.

What `flops` means: 6 * n_active * tokens in chinchilla_epoch, gadre, gemstones and routing, to
rounding. In olmo the authors' own count, 1.15 (13B) to 1.67 (190M) times that. In routing the
authors' flops_per_step are a forward pass with its logits; three of them come to 2.6 times `flops`
at 15M and 1.3 times at 1.3B, so a slope in counted compute would be steeper by about a sixth. In
isoflops 6 * n_active * tokens, but for Marin three times the authors' count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

HERE = Path(__file__).resolve().parent
CUTOFFS = (10.0, 30.0, 100.0, 300.0)  # compute of the largest run over that of the fitted ones
TINY_CUTOFFS = (8.0, 14.0, 24.0)  # between the few rungs of a tiny ladder
SLACK = 1.05  # a run this little above a cutoff counts as at it
SAME_BUDGET = 1.2  # runs within this of the largest are all targets
NEARLY_BEST = 1.03  # loss of a run at constant compute that someone would plan, over the best one's
MINIMUM = 6  # fitted runs of a case
LADDER_MINIMUM = 3  # of a ladder with one run a rung
BANDS = ("<20x", "20–90x", "≥90x")
# Of gadre's eight validation sets: the C4 and the mixture that the paper fits, and RedPajama. c4_en
# and refinedweb follow C4 closely; PTB, German and code are far from what two of the three models
# were trained on, where loss need not fall with compute.
GADRE_LOSSES = ("loss_c4_val", "loss_openlm", "loss_redpajama")
OLMO_TARGETS = {"7B": "peteish7_eval_anneal", "13B": "peteish13_eval_final"}


class MissingTable(ValueError):
    """The file of a source is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Runs of one recipe with one loss: flops, loss, run_id and, where known, sizes."""

    source: str
    name: str
    runs: pd.DataFrame
    minimum: int = MINIMUM
    cutoffs: tuple[float, ...] = CUTOFFS


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question: `train` with its losses, `targets` without, and what they turned out to be."""

    source: str
    table: str
    cutoff: float
    ratio: float  # compute of the targets over that of the largest fitted run
    train: pd.DataFrame
    targets: pd.DataFrame
    actual: npt.NDArray[np.float64]

    @property
    def band(self) -> str:
        """Which of BANDS the ratio falls in."""
        return BANDS[int(np.digitize(self.ratio, [20, 90]))]


def split(table: Table) -> list[Case]:
    """A case for each cutoff that leaves another set of at least `minimum` runs to fit.

    No row of a target's own run is fitted, and no target shows its loss.
    """
    runs = table.runs
    top = float(runs["flops"].max())
    largest = runs["flops"] > top / SAME_BUDGET
    goals = runs[largest]
    rest = runs[~runs["run_id"].isin(goals["run_id"])]
    size = float(np.exp(np.log(goals["flops"]).mean()))
    cases: list[Case] = []
    for cutoff in table.cutoffs:
        train = rest[rest["flops"] <= SLACK * top / cutoff]
        if len(train) < table.minimum or (cases and len(train) == len(cases[-1].train)):
            continue
        case = Case(
            source=table.source,
            table=table.name,
            cutoff=cutoff,
            ratio=size / float(train["flops"].max()),
            train=train.reset_index(drop=True),
            targets=goals.drop(columns=["loss"]).reset_index(drop=True),
            actual=goals["loss"].to_numpy(dtype=np.float64),
        )
        cases.append(case)
    return cases


def load(folder: Path | None, sources: Iterable[str] | None = None) -> list[Table]:
    """The tables of the named sources, or of all; `folder` is WORKBENCH_TABLES.

    Raises ValueError for an unknown source or a table without its columns, MissingTable where a
    file is not there.
    """
    more = {} if folder is None else {p.stem: p for p in sorted(folder.glob("further/*.csv"))}
    clash = sorted({*SOURCES, *LABS} & set(more))
    if clash:
        raise ValueError(f"further/{clash[0]}.csv has the name of another source: rename it")
    known = [*SOURCES, *more]
    wanted = known if sources is None else list(sources)
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ValueError(f"no source {', '.join(unknown)}; there are {', '.join(known)}")
    found: list[Table] = []
    for name in wanted:
        if name in SOURCES:
            found += SOURCES[name][1](pd.read_csv(source_file(folder, name)))
        else:
            found += further(name, _read(more[name]))
    return found


def _read(path: Path) -> pd.DataFrame:
    """A CSV; ValueError with its path where it is none."""
    try:
        return pd.read_csv(path)
    except ValueError as error:  # pandas' own and bad bytes are ValueErrors
        raise ValueError(f"{path} is no CSV in UTF-8: {error}") from error


def source_file(folder: Path | None, source: str) -> Path:
    """The CSV of a source; MissingTable where it is not there."""
    file = SOURCES[source][0]
    if source in OURS:
        return HERE / "tables" / file
    if folder is None:
        raise MissingTable(f"the source {source} needs the public table {file}")
    path = folder / "runs" / file
    if not path.is_file():
        raise MissingTable(f"there is no {path}")
    return path


def _columns(frame: pd.DataFrame, *more: str, loss: str = "loss") -> pd.DataFrame:
    """The columns that a case needs, one loss among them; rows without that loss are left out."""
    sizes = frame[["flops", "n_active", "tokens", *more]].astype(float)  # counts overflow int64
    kept = sizes.assign(run_id=frame["run_id"], loss=frame[loss])
    return kept.dropna(subset=["loss"]).reset_index(drop=True)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(run_id=[f"r{i}" for i in range(len(frame))])


def chinchilla_epoch(frame: pd.DataFrame) -> list[Table]:
    """One table, less the five highest losses (Besiroglu et al. 2024, arXiv:2404.10102)."""
    runs = _named(frame.sort_values("loss").iloc[:-5])
    return [Table(source="chinchilla_epoch", name="chinchilla", runs=_columns(runs))]


def gadre(frame: pd.DataFrame) -> list[Table]:
    """Three training sets, three validation losses each (arXiv:2403.08540)."""
    frame = frame.rename(columns={"name": "run_id"})
    return [
        Table(
            source="gadre",
            name=f"{trained} on {loss.removeprefix('loss_')}",
            runs=_columns(frame[frame["train_set"] == trained], loss=loss),
        )
        for trained in sorted(frame["train_set"].unique())
        for loss in GADRE_LOSSES
    ]


def gemstones(frame: pd.DataFrame) -> list[Table]:
    """The ends of the runs, and their checkpoints (arXiv:2502.06857).

    At a constant learning rate a checkpoint is as good as a run of its length. They are taken at
    1, 1/2, 1/4, 1/8 and 1/16 of the run: nearer ones repeat each other. One run is one cluster.
    """
    frame = frame.rename(columns={"run_name": "run_id"})
    last = int(frame["step"].max())
    steps = {frame["step"].iloc[(frame["step"] - last / 2**k).abs().argmin()] for k in range(5)}
    ends = _columns(frame[frame["step"] == last])
    checkpoints = _columns(frame[frame["step"].isin(steps)])
    return [
        Table(source="gemstones", name="ends", runs=ends),
        Table(source="gemstones", name="checkpoints", runs=checkpoints),
    ]


def olmo_ladder(frame: pd.DataFrame) -> list[Table]:
    """The ladder 190M–3B and one large model, for each loss and bits-per-byte column.

    The other rows of the 7B and 13B are parts of the same two runs (arXiv:2412.04403).
    """
    frame = frame.rename(columns={"run": "run_id"})
    ladder = frame["run_id"].str.contains(r"xC(?:-rerun)?$")
    losses = [c for c in frame.columns if c.startswith(("loss_", "bpb_"))]
    return [
        Table(
            source="olmo_ladder",
            name=f"{loss.removeprefix('loss_')} at {size}",
            runs=_columns(frame[ladder | (frame["run_id"] == target)], loss=loss),
        )
        for loss in losses
        for size, target in OLMO_TARGETS.items()
    ]


def routing(frame: pd.DataFrame) -> list[Table]:
    """A ladder for each number of experts, and all at once with n_total and n_experts.

    Top-1 routing in every second layer, as most of the grid; all on 130B tokens, so that n and
    tokens lie on one line (arXiv:2202.01169).
    """
    frame = _named(frame[(frame["k"] == 1) & (frame["routing_frequency"] == 0.5)])
    ladders = [
        Table(
            source="routing",
            name=f"{experts} experts",
            runs=_columns(frame[frame["n_experts"] == experts]),
            minimum=LADDER_MINIMUM,
        )
        for experts in sorted(frame["n_experts"].unique())
    ]
    every = _columns(frame, "n_total", "n_experts")
    return [*ladders, Table(source="routing", name="all experts", runs=every)]


def tiny(frame: pd.DataFrame) -> list[Table]:
    """Our own ladders of 2.5e10 to 1.28e13 FLOPs, one seed a rung, whole loss or one part.

    Two layers on English documentation and Python, vocabulary 1,024; recipes: experts, dense,
    learned attention gain, short causal convolution, windows of 32 tokens, other depths.
    """
    return [
        Table(
            source="tiny",
            name=str(name),
            runs=_named(rows)[["run_id", "flops", "loss"]].reset_index(drop=True),
            minimum=LADDER_MINIMUM,
            cutoffs=TINY_CUTOFFS,
        )
        for name, rows in frame.groupby("table", sort=False)
    ]


def isoflops(frame: pd.DataFrame) -> list[Table]:
    """Points of constant compute, each lab a source of its own (benchmarks/tables/README.md)."""
    return [t for lab, rows in frame.groupby("source", sort=False) for t in further(str(lab), rows)]


def further(source: str, frame: pd.DataFrame) -> list[Table]:
    """A table of runs as it is, or several told apart by `table`; other columns are left alone.

    The largest runs of a table of constant compute are of all shapes; asked for are those within
    3 % of the best, as nobody plans the others. Raises ValueError naming table, column and row.
    """
    frame = frame.reset_index(drop=True)
    lacking = [c for c in FURTHER if c not in frame.columns]
    if lacking or not len(frame):
        what = f"no column {', '.join(lacking)}" if lacking else "no row"
        raise ValueError(f"the table {source} has {what}")
    for column in FURTHER:
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
        bad = np.flatnonzero(~(np.isfinite(frame[column]) & (frame[column] > 0)))
        if bad.size:
            where = f"row {bad[0] + 1}: {column} is no positive number"
            raise ValueError(f"the table {source}, {where}")
    named = frame if "table" in frame.columns else frame.assign(table=source)
    if named["table"].isna().any():
        raise ValueError(f"the table {source} has rows without a name in its column table")
    found = []
    for name, rows in named.groupby("table", sort=False):
        runs = _columns(rows if "run_id" in rows.columns else _named(rows))
        largest = runs["flops"] > runs["flops"].max() / SAME_BUDGET
        poor = largest & (runs["loss"] > NEARLY_BEST * runs.loc[largest, "loss"].min())
        found.append(Table(source=source, name=str(name), runs=runs[~poor]))
    return found


LABS = ("llama3", "marin", "misfitting")  # the sources in isoflops
FURTHER = ("flops", "n_active", "tokens", "loss")  # columns of a further table
OURS = ("tiny", "isoflops")  # sources whose files are in benchmarks/tables
SOURCES: dict[str, tuple[str, Callable[[pd.DataFrame], list[Table]]]] = {
    "chinchilla_epoch": ("chinchilla_epoch.csv", chinchilla_epoch),
    "gadre": ("gadre.csv", gadre),
    "gemstones": ("gemstones.csv", gemstones),
    "olmo_ladder": ("olmo_ladder.csv", olmo_ladder),
    "routing": ("routing_sbase.csv", routing),
    "isoflops": ("isoflops.csv", isoflops),
    "tiny": ("tiny_ladders.csv", tiny),
}
