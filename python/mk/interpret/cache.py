# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The value of a `!mk.cache`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Cache:
    """Keys and values [slots, positions, heads, head_dim] of one layer, in the cache's element type.

    A value like any other: `append` leaves it as it is, so a reader of the cache before an append sees the old one.
    """

    layer: int
    keys: Array
    values: Array

    @classmethod
    def empty(
        cls, layer: int, slots: int, positions: int, heads: int, head_dim: int, dtype: np.dtype[Any]
    ) -> Cache:
        """NaN everywhere: a read of a position that was never written shows in the result."""
        shape = (slots, positions, heads, head_dim)
        return cls(layer, np.full(shape, np.nan, dtype), np.full(shape, np.nan, dtype))

    def append(self, keys: Array, values: Array, positions: Array, slots: Array) -> Cache:
        """The cache with row n of `keys` and `values`, rounded, at slot `slots[n]` and position `positions[n]`."""
        grown = Cache(self.layer, self.keys.copy(), self.values.copy())
        heads = self.keys.shape[2:]
        grown.keys[slots, positions] = keys.reshape(-1, *heads).astype(self.keys.dtype)
        grown.values[slots, positions] = values.reshape(-1, *heads).astype(self.values.dtype)
        return grown

    def upto(self, slot: int, position: int) -> tuple[Array, Array]:
        """Keys and values of a slot at positions 0 .. position, float32 [positions, heads, head_dim]."""
        return (
            self.keys[slot, : position + 1].astype(np.float32),
            self.values[slot, : position + 1].astype(np.float32),
        )
