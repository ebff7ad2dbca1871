import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fits.downstream.sigmoid import SigmoidFit, SigmoidForm, SigmoidLaw
from fits.downstream.tasks import Task, checkpoints_of, smoothed
from fits.downstream.two_step import fit_two_step
from fits.observations import FitError, Points
from fits.uncertainty.backtest import FormError

LINK = SigmoidLaw(0.25, 0.95, 9.0, 0.75)
TASK = Task.named("quiz", choices=4)
SIZES, TIMES = np.array([2e8, 4e8, 8e8, 1.3e9]), np.array([20.0, 40.0, 100.0, 200.0])


def bits_of(n, tokens):
    return 0.45 + 60 * n**-0.28 + 160 * tokens**-0.3


def planted(link=LINK, noise=0.0, wobble=0.0, seed=0):
    """Final runs of 4 sizes x 4 lengths, and 12 checkpoints of each, under planted laws."""
    rng = np.random.default_rng(seed)
    n, times = (grid.ravel() for grid in np.meshgrid(SIZES, TIMES))
    names = [f"r{i}" for i in range(n.size)]
    tokens = times * n
    shock = np.exp(noise * rng.standard_normal(n.size))
    ladder = pd.DataFrame({
        "run_id": names, "flops": 6 * n * tokens, "n_active": n, "tokens": tokens,
        "bpb_quiz": bits_of(n, tokens) * shock,
    })  # fmt: skip
    steps = np.linspace(0.15, 1, 12)
    rows = ladder.loc[ladder.index.repeat(steps.size)].reset_index(drop=True)
    part = np.tile(steps, n.size)
    rows["tokens"] *= part
    rows["bpb_quiz"] = bits_of(rows["n_active"], rows["tokens"]) * np.repeat(shock, steps.size)
    accuracy = link.predict(rows["bpb_quiz"].to_numpy())
    rows["acc_quiz"] = np.clip(accuracy + wobble * rng.standard_normal(len(rows)), 0, 1)
    return ladder, rows


def target(n=1.3e10, tokens=5e12):
    return Points(flops=np.array([6 * n * tokens]), n=np.array([n]), tokens=np.array([tokens]))


def fit(*tables, task=TASK, **how):
    return fit_two_step(*tables, task, **{"draws": 100, "rng": np.random.default_rng(0)} | how)


@pytest.mark.parametrize("chance", [0.25, None])
def test_a_planted_sigmoid_is_recovered(chance):
    bits = np.linspace(0.5, 1.2, 60)
    found = SigmoidFit(chance=chance, perfect=0.0).fit(bits, LINK.predict(bits), np.ones(60))
    values = [found.chance, found.ceiling, found.steepness, found.midpoint]
    assert values == pytest.approx([0.25, 0.95, 9.0, 0.75], rel=1e-4)


def test_the_derivative_of_the_sigmoid_is_right():
    form = SigmoidForm(bits=np.linspace(0.4, 1.3, 7))
    theta = np.array([[0.2, 0.9, 1.7, 0.8], [0.3, 0.8, 0.5, 1.1]])
    value, slope = form.with_jacobian(theta)
    assert value == pytest.approx(form.log_loss(theta))
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-6
        change = (form.log_loss(theta + step) - form.log_loss(theta - step)) / 2e-6
        assert slope[:, :, k] == pytest.approx(change, abs=1e-7)


def test_the_chain_reaches_a_planted_accuracy_far_beyond_the_ladder():
    found = fit(*planted(), perfect=0.0)
    row = found.predict(target()).iloc[0]
    bits = bits_of(1.3e10, 5e12)
    assert row["bits"] == pytest.approx(bits, rel=1e-3)
    assert row["accuracy"] == pytest.approx(LINK.predict(np.array([bits]))[0], abs=0.01)
    assert row["beyond"] and found.bits_seen[0] > bits


def test_intervals_hold_the_truth_and_widen_with_scatter():
    truth = float(LINK.predict(np.array([bits_of(1.3e9, 4e11)]))[0])
    widths = []
    for wobble in (0.002, 0.02):
        found = fit(*planted(noise=0.002, wobble=wobble, seed=3))
        row = found.predict(target(1.3e9, 4e11)).iloc[0]
        assert row["accuracy_lo90"] < truth < row["accuracy_hi90"]
        assert row["accuracy_lo90"] < row["accuracy_lo50"] < row["accuracy_hi50"]
        widths.append(row["accuracy_hi90"] - row["accuracy_lo90"])
    assert widths[1] > 2 * 1.64 * 0.02 * 0.9  # a new run scatters about the sigmoid as the old did
    assert widths[0] < 0.6 * widths[1]


def test_intervals_widen_beyond_the_ladder_for_the_laws_form():
    found = fit(*planted())
    at = Points(flops=np.array([1e21, 1e22, 1e24]), n=np.array([5e8, 2e9, 2e10]),
                tokens=np.array([1e21, 1e22, 1e24]) / (6 * np.array([5e8, 2e9, 2e10])))  # fmt: skip
    table = found.predict(at)
    spread = np.log(table["bits_hi90"] / table["bits_lo90"]).to_numpy()
    assert found.form.cutoffs >= 3
    assert spread[0] < 0.01 < spread[1] < 0.5 * spread[2]


def test_ninety_percent_intervals_cover_about_ninety_percent(monkeypatch):
    """16 ladders and a fresh run of each, under the very laws that are fitted.

    The allowance for an error of form, to spare there, is switched off. A share of .9 has a
    standard error of .075.
    """
    none = FormError(scale=0.0, freedom=1.0, cutoffs=0)
    monkeypatch.setattr("fits.downstream.two_step._form", lambda *_: none)
    inside = 0
    truth = bits_of(4e9, 2e11)
    for seed in range(16):
        rng = np.random.default_rng(1000 + seed)
        found = fit(*planted(noise=0.004, wobble=0.01, seed=seed), draws=40)
        row = found.predict(target(4e9, 2e11)).iloc[0]
        bits = truth * np.exp(0.004 * rng.standard_normal())
        actual = LINK.predict(np.array([bits]))[0] + 0.01 * rng.standard_normal()
        inside += row["accuracy_lo90"] < actual < row["accuracy_hi90"]
    assert inside >= 12


def test_more_compute_never_predicts_a_lower_accuracy():
    found = fit(*planted(noise=0.01, wobble=0.03, seed=5), draws=10)
    for n, tokens in ((np.geomspace(1e8, 1e12, 30), np.full(30, 1e12)),
                      (np.full(30, 1e10), np.geomspace(1e10, 1e14, 30))):  # fmt: skip
        table = found.predict(Points(flops=6 * n * tokens, n=n, tokens=tokens))
        assert (np.diff(table["bits"]) < 0).all() and (np.diff(table["accuracy"]) >= 0).all()
        for column in ("accuracy", "accuracy_lo90", "accuracy_hi90"):
            assert table[column].between(0, 1).all()


def test_chance_is_pinned_by_the_choices_or_fitted():
    low = SigmoidLaw(0.21, 0.95, 9.0, 0.75)
    tables, low_scores = planted(link=low), planted(link=SigmoidLaw(0.1, 0.95, 9.0, 0.75))
    assert fit(*tables).link.chance == 0.25
    assert fit(*tables, task=Task.named("quiz"), perfect=0.0).link.chance == pytest.approx(
        0.21, abs=5e-3
    )
    assert any("below the chance" in text for text in fit(*low_scores).cautions)
    with pytest.raises(ValueError, match="choices is 1"):
        Task.named("quiz", choices=1)


def test_named_refusals():
    ladder, rows = planted()
    for change, task, name in (
        ({"acc_quiz": 0.25}, TASK, "never_above_chance"),
        ({"acc_quiz": 0.25}, Task.named("quiz"), "never_above_chance"),
        ({"acc_quiz": 0.97}, TASK, "saturated"),
        ({"acc_quiz": 0.6}, TASK, "saturated"),
        ({"acc_quiz": 0.97}, Task.named("quiz"), "saturated"),
        ({"run_id": "one"}, TASK, "too_few_runs"),
    ):
        with pytest.raises(FitError) as refused:
            fit(ladder, rows.assign(**change), task=task)
        assert refused.value.name == name, (change, task)
    with pytest.raises(FitError) as few:
        fit(ladder.iloc[:5], rows)
    assert few.value.name == "too_few_runs"
    with pytest.raises(FitError) as line:
        fit(
            ladder[ladder["tokens"] == 20 * ladder["n_active"]].loc[lambda t: t.index.repeat(2)],
            rows,
        )
    assert line.value.name == "one_line"


def test_bad_values_are_named():
    ladder, rows = planted()
    rows.loc[7, "acc_quiz"] = 61.0
    with pytest.raises(ValueError, match="row 7: acc_quiz is 61"):
        fit(ladder, rows)
    with pytest.raises(ValueError, match="column 'bpb_other' is missing"):
        fit(ladder, rows, task=Task.named("other"))


def test_smoothing_skips_the_start_and_averages_backwards():
    table = pd.DataFrame({
        "run_id": ["a"] * 10 + ["b"] * 2, "tokens": [*range(1, 11), 5, 10],
        "bpb_quiz": [*map(float, range(10, 0, -1)), 3.0, 1.0], "acc_quiz": 0.5,
    })  # fmt: skip
    found = smoothed(table.sample(frac=1, random_state=0), TASK, window=3, skip=0.1)
    first = found[found["run_id"] == "a"]["bpb_quiz"].tolist()
    assert first == pytest.approx([9, 8.5, 8, 7, 6, 5, 4, 3, 2])
    assert found[found["run_id"] == "b"]["bpb_quiz"].tolist() == pytest.approx([3, 2])
    assert checkpoints_of(found, TASK).runs == ("a", "b")


GATES = {  # relative error in percent at 13B and 5T tokens: first step, chain (arXiv:2412.04403)
    "mmlu_test": (0.2, 0.7),
    "hellaswag_val": (1.2, 2.5),
    "arc_challenge_test": (9.4, 17.5),
    "arc_easy_test": (16.0, 11.4),
    "piqa_val": (2.7, 1.1),
    "csqa_val": (18.5, 4.7),
    "socialiqa_val": (3.6, 2.7),
    "openbookqa_test": (0.9, 7.8),
}


def ladder_tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """The published ladder: 190M to 1B at 1 to 10 times Chinchilla; its checkpoints; the 13B."""
    folder = Path(os.environ.get("WORKBENCH_TABLES") or "nowhere") / "runs"
    if not (folder / "olmo_ladder.csv").exists():
        pytest.skip("the public tables are not here (WORKBENCH_TABLES)")
    runs = pd.read_csv(folder / "olmo_ladder.csv").rename(columns={"run": "run_id"})
    many = pd.read_csv(folder / "olmo_ladder_checkpoints.csv").rename(columns={"run": "run_id"})
    goal = runs.set_index("run_id").loc["peteish13_eval_final"]
    return runs[runs["run_id"].isin(many["run_id"])], many, goal


@pytest.mark.parametrize("name", GATES)
def test_the_published_errors_of_the_olmo_ladder_are_reached(name):
    """To .3 percentage points: published errors are given to .1, fits differ in the optimiser."""
    ladder, many, goal = ladder_tables()
    assert len(ladder) == 16
    found = fit(ladder, many, task=Task.named(name), draws=0)
    row = found.predict(target(goal["n_active"], goal["tokens"])).iloc[0]
    step_1 = 100 * abs(row["bits"] / goal[f"bpb_{name}"] - 1)
    chain = 100 * abs(row["accuracy"] / goal[f"acc_{name}"] - 1)
    assert [step_1, chain] == pytest.approx(GATES[name], abs=0.3)
