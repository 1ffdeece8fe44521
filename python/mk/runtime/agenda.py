# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""In which steps the rows of a call are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class Agenda:
    """Of `total` rows: the steps in their order. `counts`, int32 [steps]: how many rows each step has; `rows`,
    `positions` and `slots`, int32 [steps, most]: which these are, and where they stand in their sequences."""

    total: int
    counts: Ints
    rows: Ints
    positions: Ints
    slots: Ints

    def __len__(self) -> int:
        return len(self.counts)


def agenda(count: int, length: int, most: int, sequences: int | None, passes: int = 1) -> Agenda:
    """`count` rows, entries of `length` one after the other, in steps of at most `most`.

    `sequences`: how many entries may be under way at a time, if rows of one entry see each other; None if no row sees
    another. An entry that does not fit a step takes several, rows that come first first. Then each group of entries is
    gone through `passes` times: see `passes_of`.
    """
    cuts: list[tuple[int, int, int]] = []  # rows of a step, and where its first entry begins
    if sequences is None:
        cuts += [(begin, min(begin + most, count), 0) for begin in range(0, count, most)]
    else:
        together = length * (sequences if length > most else min(most // length, sequences))
        for first in range(0, count, max(together, 1)):
            last = min(first + together, count)
            for _ in range(passes if length > most else 1):
                cuts += [(begin, min(begin + most, last), first) for begin in range(first, last, most)]
    begins, ends, firsts = (np.array([cut[i] for cut in cuts], np.int32)[:, None] for i in range(3))
    # Places behind the last row of a step repeat it; nobody looks at them.
    rows = np.minimum(begins + np.arange(most, dtype=np.int32), ends - 1)
    positions = (rows - firsts) % max(length, 1)
    slots = np.zeros_like(rows) if sequences is None else (rows - firsts) // max(length, 1)
    return Agenda(count, (ends - begins)[:, 0], rows, positions, slots)


def passes_of(whole: bool, layers: int) -> int:
    """How often an entry of several steps must be gone through.

    Rows that see all of their entry need keys and values that later steps make. In the first pass those of the first
    attention come to be right, which depend on nothing else; in each further one those of the next; and in the last
    one everything that follows. Each pass makes all rows anew from the inputs, so what a pass before left wrong is in
    no result.
    """
    return layers + 1 if whole else 1
