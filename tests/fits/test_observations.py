import numpy as np
import pandas as pd
import pytest

from fits.observations import (
    FitError,
    budget_means,
    budgets,
    name_rows,
    observe,
    run_names,
)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0, "4.4 nats", None, True])
@pytest.mark.parametrize("column", ["loss", "flops"])
def test_a_value_that_is_no_positive_number_names_its_row(column, bad):
    table = pd.DataFrame({"flops": [1e9, 1e10, 1e11], "loss": [4.0, 3.0, 2.0]}, dtype=object)
    table["run_id"] = ["a", "b", "c"]
    table.loc[1, column] = bad
    with pytest.raises(ValueError, match=rf"row 1 \(run b\): {column} is"):
        observe(table)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="'loss' is missing"):
        observe(pd.DataFrame({"flops": [1e9]}))


def test_budgets_join_what_lies_within_20_percent():
    index = budgets(np.array([1.0e10, 1.15e10, 3e10, 0.99e10]))
    assert index.tolist() == [0, 0, 1, 0]


def test_row_order_does_not_matter():
    table = pd.DataFrame({"flops": [1e9, 1e10, 1e10, 1e11], "loss": [4.0, 3.0, 3.1, 2.0]})
    one, other = observe(table), observe(table.iloc[::-1].reset_index(drop=True))
    assert np.array_equal(one.loss, other.loss)
    assert budget_means(one)[1][1] == pytest.approx(np.log([3.0, 3.1]).mean())


def test_runs_of_one_id_are_one_cluster():
    table = pd.DataFrame({"flops": [1e9, 1e10, 1e11], "loss": [4.0, 3.0, 2.0]})
    assert observe(table.assign(run_id=["a", "b", "a"])).cluster.tolist() == [0, 1, 0]


def test_rows_of_one_run_have_names_of_their_own_and_stay_one_cluster():
    table = pd.DataFrame({"flops": [1e9, 1e10, 1e11], "loss": [4.0, 3.0, 2.0]}, index=[1, 2, 4])
    named = name_rows(table.assign(run_id=["a", "b", "a"]))
    assert run_names(named) == ("a (row 1)", "b", "a (row 4)")
    assert run_names(named.iloc[2:]) == ("a (row 4)",)
    obs = observe(named)
    assert obs.cluster.tolist() == [0, 1, 0] and obs.run_id == run_names(named)
    assert "row_name" not in name_rows(named.assign(run_id=["a", "b", "c"]))


def test_a_refusal_has_a_name():
    assert FitError("too_few_runs", "why").name == "too_few_runs"
