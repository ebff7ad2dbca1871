import numpy as np
import pandas as pd
import pytest
from ladders import full_tables

from fits.observations import FitError
from fits.passes.counts import (
    check_samples,
    effective,
    eta_of,
    fit_lines,
    gather,
    pass_rates,
    seed_sd,
)


def test_the_line_in_log_minus_log_p_is_recovered_from_counts():
    z = np.linspace(-1, 1, 7)[None]
    p = np.exp(-np.exp(0.4 - 0.8 * z))
    drawn = np.full_like(p, 1e5)
    a, k = fit_lines(z, p * drawn, drawn)
    assert [a[0], k[0]] == pytest.approx([0.4, -0.8], abs=1e-3)


def test_a_rung_without_passes_still_informs():
    z = np.array([[-1.0, 0.0, 1.0]])
    passed, drawn = np.array([[0.0, 20.0, 300.0]]), np.full((1, 3), 1000.0)
    _, with_zero = fit_lines(z, passed, drawn)
    _, without = fit_lines(z, passed, np.array([[1e-9, 1000.0, 1000.0]]))
    assert with_zero[0] < without[0] - 1e-4 < 0  # 0 of 1,000 says: steeper than the other two


def test_seed_scatter_shrinks_the_effective_sample():
    _, samples, _ = full_tables()
    sd = seed_sd(gather(samples[samples["bucket"] == "d2-mid"]))
    assert 0.03 < sd < 0.3
    rate = np.array([0.3])
    assert effective(rate, np.array([1e6]), sd)[0] < 1e4
    assert effective(rate, np.array([50.0]), 0.0)[0] == 50


def test_the_mean_leaves_out_the_blind_baseline():
    rows = pd.DataFrame({
        "run_id": "a", "flops": 1e10, "problem": list("pqrs"), "n_samples": 10,
        "bucket": ["d1", "d1", "strip-1", "strip-1"], "n_passed": [2, 4, 9, 1],
        "kind": ["program", "program", "strip", "strip_blind"],
    })  # fmt: skip
    overall, buckets = pass_rates(rows)
    assert overall == pytest.approx(0.3) and buckets == pytest.approx({"d1": 0.3, "strip-1": 0.9})
    assert pass_rates(rows.iloc[:0]) == (None, {})


@pytest.mark.parametrize(("column", "value"), [("n_passed", 99), ("n_samples", 0), ("flops", -1)])
def test_impossible_counts_name_their_row(column, value):
    samples = full_tables()[1]
    samples.loc[5, column] = value
    with pytest.raises(ValueError, match="samples row 5"):
        check_samples(samples)


def test_no_samples_is_a_refusal():
    with pytest.raises(FitError) as refusal:
        gather(full_tables()[1].iloc[:0])
    assert refusal.value.name == "no_samples"


def test_eta_is_the_inverse_of_the_law():
    assert eta_of(np.exp(-np.exp(np.array([0.7])))) == pytest.approx([0.7])
