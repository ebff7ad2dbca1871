"""Small real ladders: held-out losses at 8.5e10 to 1.28e13 FLOPs, eight recipes and parts of them.

Measured on two CPU cores, one seed each, 1,000-token vocabulary, English documentation and Python.
The forecaster's prior was set on their rungs up to 1.5e12 and on published records. The rows share
data and some share recipe, so the counts below are not independent trials.
"""

import numpy as np
import pandas as pd
import pytest

from fits.forecast import forecast

FLOPS = np.array([0.85, 2.2, 5.1, 15, 36, 128]) * 1e11
LADDERS = {
    "moe": [4.133, 3.859, 3.655, 3.454, 3.246, 2.917],
    "dense": [4.141, 3.894, 3.699, 3.482, 3.319, 3.008],
    "gain": [4.188, 3.909, 3.683, 3.425, 3.123, 2.781],
    "conv": [4.159, 3.868, 3.498, 3.152, 2.931, 2.624],
    "conv, 32 tokens": [4.113, 3.738, 3.470, 3.150, 2.949, 2.737],
    "dense, 32 tokens": [4.089, 3.833, 3.620, 3.347, 3.107, 2.842],
}


@pytest.mark.parametrize(("rungs", "least"), [(3, 6), (4, 4)])
def test_most_actual_losses_lie_in_the_90_percent_interval(rungs, least):
    hits, widths = 0, []
    for name, losses in LADDERS.items():
        runs = pd.DataFrame({"flops": FLOPS[:rungs], "loss": losses[:rungs]})
        row = forecast(runs, pd.DataFrame({"flops": FLOPS[-1:]})).table.iloc[0]
        hit = row["lo90"] <= losses[-1] <= row["hi90"]
        print(f"{name}: {row['median'] / losses[-1] - 1:+.1%} {'in' if hit else 'OUT'}")
        hits += bool(hit)
        widths.append((row["hi90"] - row["lo90"]) / 2 / row["median"])
    assert hits >= least
    assert np.median(widths) < 0.12 and max(widths) < 0.2
