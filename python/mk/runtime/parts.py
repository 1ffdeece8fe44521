# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Cuts a step of any size into steps that a program can take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mk.runtime.inputs import Ints


def parts(positions: Ints, rows: Ints, max_tokens: int, max_rows: int) -> Iterator[tuple[Any, Ints, Any]]:
    """Cuts a step into steps that fit: (tokens of the part, its rows within it, places of those rows in the result).

    `rows` is sorted and without repeats. Lower positions go first, so that a token finds what it attends to.
    """
    count = len(positions)
    if 0 < count <= max_tokens and len(rows) <= max_rows:
        yield slice(None), rows, slice(None)
        return
    order = np.argsort(positions, kind="stable")
    place = np.full(count, -1, np.int64)
    place[rows] = np.arange(len(rows))
    place = place[order]  # of each token's row in the result
    before = np.concatenate([[0], np.cumsum(place >= 0)])  # rows of the tokens before
    begin = 0
    while begin < count:
        end = min(
            begin + max_tokens, int(np.searchsorted(before, before[begin] + max_rows, side="right")) - 1
        )
        inside = place[begin:end]
        yield order[begin:end], np.flatnonzero(inside >= 0).astype(np.int32), inside[inside >= 0]
        begin = end
