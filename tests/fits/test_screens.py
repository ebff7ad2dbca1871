import numpy as np
import pandas as pd
import pytest
from ladders import full_tables

from fits.screens import screen


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("status", "diverged", "status is diverged"),
        ("loss_text", np.nan, "not measured"),
        ("steps", 999, "fewer than 1000 steps"),
        ("annealed", False, "not fully annealed"),
        ("layers", 1, "fewer than 2 layers"),
        ("epochs_text", 1.4, "epoch"),
        ("bigram_text", 0.5, "bigram"),
        ("tokens", 1.0, "tokens per parameter"),
    ],
)
def test_each_screen_takes_out_its_run_and_says_why(column, value, reason):
    runs = full_tables()[0].assign(epochs_text=0.5)
    assert screen(runs, loss="loss_text").left_out.empty
    runs[column] = runs[column].astype(object)
    runs.loc[3, column] = value
    out = screen(runs, loss="loss_text").left_out
    assert out["run_id"].tolist() == [runs.loc[3, "run_id"]] and reason in out["reason"].iloc[0]


def test_two_epochs_enter_where_allowed():
    runs = full_tables()[0].assign(epochs_text=2.0)
    assert screen(runs, loss="loss_text").kept.empty
    assert len(screen(runs, loss="loss_text", max_epochs=2).kept) == len(runs)


@pytest.mark.parametrize(
    ("seen", "kept"), [(3.002, True), (3.004, False)]
)  # 0.1 % of slack: whole batches overshoot
def test_a_source_has_its_own_limit_and_others_one_epoch(seen, kept):
    runs = full_tables()[0].assign(epochs_text=seen, epochs_code=0.9)
    assert len(screen(runs, max_epochs={"text": 3.0}).kept) == (len(runs) if kept else 0)
    other = runs.assign(epochs_code=1.2, epochs_text=1.0)
    reasons = screen(other, max_epochs={"text": 3.0}).left_out["reason"]
    assert set(reasons) == {"more than 1 epoch(s) of code"}


def test_a_rung_near_the_bigram_below_rungs_past_the_trigram_is_a_change_of_regime():
    runs = full_tables()[0]
    runs["bigram_text"], runs["trigram_text"] = runs["loss_text"] * 1.3, runs["loss_text"] * 1.1
    runs.loc[:1, "bigram_text"] = runs["loss_text"][:2] * 1.01
    runs.loc[:1, "trigram_text"] = runs["loss_text"][:2] * 0.9
    found = screen(runs, loss="loss_text")
    assert found.regime is not None and len(found.left_out) == 2
    assert any("change of regime" in note for note in found.cautions)


def test_a_table_of_flops_and_loss_alone_loses_nothing():
    bare = pd.DataFrame({"flops": [1e9, 1e10], "loss": [3.0, 2.0]})
    found = screen(bare)
    assert len(found.kept) == 2 and found.cautions == ()


def test_a_heavy_unembedding_is_a_caution():
    found = screen(full_tables()[0].assign(unembedding_share=0.6))
    assert "above half" in found.cautions[0] and found.left_out.empty
