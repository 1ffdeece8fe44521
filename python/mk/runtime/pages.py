# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which page of the KV pool belongs to which slot."""

from __future__ import annotations

from collections.abc import Mapping
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

    def grow(self, lengths: Mapping[int, int]) -> None:
        """Makes sure that positions [0, length) of each slot have pages.

        Raises InputError if the pool has too few for all of them; then nothing has changed.
        """
        missing = {slot: -(-length // self.page) - self._owned[slot] for slot, length in lengths.items()}
        self._check({slot: count for slot, count in missing.items() if count > 0}, len(self._free))
        for slot, count in missing.items():
            for _ in range(count):
                self.table[slot, self._owned[slot]] = self._free.pop()
                self._owned[slot] += 1

    def replace(self, slot: int, length: int) -> None:
        """Empties a slot and gives it pages for positions [0, length). Raises InputError like `grow`."""
        self._check({slot: -(-length // self.page)}, len(self._free) + self._owned[slot])
        self.release(slot)
        self.grow({slot: length})

    def _check(self, missing: Mapping[int, int], free: int) -> None:
        if sum(missing.values()) > free:
            needs = ", ".join(f"slot {slot} needs {count} more" for slot, count in missing.items())
            raise InputError(
                f"the KV pool has {free} free pages of {self.page} positions, but {needs}; reset a slot, or "
                "give the engine more pool_pages"
            )

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
