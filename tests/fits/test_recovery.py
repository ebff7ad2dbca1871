"""Every law of the catalogue, planted and found again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import PLANTED

from fits.estimators.catalogue import CATALOGUE, estimator, lookup
from fits.estimators.multistart import whole
from fits.observations import observe, points

LAWS = sorted(PLANTED)


def test_every_law_is_planted_here():
    assert set(PLANTED) == set(CATALOGUE)


@pytest.mark.parametrize("name", LAWS)
def test_exact_runs_give_the_planted_constants_back(name):
    planted = PLANTED[name]
    fit = estimator(name).fit(observe(planted.table()))
    found, wanted = fit.law.constants(), planted.law.constants()
    assert list(found) == list(wanted)
    assert fit.law.predict(points(planted.far)) == pytest.approx(
        planted.law.predict(points(planted.far)), rel=1e-3
    )
    for constant, value in wanted.items():
        assert found[constant] == pytest.approx(value, rel=0.02, abs=1e-6), constant


@pytest.mark.parametrize("name", LAWS)
def test_a_tenth_of_a_percent_of_noise_moves_the_far_prediction_little(name):
    planted = PLANTED[name]
    law = estimator(name).fit(observe(planted.table(noise=1e-3, seed=4))).law
    assert law.predict(points(planted.far)) == pytest.approx(
        planted.law.predict(points(planted.far)), rel=0.02
    )
    for constant in {"alpha", "beta", "share"} & set(law.constants()):
        assert law.constants()[constant] == pytest.approx(
            planted.law.constants()[constant], rel=0.15
        )


@pytest.mark.parametrize("name", LAWS)
def test_the_forms_derivative_is_its_derivative(name):
    planted = PLANTED[name]
    recipe, obs = estimator(name), observe(planted.table())
    _, problem = whole(recipe, obs)
    theta = recipe.starts(obs)[[0, -1]]
    theta = np.clip(theta + 0.01, problem.lower + 0.02, problem.upper - 0.02)
    value, jacobian = problem.terms.with_jacobian(theta)
    assert value == pytest.approx(problem.terms.log_loss(theta), rel=1e-12)
    for k in np.flatnonzero(problem.lower < problem.upper[0]):
        step = np.zeros_like(theta)
        step[:, k] = 1e-6
        up, down = problem.terms.log_loss(theta + step), problem.terms.log_loss(theta - step)
        assert jacobian[:, :, k] == pytest.approx((up - down) / 2e-6, abs=2e-7)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_read_off_the_chart_predicts_what_the_form_does(name):
    planted = PLANTED[name]
    recipe, obs = estimator(name), observe(planted.table(noise=1e-3))
    curves = recipe.fit_draws(obs, obs.y[None], obs.weight[None])
    far = points(planted.far)
    assert np.log(curves.law().predict(far)) == pytest.approx(curves.log_loss(far)[0], rel=1e-9)


@pytest.mark.parametrize("name", [n for n in LAWS if lookup(n).has_floor])
def test_a_pinned_floor_stays_where_it_is_and_is_said(name):
    planted = PLANTED[name]
    pinned = planted.law.irreducible
    fit = estimator(name, floor=pinned).fit(observe(planted.table()))
    assert fit.law.constants()["irreducible"] == pytest.approx(pinned, rel=1e-12)
    assert f"floor_pinned: the irreducible loss is set to {pinned:g}, not fitted" in fit.cautions
    far = points(planted.far)
    assert fit.law.predict(far) == pytest.approx(planted.law.predict(far), rel=1e-3)


@pytest.mark.parametrize("name", LAWS)
def test_units_of_loss_and_sizes_change_only_the_units(name):
    planted = PLANTED[name]
    table = planted.table(noise=1e-3, seed=2)
    far = planted.far
    scaled = table.assign(loss=0.5 * table["loss"], flops=1e3 * table["flops"])
    moved = far.assign(flops=1e3 * far["flops"])
    for column in {"n_active", "n_total"} & set(table.columns):
        scaled[column], moved[column] = 7.0 * table[column], 7.0 * far[column]
    one = estimator(name).fit(observe(table)).law.predict(points(far))
    other = estimator(name).fit(observe(scaled)).law.predict(points(moved))
    assert 2 * other == pytest.approx(one, rel=2e-4)


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=10, deadline=None)
@given(factor=st.floats(1.05, 30.0))
def test_more_of_anything_never_hurts(name, factor):
    planted = PLANTED[name]
    now = points(planted.runs)
    for column in set(planted.runs.columns) - {"flops"}:
        more = planted.runs.assign(
            **{column: planted.runs[column] * factor, "flops": planted.runs["flops"] * factor}
        )
        if column == "n_active" and "n_total" in more:
            more["n_total"] = more["n_total"] * factor
        gain = planted.law.predict(now) - planted.law.predict(points(more))
        assert (gain > -1e-12).all(), column
