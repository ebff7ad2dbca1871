"""What the catalogue refuses, by name; and the cautions of fits that are usable but doubtful."""

import numpy as np
import pytest
from ladders import SIX, chinchilla_table, ladder
from planted import PLANTED, compute, grid

from fits.estimators.catalogue import CATALOGUE, estimator, lookup
from fits.estimators.compute import PowerHuber
from fits.estimators.coupled import CoupledHuber
from fits.estimators.sizes import ChinchillaHuber, TiedHuber
from fits.observations import FitError, observe

SIZE_LAWS = ["chinchilla", "tied", "kaplan", "coupled", "repeated"]


def refusal(name, table):
    with pytest.raises(FitError) as refused:
        lookup(name).check(observe(table))
    with pytest.raises(FitError) as again:
        estimator(name).fit(observe(table))
    assert again.value.name == refused.value.name
    return refused.value.name


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_too_few_runs_are_refused_and_enough_are_not(name):
    entry, table = CATALOGUE[name], PLANTED[name].table()
    assert refusal(name, table.sample(entry.runs - 1, random_state=0)) == "too_few_runs"
    entry.check(observe(table))


@pytest.mark.parametrize("name", SIZE_LAWS)
def test_one_line_of_sizes_is_refused(name):
    table = PLANTED[name].table().assign(tokens=lambda t: 20 * t["n_active"])
    assert refusal(name, table) == "one_line"


@pytest.mark.parametrize("name", ["power", "power_floor", "broken"])
def test_one_level_of_compute_is_refused(name):
    table = PLANTED[name].table().assign(flops=1e18)
    assert refusal(name, table) == "one_compute_level"


def test_budgets_are_counted_not_runs():
    few = compute(4).loc[np.repeat(np.arange(4), 3)].assign(loss=2.0)
    assert refusal("broken", few) == "too_few_budgets"


@pytest.mark.parametrize(
    ("name", "column", "wanted"),
    [
        ("chinchilla", "tokens", "no_sizes"),
        ("chinchilla_total", "n_total", "no_total"),
        ("experts", "n_experts", "no_experts"),
        ("sparse", "n_total", "no_total"),
        ("repeated", "unique_tokens", "no_unique_tokens"),
    ],
)
def test_a_missing_column_is_named(name, column, wanted):
    assert refusal(name, PLANTED[name].table().drop(columns=column)) == wanted


def test_experts_must_vary():
    table = PLANTED["experts"].table()
    assert refusal("experts", table[table["n_experts"] == 8].head(0)) == "too_few_runs"
    dense = grid().assign(loss=3.0, tokens=1e10)
    assert refusal("experts", dense) == "one_expert_count"
    three = table[table["n_experts"] <= 4]
    assert refusal("experts", three) == "too_few_expert_counts"
    assert refusal("experts", table.assign(n_active=1e8)) == "one_size"
    assert refusal("experts", table.assign(tokens=table["n_active"])) == "tokens_vary"


@pytest.mark.parametrize("name", ["sparse", "sparse_fixed_tokens"])
def test_density_must_vary_apart_from_size(name):
    table = PLANTED[name].table()
    same = table.assign(n_total=3 * table["n_active"])
    assert refusal(name, same) == "one_density"
    line = table.assign(n_total=table["n_active"] ** 1.3)
    assert refusal(name, line) == "one_density"
    with pytest.raises(ValueError, match="n_active is above n_total"):
        lookup(name).check(observe(table.assign(n_total=0.5 * table["n_active"])))


def test_one_amount_of_data_is_a_law_of_its_own():
    table = PLANTED["sparse"].table().assign(tokens=1e10)
    assert refusal("sparse", table) == "one_token_count"
    assert refusal("sparse_fixed_tokens", PLANTED["sparse"].table()) == "tokens_vary"


def test_without_repeats_there_is_no_law_of_repeated_data():
    table = PLANTED["repeated"].table()
    assert refusal("repeated", table.assign(unique_tokens=table["tokens"])) == "no_repeats"


def test_settings_that_no_fit_can_use_are_refused():
    for kind in (PowerHuber, ChinchillaHuber, CoupledHuber):
        with pytest.raises(ValueError, match="floor is -1"):
            kind(floor=-1.0)
        with pytest.raises(ValueError, match="delta is 0"):
            kind(delta=0.0)
    with pytest.raises(ValueError, match="no irreducible loss"):
        estimator("kaplan", floor=1.0)
    with pytest.raises(ValueError, match="unknown; the laws are power"):
        estimator("cubic")
    with pytest.raises(FitError, match="not below the smallest loss") as high:
        TiedHuber(floor=9.0).fit(observe(chinchilla_table()))
    assert high.value.name == "floor_above_loss"


def cautions(fit):
    return {text.split(":")[0] for text in fit.cautions}


def test_a_fit_at_a_bound_says_so():
    straight = observe(ladder(lambda c: 40 * c**-0.1, SIX, noise=0.0))
    assert "floor_at_bound" in cautions(PowerHuber().fit(straight))
    flat = observe(ladder(lambda c: 3.0 + 0 * c, SIX, noise=1e-3))
    assert "exponent_at_bound" in cautions(PowerHuber(floor=0.0).fit(flat))
    sharp = PLANTED["coupled"].law
    table = chinchilla_table()
    n, tokens = table["n_active"], table["tokens"]
    scarce = np.maximum(sharp.a * n**-sharp.alpha, sharp.b * tokens**-sharp.beta)
    found = CoupledHuber().fit(observe(table.assign(loss=1.8 + scarce)))
    assert "constant_at_bound" in cautions(found)
    assert any("k is at its lower bound" in text for text in found.cautions)


def test_as_many_constants_as_runs_is_a_caution():
    three = observe(ladder(lambda c: 1.5 + 90 * c**-0.14, SIX[::2], seeds=1))
    assert "no_spare_run" in cautions(PowerHuber().fit(three))
    assert "no_spare_run" not in cautions(PowerHuber(floor=0.0).fit(three))


def test_starts_that_end_apart_are_a_caution():
    table = PLANTED["chinchilla"].table(noise=0.01)
    lonely = ChinchillaHuber(exponents=(0.35,), shares=(0.5,)).fit(observe(table))
    assert lonely.starts == 1 and "starts_disagree" in cautions(lonely)
    assert "starts_disagree" not in cautions(ChinchillaHuber().fit(observe(table)))
