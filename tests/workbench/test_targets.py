"""The target that a table suggests: of the sizes that all its runs have."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.targets import parse_target, suggest_target, target_option

N = [1e8, 4e8, 1.6e9]


def ladder(**columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"status": "finished", "role": "ladder", "n_active": N, **columns})
    if "tokens" not in table:
        table["tokens"] = 20 * table["n_active"]
    if "flops" not in table:
        table["flops"] = 6 * table["n_active"] * table["tokens"]
    return table


def test_sizes_follow_the_runs_and_reach_ten_times_their_compute() -> None:
    assert suggest_target(ladder()) == parse_target("n_active=5.1B,tokens=100B")
    one_amount = suggest_target(ladder(tokens=1e11))
    assert (one_amount["n_active"], one_amount["tokens"]) == (16e9, 1e11)


def test_experts_are_those_of_the_largest_run() -> None:
    found = suggest_target(ladder(n_experts=[8, 1, 8], n_total=[4e8, 4e8, 6.4e9]))
    assert (found["n_experts"], found["n_total"]) == (8, 4 * 5.1e9 // 1e9 * 1e9)


def test_compute_that_is_counted_otherwise_is_said() -> None:
    found = suggest_target(ladder(flops=[1.6e17, 2.56e18, 4.096e19 * 2]))
    assert found["flops"] == 8.2e20 and target_option(found).startswith("flops=8.2e+20,n_active=")


def test_sizes_that_a_run_lacks_are_not_suggested() -> None:
    assert set(suggest_target(ladder(tokens=[1e9, None, 2e10], flops=[1e18, 2e18, 4e18]))) == {
        "flops"
    }
    unfinished = ladder()
    unfinished.loc[2, ["status", "tokens", "flops"]] = ["failed", None, 1e30]
    assert suggest_target(unfinished) == parse_target("n_active=1.3B,tokens=25B")
    with pytest.raises(InputError, match="no finished run"):
        suggest_target(ladder(role="target"))


@pytest.mark.parametrize("text", ["flops=1e23", "n_active=70B,tokens=1.4T", "flops=1.23456e22"])
def test_an_option_reads_back_as_its_target(text: str) -> None:
    assert parse_target(target_option(parse_target(text))) == parse_target(text)


def test_compute_that_contradicts_its_sizes_is_refused() -> None:
    with pytest.raises(InputError, match=r"flops is 358 times 6·n_active·tokens"):
        parse_target("n_active=2.5e9,tokens=1.86e10,flops=1e23")
    assert parse_target("n_active=2.5e9,tokens=1.86e10,flops=2.8e21")["flops"] == 2.8e21
