# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which page of the KV pool belongs to which slot."""

from __future__ import annotations

from typing import Any

import numpy as np

from mk.errors import InputError


class PageTable:
    """Hands pages out on demand. `table` (int32 [slots, pages of a slot]) is what the workers read.

    An entry without a page holds 0, a valid page: the workers may compute an address from it but never use it.
    """

    def __init__(self, table: np.ndarray[Any, np.dtype[np.int32]], pool_pages: int, page: int) -> None:
        self.table = table
        self.page = page  # positions
        self._free = list(range(pool_pages - 1, -1, -1))
        self._owned = [0] * len(table)

    def grow(self, slot: int, length: int) -> None:
        """Makes sure that positions [0, length) of a slot have pages. Raises InputError if the pool is empty."""
        wanted = -(-length // self.page)
        missing = wanted - self._owned[slot]
        if missing > len(self._free):
            raise InputError(
                f"the KV pool has {len(self._free)} free pages of {self.page} positions, but slot {slot} "
                f"needs {missing} more; reset a slot, or give the engine more pool_pages"
            )
        for index in range(self._owned[slot], wanted):
            self.table[slot, index] = self._free.pop()
            self._owned[slot] = index + 1

    def release(self, slot: int) -> None:
        """Gives all pages of a slot back."""
        for index in range(self._owned[slot]):
            self._free.append(int(self.table[slot, index]))
        self.table[slot] = 0
        self._owned[slot] = 0

    @property
    def free_pages(self) -> int:
        """Pages that no slot owns."""
        return len(self._free)
