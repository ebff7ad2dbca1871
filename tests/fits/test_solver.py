from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import minimize

from fits.estimators import solver
from fits.estimators.compute import power_terms
from fits.estimators.newton import Exponentials, solve
from fits.estimators.sizes import chinchilla_terms
from fits.estimators.solver import Problem, Terms, descend, huber, polish


def problem(rows: int = 1, *, delta: float = 1e-2, noise: float = 0.01) -> Problem:
    rng = np.random.default_rng(0)
    flops = np.geomspace(1e9, 1e13, 9)
    y = np.log(1.5 + 60 * flops**-0.15) + noise * rng.standard_normal((rows, 9))
    return Problem(
        terms=power_terms(flops, float(np.log(flops).mean()), None), y=y,
        weight=np.ones((rows, 9)), delta=delta, lower=np.array([-np.inf, 1e-3, -9.0]),
        upper=np.tile([np.inf, 4.0, np.log(1.6)], (rows, 1)),
    )  # fmt: skip


@dataclass(frozen=True)
class Plain:
    """The same law without its terms: only value and derivative."""

    terms: Terms

    def log_loss(self, theta):
        return self.terms.log_loss(theta)

    def with_jacobian(self, theta):
        return self.terms.with_jacobian(theta)


def reached(many: Problem, theta: np.ndarray) -> np.ndarray:
    return many.objective(many.terms.log_loss(theta))


def alone(one: Problem, start: np.ndarray) -> float:
    """The objective of a single fit by scipy, begun anew until it gains nothing."""

    def score(theta):
        value, jac = one.terms.with_jacobian(theta[None])
        slope = np.clip(one.y - value, -one.delta, one.delta) * one.weight
        total = one.objective(value)[0]
        return total / one.delta**2, -(slope @ jac[0])[0] / one.delta**2

    box = list(zip(one.lower, one.upper[0], strict=True))
    options = {"ftol": 1e-16, "gtol": 1e-11, "maxiter": 2000}
    for _ in range(4):
        found = minimize(score, start, jac=True, method="L-BFGS-B", bounds=box, options=options)
        start = found.x
    return float(found.fun) * one.delta**2


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


def test_the_curvature_is_the_derivative_of_the_slope():
    rng = np.random.default_rng(1)
    n, tokens = np.exp(rng.uniform(15, 25, (2, 7)))
    terms = chinchilla_terms(n, tokens, 20.0, 20.0)
    theta, slope = np.array([[-0.5, -0.2, 0.6, 0.3, 0.4]]), rng.standard_normal((1, 7))
    model = Exponentials(terms.design, terms.with_shares)
    value, state = model.expand(theta)
    assert value == pytest.approx(terms.log_loss(theta))
    zero, exact = np.zeros((1, 7)), np.ones(1)
    gradient, bent = model.curvature(state, slope, zero, exact)
    assert gradient[0] == pytest.approx(slope[0] @ terms.with_jacobian(theta)[1][0])
    for k in range(5):
        step = np.zeros((1, 5))
        step[0, k] = 1e-6
        up, down = (terms.with_jacobian(theta + s)[1][0] for s in (step, -step))
        assert -bent[0, k] == pytest.approx(slope[0] @ (up - down) / 2e-6, abs=1e-8)
    jac = terms.with_jacobian(theta)[1][0]
    weight = rng.uniform(size=(1, 7))
    _, flat = model.curvature(state, slope, weight, 0 * exact)
    assert flat[0] == pytest.approx(jac.T @ (weight[0][:, None] * jac))


def test_every_draw_is_solved_and_an_indefinite_one_still_leads_downhill():
    rng = np.random.default_rng(0)
    half, right = rng.standard_normal((6, 4, 4)), rng.standard_normal((6, 4))
    matrix = half @ np.swapaxes(half, 1, 2)
    x, gain = solve(matrix, right)
    assert np.einsum("bpq,bq->bp", matrix, x) == pytest.approx(right)
    assert gain == pytest.approx(0.5 * (right * x).sum(axis=1))
    for bent in (matrix - 3 * np.eye(4), np.zeros((6, 4, 4))):
        x, gain = solve(bent, right)
        assert ((right * x).sum(axis=1) > 0).all() and (gain > 0).all()


def test_a_batch_ends_where_each_fit_alone_ends():
    many = problem(rows=12, delta=2e-3)
    ends = descend(many, np.tile([0.5, 0.2, 0.0], (12, 1)))
    assert ((ends >= many.lower) & (ends <= many.upper)).all()
    for row in range(12):
        one = many.rows(np.array([row]))
        assert reached(one, ends[row : row + 1])[0] <= alone(one, ends[row]) * (1 + 1e-9)
        assert polish(one, ends[row])[1] == pytest.approx(alone(one, ends[row]), rel=1e-9)


def test_a_law_without_terms_ends_at_the_same_optimum():
    many = problem(rows=5, delta=2e-3)
    start = np.tile([0.5, 0.2, 0.0], (5, 1))
    plain = Problem(terms=Plain(many.terms), y=many.y, weight=many.weight, delta=many.delta,
                    lower=many.lower, upper=many.upper)  # fmt: skip
    ends = descend(plain, start, steps=300, tolerance=1e-10)
    assert reached(many, ends) == pytest.approx(reached(many, descend(many, start)), rel=1e-7)


def test_with_a_small_delta_the_level_is_the_weighted_median():
    """One constant: log loss = theta. Huber's minimum is then within delta of the median."""
    rng = np.random.default_rng(3)
    rows, runs = 40, 11
    y, weight = rng.standard_normal((rows, runs)), rng.integers(0, 4, (rows, runs)).astype(float)
    weight[:, 0] += weight.sum(axis=1) % 2 == 0  # odd, so that the median is one run
    level = Terms(offset=np.zeros((1, runs)), design=np.ones((1, runs, 1)))
    many = Problem(terms=level, y=y, weight=weight, delta=1e-5,
                   lower=np.array([-9.0]), upper=np.array([[9.0]]))  # fmt: skip
    ends = descend(many, np.full((rows, 1), 3.0))
    for row in range(rows):
        middle = np.median(np.repeat(y[row], weight[row].astype(int)))
        assert ends[row, 0] == pytest.approx(middle, abs=1.1e-5)


def test_a_draw_does_not_depend_on_its_company(monkeypatch):
    monkeypatch.setattr(solver, "CHUNK", 16 * 9 * 3)
    many = problem(rows=35)
    start = np.tile([0.5, 0.2, 0.0], (many.y.shape[0], 1))
    ends = descend(many, start)
    for row in (0, 15, 16, 34):
        one = descend(many.rows(np.array([row])), start[row : row + 1])
        assert one[0] == pytest.approx(ends[row], rel=1e-6)


def test_many_starts_of_one_problem_share_its_row():
    one = problem()
    starts = np.array([[0.5, 0.2, 0.0], [0.0, 0.1, -2.0], [1.0, 0.5, 0.3]])
    scores = reached(one, descend(one, starts))
    assert scores == pytest.approx(scores.min(), rel=1e-8)


def test_no_draw_ends_above_its_start_or_outside_the_box():
    rng = np.random.default_rng(2)
    many = problem(rows=60, noise=0.5)
    start = np.clip(rng.normal(0, 3, (60, 3)), many.lower, many.upper)
    for steps in (0, 1, 3, 80):
        ends = descend(many, start, steps=steps)
        assert (reached(many, ends) <= reached(many, start)).all()
        assert ((ends >= many.lower) & (ends <= many.upper)).all()


@pytest.mark.parametrize("distinct", [0, 1, 2, 3])
def test_a_resample_of_few_distinct_runs_has_a_finite_end(distinct):
    many = problem(rows=30)
    weight = np.zeros((30, 9))
    for row in range(30):
        chosen = np.random.default_rng(row).choice(9, distinct, replace=False)
        weight[row, chosen] = 9 / max(distinct, 1)
    few = Problem(terms=many.terms, y=many.y, weight=weight, delta=many.delta,
                  lower=many.lower, upper=many.upper)  # fmt: skip
    ends = descend(few, np.tile([0.5, 0.2, 0.0], (30, 1)))
    assert np.isfinite(ends).all() and (ends >= few.lower).all() and (ends <= few.upper).all()
    scores = reached(few, ends)
    assert np.isfinite(scores).all()
    if distinct < 3:  # some curve of three constants goes through two runs that fall
        falls = [(np.diff(y[w > 0]) < 0).all() for y, w in zip(few.y, weight, strict=True)]
        assert scores[falls] == pytest.approx(0, abs=1e-9)


def test_runs_without_noise_are_met_exactly():
    exact = problem(noise=0.0, delta=1e-3)
    theta, objective = polish(exact, np.array([0.5, 0.2, 0.0]))
    assert objective < 1e-20
    assert theta[1:] == pytest.approx([0.15, np.log(1.5)], rel=1e-6)


def test_a_start_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="start of draw 1"):
        descend(problem(), np.array([[0.5, 0.2, 0.0], [0.5, np.nan, 0.0]]))


def test_wild_targets_leave_a_draw_where_it_started():
    many = problem(rows=2)
    many.y[1, 3] = np.nan
    start = np.tile([0.5, 0.2, 0.0], (2, 1))
    ends = descend(many, start)
    assert np.isfinite(ends).all() and (ends[1] == start[1]).all()
    assert reached(many, ends)[0] < reached(many, start)[0]


def test_a_draw_whose_curvature_underflows_is_left_in_silence():
    many = problem(rows=2)
    many.weight[1] = 1e-320
    start = np.tile([0.5, 0.2, -9.0], (2, 1))
    with np.errstate(divide="raise"):
        ends = descend(many, start)
    assert (ends[1] == start[1]).all()
    assert reached(many, ends)[0] < reached(many, start)[0]
