"""State kept between the steps of a generation: keys, values, and what the convolution saw."""

from __future__ import annotations

import torch
from torch import Tensor

from model.architecture.layers import TAPS
from model.architecture.shape import Shape


class KVCache:
    """Room for `rows` sequences of at most `capacity` positions, all of the same length so far.

    Keys and values take the dtype of the first that arrive.
    """

    def __init__(self, shape: Shape, rows: int, capacity: int | None = None) -> None:
        self.capacity = shape.context if capacity is None else capacity
        if not 1 <= self.capacity <= shape.context:
            raise ValueError(f"capacity = {capacity}: must be from 1 to context {shape.context}")
        self.rows = rows
        self.length = 0
        self._kv: list[Tensor | None] = [None] * shape.layers
        self._conv: dict[tuple[int, int], Tensor] = {}

    def check(self, rows: int, length: int) -> None:
        """Raise ValueError where `length` more positions of `rows` rows do not fit."""
        if rows != self.rows:
            raise ValueError(f"{rows} rows in a cache for {self.rows}")
        if self.length + length > self.capacity:
            raise ValueError(
                f"{self.length} + {length} positions: must be at most {self.capacity}, "
                "the cache's capacity"
            )

    def extend(self, layer: int, k_BTJK: Tensor, v_BTJK: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer so far, the new ones included."""
        kv = self._kv[layer]
        if kv is None:
            rows, _, n_kv, dim = k_BTJK.shape
            # heads before positions, so that plain attention reads it without a copy
            kv = k_BTJK.new_empty(2, rows, n_kv, self.capacity, dim)
            self._kv[layer] = kv
        end = self.length + k_BTJK.shape[1]
        kv[0, :, :, self.length : end] = k_BTJK.transpose(1, 2)
        kv[1, :, :, self.length : end] = v_BTJK.transpose(1, 2)
        return kv[0, :, :, :end].transpose(1, 2), kv[1, :, :, :end].transpose(1, 2)

    def before(self, layer: int, branch: int, x_BTD: Tensor) -> Tensor:
        """The positions before x for the convolution; x is remembered for the next step."""
        seen = self._conv.get((layer, branch))
        if seen is None:
            seen = x_BTD.new_zeros(x_BTD.shape[0], TAPS, x_BTD.shape[2])
        self._conv[layer, branch] = torch.cat([seen, x_BTD[:, -TAPS:]], 1)[:, -TAPS:]
        return seen

    def advance(self, length: int) -> None:
        """Count `length` more positions, once all layers have seen them."""
        self.length += length
