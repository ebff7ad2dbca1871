import numpy as np
import pytest

from fits.estimators.compute import power_terms
from fits.estimators.solver import Problem, descend, huber, polish


def problem(rows: int = 1) -> Problem:
    rng = np.random.default_rng(0)
    flops = np.geomspace(1e9, 1e13, 9)
    y = np.log(1.5 + 60 * flops**-0.15) + 0.01 * rng.standard_normal((rows, 9))
    return Problem(
        terms=power_terms(flops, float(np.log(flops).mean()), None), y=y,
        weight=np.ones((rows, 9)), delta=1e-2, lower=np.array([-np.inf, 1e-3, -9.0]),
        upper=np.tile([np.inf, 4.0, np.log(1.6)], (rows, 1)),
    )  # fmt: skip


def test_huber_is_quadratic_then_linear():
    assert huber(np.array([[0.5, 3.0]]), 1.0).tolist() == [[0.125, 2.5]]


def test_the_jacobian_is_the_derivative():
    terms, theta = problem().terms, np.array([[0.3, 0.1, 0.2]])
    _, jac = terms.with_jacobian(theta)
    for k in range(3):
        step = np.zeros((1, 3))
        step[0, k] = 1e-6
        numeric = (terms.log_loss(theta + step) - terms.log_loss(theta - step)) / 2e-6
        assert jac[0, :, k] == pytest.approx(numeric[0], abs=1e-8)


def test_a_batch_ends_where_each_fit_alone_ends():
    many = problem(rows=6)
    ends = descend(many, np.tile([0.5, 0.2, 0.0], (6, 1)), steps=300)
    for row in range(6):
        alone, objective = polish(many.rows(np.array([row])), ends[row])
        value = many.rows(np.array([row])).terms.log_loss(ends[row : row + 1])
        reached = many.rows(np.array([row])).objective(value)[0]
        assert reached == pytest.approx(objective, rel=1e-3)
        assert (alone >= many.lower).all() and (alone <= many.upper[row]).all()
