"""The sections on the runs and on the laws behind the prediction, as blocks of the page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from fits.observations import names_in_words
from reports.content import Content
from reports.inputs import texts
from reports.numbers import significant
from reports.page_blocks import SMALL, Block, beside, table_block, text_block

NARROW = 12  # columns beyond which a table is set smaller
TOGETHER = 8  # columns up to which setup and result of a run stand in one table
SAYS_NOTHING = {"role": "ladder", "status": "finished"}  # where it is the same in every run
CONSTANTS = ("irreducible", "a", "b", "alpha", "beta")  # first, in this order
CONVENTIONS = {
    "flops": "FLOPs of the table of runs",
    "flops_6nd": "6 · n active · tokens",
    "without_unembedding": "6 · n · tokens without the unembedding",
    "n_total": "6 · n total · tokens",
}


def run_blocks(content: Content) -> list[Block]:
    """What was trained and what came out, and what the fits left out."""
    setup = _telling(content.tables["runs_setup"])
    result = _telling(content.tables["runs_result"])
    both = pd.concat([setup, result[[c for c in result if c not in setup]]], axis=1)
    blocks: list[Block] = []
    if len(both.columns) <= TOGETHER:
        blocks += _runs(both, "The runs in order of compute; losses in nats per token.")
    else:
        if len(setup.columns) > 3:
            blocks += _runs(setup, "What was trained, in order of compute.")
        caption = "What came out: losses in nats per token on the held-out windows."
        blocks += _runs(result, caption)
    left = content.tables["left_out"]
    if not left.empty:
        shown = _left_out(left)
        blocks.append(table_block(shown, size=SMALL, caption="Left out of the fit, and why."))
    elif blocks:
        blocks.append(text_block("The fits left out no finished run."))
    return blocks


def _telling(table: pd.DataFrame) -> pd.DataFrame:
    """The table without columns that say the expected of every run."""
    silent = [c for c, word in SAYS_NOTHING.items() if c in table and set(table[c]) == {word}]
    return table.drop(columns=silent)


def _runs(table: pd.DataFrame, caption: str) -> list[Block]:
    if table.empty or len(table.columns) < 2:
        return []
    size = SMALL if len(table.columns) <= NARROW else 7.0
    fill = len(table.columns) > 6
    return beside(table_block(table, size=size, caption=caption, fill=fill))


def _left_out(table: pd.DataFrame) -> pd.DataFrame:
    """One row a reason: prediction (where there are several), reason, runs, which."""
    groups = table.groupby(["prediction", "reason"], sort=False)["name"]
    rows = [(*key, len(names), names_in_words(names)) for key, names in groups]
    found = pd.DataFrame(rows, columns=["prediction", "reason", "runs", "which"])
    return found if found["prediction"].nunique() > 1 else found.drop(columns="prediction")


def law_blocks(content: Content) -> list[Block]:
    """The laws with their weights and constants, and what another counting would change."""
    blocks: list[Block] = []
    laws = content.tables["laws"]
    if not laws.empty:
        caption = "The laws behind each prediction, their weights and constants."
        blocks.append(table_block(laws_in_words(laws), size=SMALL, caption=caption))
    ways = content.tables["conventions"]
    if set(ways["convention"]) - {"flops"}:
        caption = (
            "Sensitivity to counting: the loss predicted for the target when compute or "
            "parameters are counted another way, and the change against the prediction."
        )
        words = [CONVENTIONS.get(way, way) for way in ways["convention"]]
        blocks.append(table_block(ways.assign(convention=words), caption=caption))
    return blocks


def laws_in_words(laws: pd.DataFrame) -> pd.DataFrame:
    """One row a law; a prediction and a quantity are named once, and not where there is one."""
    shown = laws.assign(constants=[_constants(constants) for constants in laws["constants"]])
    keys = ["prediction", "quantity"]
    again = laws.duplicated(subset=keys)
    alone = [key for key in keys if laws[key].nunique() == 1]
    for key in keys:
        shown[key] = [
            "" if twice else text for twice, text in zip(again, texts(laws, key), strict=True)
        ]
    return shown.drop(columns=alone)


def _constants(constants: Mapping[str, object]) -> str:
    names = [*(name for name in CONSTANTS if name in constants)]
    names += [name for name in constants if name not in names]
    return ", ".join(
        f"{name.replace('_', ' ')} {significant(constants[name], 4)}" for name in names
    )
