"""One thread: these sizes gain nothing from more, and two on a busy machine collapse."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)
