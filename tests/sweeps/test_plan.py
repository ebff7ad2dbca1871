"""A plan meets its budgets, is the same every time, and says what a fit will refuse."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.architecture.accounting import n_active, train_flops
from model.training.spec import Execution
from sweeps.cost import cost_table, longest_first, wall_seconds
from sweeps.grid import budgets, choose_shape, nominal_images
from sweeps.plan import plan
from sweeps.planned import Plan, load_plan, plan_table, save_plan
from sweeps.refusals import plan_warnings
from sweeps.rules import Point, PowerRule
from sweeps.sweep_file import Ladder, Sweep, load_sweep

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
DEMO = load_sweep(SWEEPS / "demo.toml")


def with_budgets(sweep: Sweep, rungs: tuple[float, ...], target: float) -> Sweep:
    ladder = dataclasses.replace(sweep.ladder, budgets=rungs, seeds=(1,))
    aim = dataclasses.replace(sweep.target, flops=target)
    return dataclasses.replace(sweep, ladder=ladder, target=aim)


@given(lowest=st.floats(1e8, 1e14), decades=st.floats(0.1, 5), per_decade=st.floats(0.5, 12))
def test_budgets_are_geometric_and_meet_both_ends(
    lowest: float, decades: float, per_decade: float
) -> None:
    highest = lowest * 10**decades
    grid = budgets(Ladder(lowest=lowest, highest=highest, per_decade=per_decade))
    assert grid[0] == lowest and grid[-1] == highest
    steps = [math.log(b / a) for a, b in itertools.pairwise(grid)]
    assert max(steps) - min(steps) < 1e-6
    assert abs(len(steps) - decades * per_decade) <= max(0.5, 1 - decades * per_decade) + 1e-6


@settings(max_examples=40, deadline=None)
@given(
    rungs=st.lists(st.floats(10.1, 13.5), min_size=1, max_size=4, unique=True).map(sorted),
    tokens_per_param=st.floats(5, 15),
    vocab=st.sampled_from([300, 512, 1024]),
)
def test_counted_flops_meet_any_budget_and_size_grows(
    rungs: list[float], tokens_per_param: float, vocab: int
) -> None:
    sweep = with_budgets(DEMO, tuple(10**rung for rung in rungs), 1e14)
    sweep = dataclasses.replace(
        sweep,
        data=dataclasses.replace(sweep.data, vocab=vocab),
        ladder=dataclasses.replace(sweep.ladder, tokens_per_param=tokens_per_param),
    )
    runs = plan(sweep).runs
    for run in runs:
        counted = train_flops(run.shape, sequences=run.batch * run.steps, images=run.images)
        assert counted == run.flops
        assert abs(counted / run.budget - 1) <= 0.01
        assert run.n_active == n_active(run.shape)
        assert run.steps >= 1000 or run.batch == 1
    sizes = [run.n_active for run in runs]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", ["demo", "study", "study-gpu"])
def test_shipped_plans_are_usable(name: str) -> None:
    planned = plan(load_sweep(SWEEPS / f"{name}.toml"))
    for run in planned.runs:
        assert not run.refused or run.role == "grid", (run.name, run.refused)
        assert run.run_id is None and run.spec is None  # no data set, no id
    assert planned.target.flops == pytest.approx(
        load_sweep(SWEEPS / f"{name}.toml").target.flops, rel=0.01
    )


def test_images_of_the_mixture_are_counted(sweep: Sweep) -> None:
    run = plan(sweep).runs[0]
    sequences = run.batch * run.steps
    assert nominal_images(sweep) == {"digits": 7.0}
    assert run.images == pytest.approx(0.4 * sequences * 7, abs=7)
    assert run.flops > train_flops(run.shape, sequences=sequences, images=0)


def test_plan_is_deterministic_and_ids_are_unique(
    sweep: Sweep, resolved: Plan, manifest_of: Callable[..., Any]
) -> None:
    again = plan(sweep, manifest_of(), Execution())
    assert again == resolved
    ids = [run.run_id for run in resolved.runs]
    assert None not in ids and len(set(ids)) == len(ids)
    other = plan(dataclasses.replace(sweep, seed=1), manifest_of(), Execution())
    assert not {run.run_id for run in other.runs} & set(ids)


def test_saved_plan_is_the_same_plan(tmp_path: Path, resolved: Plan) -> None:
    save_plan(resolved, tmp_path)
    assert load_plan(tmp_path) == resolved
    with pytest.raises(ValueError, match=f"no plan there.*\nthere are: .*{tmp_path}"):
        load_plan(tmp_path / "elsewhere")
    save_plan(resolved, tmp_path / "main")
    with pytest.raises(ValueError, match=rf"\ndid you mean {tmp_path}/main\?"):
        load_plan(tmp_path / "mian")


def test_too_small_a_budget_names_the_smallest(write_sweep: Callable[..., Path]) -> None:
    sweep = load_sweep(write_sweep(("[5e10, 1e11]", "[1e8, 1e11]")))
    with pytest.raises(ValueError, match=r"budget 1e\+08 FLOPs is too small .* at least") as caught:
        plan(sweep)
    smallest = float(str(caught.value).split("at least ")[1].split()[0])
    rungs = (smallest * 1.01, 1e11)
    assert plan(with_budgets(sweep, rungs, 3e12)).runs[0].shape.width == 8


def test_grid_and_twin_share_the_budget_but_not_the_shape(sweep: Sweep) -> None:
    ladder = dataclasses.replace(sweep.ladder, budgets=(4e11,), seeds=(2,), grid=(0.25, 1, 4))
    ladder = dataclasses.replace(ladder, twin_seeds=1)
    planned = plan(dataclasses.replace(sweep, ladder=ladder))
    by_role = {role: [r for r in planned.runs if r.role == role] for role in ("grid", "twin")}
    nominal = next(run for run in planned.runs if run.role == "ladder")
    assert len(by_role["grid"]) == 4 and len(by_role["twin"]) == 1
    assert len({run.shape for run in planned.ladder}) == 4
    wide = next(run for run in by_role["grid"] if "-t0.25-" in run.name)
    assert wide.n_active > nominal.n_active and wide.tokens < nominal.tokens
    twin = by_role["twin"][0]
    assert twin.shape.dense and twin.n_active == pytest.approx(nominal.n_active, rel=0.03)


def test_seeds_must_fit_the_rungs(write_sweep: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="1 or 2 entries"):
        plan(load_sweep(write_sweep(("seeds = [2, 1]", "seeds = [1, 1, 1]"))))


def test_refusals_are_foretold(sweep: Sweep, manifest_of: Callable[..., Any]) -> None:
    run = plan(sweep, manifest_of(10), Execution()).runs[0]
    assert any("epochs of prose" in reason for reason in run.refused)
    shallow = dataclasses.replace(sweep, family=dataclasses.replace(sweep.family, layers=1))
    assert any("1 layer" in reason for reason in plan(shallow).runs[0].refused)


def test_floor_is_foretold_to_be_refused_below_five_budgets_or_short_ladders() -> None:
    wide = [(10 ** (10 + 0.4 * k), ()) for k in range(5)]
    assert plan_warnings(wide, target=1e13, ratios=[10]) == ()
    (said,) = plan_warnings(wide[1:], target=1e13, ratios=[10])
    assert "refuse a free floor" in said
    (said,) = plan_warnings([(b**0.5 * 1e5, ()) for b, _ in wide], target=1e13, ratios=[10])
    assert "0.80 decades" in said
    (said,) = plan_warnings(wide, target=1e13, ratios=[10**4])
    assert "no usable rung" in said
    said, _ = plan_warnings([(wide[0][0], ("short",)), *wide[1:]], target=1e13, ratios=[10])
    assert "leave out the rungs of 1e+10" in said


@given(width=st.floats(8, 512), exponent=st.floats(-1, 1))
def test_rule_is_a_power_of_its_size_within_bounds(width: float, exponent: float) -> None:
    here = Point(width=32, layers=2, tokens=1e6, batch=384)
    rule = PowerRule(
        value=0.01, reference=here, width=exponent, lowest=0.001, highest=0.1, evidence="a test"
    )
    value = rule.at(dataclasses.replace(here, width=width))
    wanted = 0.01 * (width / 32) ** exponent
    assert value == pytest.approx(min(max(wanted, 0.001), 0.1))


def test_cost_adds_up_and_the_longest_goes_first(resolved: Plan) -> None:
    table = cost_table(resolved, target_threads=2)
    ladder = sum(run.expected_seconds for run in resolved.ladder)
    hours = (ladder + 2 * resolved.target.expected_seconds) / 3600
    assert table["core_hours"].sum() == pytest.approx(hours)
    assert table["runs"].sum() == len(resolved.runs) == len(plan_table(resolved))
    assert "gpu_hours" in cost_table(resolved, device="cuda")
    seconds = [run.expected_seconds for run in longest_first(resolved.runs)]
    assert seconds == sorted(seconds, reverse=True)
    one, two = wall_seconds(resolved, 1), wall_seconds(resolved, 2)
    assert one == pytest.approx(ladder + resolved.target.expected_seconds)
    assert resolved.target.expected_seconds + ladder / 2 <= two < one


def test_shape_nearest_the_budget_is_taken(sweep: Sweep) -> None:
    images = nominal_images(sweep)
    run = plan(sweep).runs[0]
    assert choose_shape(sweep, run.budget, 20, images) == run.shape
    assert choose_shape(sweep, run.budget, 200, images).width < run.shape.width


def test_planning_imports_no_torch() -> None:
    script = (
        "import sys; from pathlib import Path; from sweeps.sweep_file import load_sweep; "
        "from sweeps.plan import plan; import sweeps.table, sweeps.local, sweeps.status; "
        f"plan(load_sweep(Path({str(SWEEPS / 'demo.toml')!r}))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=SWEEPS.parent)
