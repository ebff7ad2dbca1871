"""The plan: every run of a sweep with its exact cost, and what a fit will say to it.

Needs neither torch nor a built data set; without the data set's manifest and a frozen execution the
runs have no spec and no id yet, everything else is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from model.architecture.accounting import n_active, n_total, unembedding_share
from model.architecture.shape import Shape
from model.data.mixture import source_counts
from model.training.spec import (
    Execution,
    OptimiserSpec,
    RunSpec,
    ScheduleSpec,
    model_source_hash,
    run_id,
)
from sweeps.grid import Allocation, allocate, budgets, nominal_images
from sweeps.planned import Plan, PlannedRun, Role
from sweeps.refusals import plan_warnings, run_warnings
from sweeps.rules import Point, Rules, load_rules
from sweeps.sweep_file import Sweep
from sweeps.throughput import Throughput, default_throughput


class SourceFacts(Protocol):
    """What a plan reads of one source of a built data set."""

    @property
    def windows_train(self) -> int: ...

    @property
    def images_per_window(self) -> float: ...


class Manifest(Protocol):
    """What a plan reads of a built data set."""

    @property
    def hash(self) -> str: ...

    @property
    def tokenizer(self) -> str: ...

    @property
    def sources(self) -> Mapping[str, SourceFacts]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """What is the same for all runs of a plan."""

    sweep: Sweep
    rules: Rules
    manifest: Manifest | None
    per_sequence: dict[str, float]
    throughput: Throughput
    model_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """One run as the sweep asks for it."""

    name: str  # with {width} still open
    role: Role
    rung: int
    budget: float
    nominal: float  # tokens per parameter
    seed: int


def plan(
    sweep: Sweep,
    manifest: Manifest | None = None,
    execution: Execution | None = None,
    *,
    target_execution: Execution | None = None,
    throughput: Throughput | None = None,
) -> Plan:
    """Every run of the sweep. The same arguments and model code give the same plan.

    `target_execution` is `execution` if left out. Raises ValueError where a budget fits no shape.
    """
    per_sequence = nominal_images(sweep)
    if manifest is not None:
        per_sequence = {n: float(manifest.sources[n].images_per_window) for n in per_sequence}
    setting = _Setting(
        sweep=sweep,
        rules=load_rules(sweep.training.rules),
        manifest=manifest,
        per_sequence=per_sequence,
        throughput=throughput
        or default_throughput(execution.device if execution else sweep.execution.device),
        model_source=model_source_hash(),
    )
    runs = [*_ladder(setting, execution), _target(setting, target_execution or execution)]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise AssertionError(f"two planned runs have one name: {sorted(names)}")
    rungs = [run for run in runs if run.role == "ladder"]
    return Plan(
        sweep=sweep.name,
        seed=sweep.seed,
        data=manifest.hash if manifest else None,
        throughput=setting.throughput,
        runs=tuple(runs),
        warnings=plan_warnings(
            [(run.budget, run.refused) for run in rungs],
            target=sweep.target.flops,
            ratios=sweep.ladder.ratios,
        ),
    )


def _ladder(setting: _Setting, execution: Execution | None) -> list[PlannedRun]:
    sweep = setting.sweep
    ladder, seed = sweep.ladder, sweep.seed
    grid = budgets(ladder)
    if len(ladder.seeds) not in (1, len(grid)):
        raise ValueError(
            f"ladder.seeds must have 1 or {len(grid)} entries, one a rung, got {len(ladder.seeds)}"
        )
    runs = []
    for rung, budget in enumerate(grid):
        seeds = ladder.seeds[rung if len(ladder.seeds) > 1 else 0]
        variants: list[tuple[Role, float, int]] = [("ladder", 1.0, seeds)]
        variants += [("grid", multiple, seeds) for multiple in sorted(ladder.grid) if multiple != 1]
        if sweep.family.experts > 1:
            variants.append(("twin", 1.0, ladder.twin_seeds))
        taken: set[Shape] = set()
        for role, multiple, count in variants:
            bought = _bought(setting, budget, ladder.tokens_per_param * multiple, role)
            if bought.shape in taken:  # widths are discrete: two multiples may mean one run
                continue
            taken.add(bought.shape)
            mark = {"grid": f"-t{multiple:g}", "twin": "-dense"}.get(role, "")
            for replicate in range(count):
                wanted = _Wanted(
                    name=f"r{rung:02d}-d{{width}}{mark}-s{replicate}",
                    role=role,
                    rung=rung,
                    budget=budget,
                    nominal=ladder.tokens_per_param * multiple,
                    seed=1000 * seed + replicate,
                )
                runs.append(_planned(setting, wanted, bought, execution))
    return runs


def _target(setting: _Setting, execution: Execution | None) -> PlannedRun:
    sweep = setting.sweep
    wanted = _Wanted(
        name="target-d{width}",
        role="target",
        rung=len(budgets(sweep.ladder)),
        budget=sweep.target.flops,
        nominal=sweep.target.tokens_per_param or sweep.ladder.tokens_per_param,
        seed=1000 * sweep.seed + 999,
    )
    bought = _bought(setting, wanted.budget, wanted.nominal, wanted.role)
    return _planned(setting, wanted, bought, execution)


def _bought(setting: _Setting, budget: float, nominal: float, role: Role) -> Allocation:
    return allocate(
        setting.sweep,
        budget,
        setting.rules,
        tokens_per_param=nominal,
        per_sequence=setting.per_sequence,
        dense=role == "twin",
    )


def _planned(
    setting: _Setting, wanted: _Wanted, bought: Allocation, execution: Execution | None
) -> PlannedRun:
    sweep = setting.sweep
    shape, spec = bought.shape, _spec(setting, bought, execution, wanted.seed)
    epochs = _epochs(setting, bought.sequences)
    refused, cautions = run_warnings(
        shape,
        steps=bought.steps,
        tokens_per_param=bought.tokens_per_param,
        nominal=wanted.nominal,
        epochs=epochs,
        max_epochs={source.name: source.max_epochs for source in sweep.data.resolved()},
    )
    return PlannedRun(
        name=wanted.name.format(width=shape.width),
        role=wanted.role,
        rung=wanted.rung,
        budget=wanted.budget,
        seed=wanted.seed,
        spec=spec,
        run_id=run_id(spec) if spec else None,
        shape=shape,
        flops=float(bought.flops),
        n_active=n_active(shape),
        n_total=n_total(shape),
        tokens=bought.tokens,
        tokens_per_param=bought.tokens_per_param,
        steps=bought.steps,
        batch=bought.batch,
        learning_rate=_optimiser(setting, bought).learning_rate,
        images=bought.images,
        unembedding_share=unembedding_share(shape),
        epochs=epochs,
        refused=refused,
        warnings=(*refused, *cautions),
        expected_seconds=setting.throughput.seconds(
            bought.flops,
            width=shape.width,
            steps=bought.steps,
            threads=execution.threads if execution and execution.device == "cpu" else None,
        ),
    )


def _point(bought: Allocation) -> Point:
    return Point(
        width=bought.shape.width,
        layers=bought.shape.layers,
        tokens=bought.tokens,
        batch=bought.batch * bought.shape.context,
    )


def _optimiser(setting: _Setting, bought: Allocation) -> OptimiserSpec:
    training, point = setting.sweep.training, _point(bought)
    return OptimiserSpec(
        learning_rate=setting.rules.learning_rate.at(point),
        weight_decay=setting.rules.weight_decay.at(point),
        beta1=training.beta1,
        beta2=training.beta2,
        eps=training.eps,
        clip=training.clip,
    )


def _epochs(setting: _Setting, sequences: int) -> dict[str, float]:
    if setting.manifest is None:
        return {}
    counts = source_counts(setting.sweep.mixture, sequences)
    sources = setting.manifest.sources
    return {name: count / max(1, sources[name].windows_train) for name, count in counts.items()}


def _spec(
    setting: _Setting, bought: Allocation, execution: Execution | None, seed: int
) -> RunSpec | None:
    sweep, manifest = setting.sweep, setting.manifest
    if manifest is None or execution is None:
        return None
    training, steps = sweep.training, bought.steps
    wsd = training.schedule == "wsd"
    return RunSpec(
        shape=bought.shape,
        parametrisation=setting.rules.parametrisation,
        router=sweep.router,
        data=manifest.hash,
        tokenizer=manifest.tokenizer,
        mixture=sweep.mixture,
        loss_weights=sweep.loss,
        batch=bought.batch,
        steps=steps,
        optimiser=_optimiser(setting, bought),
        schedule=ScheduleSpec(
            kind=training.schedule,
            warmup_steps=round(setting.rules.warmup.at(_point(bought)) * steps),
            decay_steps=round(training.decay_fraction * steps) if wsd else 0,
            final_fraction=training.final_fraction,
        ),
        evaluation=sweep.evaluation,
        seed=seed,
        execution=execution,
        model_source=setting.model_source,
    )
