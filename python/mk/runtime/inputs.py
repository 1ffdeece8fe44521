# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks what a caller hands to an engine, before anything of it reaches the workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mk.errors import InputError

Ints = np.ndarray[Any, np.dtype[np.int32]]


def integers(name: str, value: Any, limit: int, what: str) -> Ints:
    """`value` as int32 [n], each in [0, limit). Takes sequences, numpy arrays and anything with DLPack.

    Raises InputError naming the first bad element; `what` says what the limit is.
    """
    try:
        array = np.from_dlpack(value) if _is_foreign(value) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise InputError(f"{name}: cannot be read as an array of integers ({error})") from error
    if array.ndim != 1:
        raise InputError(f"{name} must have one dimension, not the shape {list(array.shape)}")
    if array.size == 0:
        return np.zeros(0, np.int32)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} must be integers, not {array.dtype}")
    bad = np.flatnonzero((array < 0) | (array >= limit))
    if bad.size:
        raise InputError(f"{name}[{bad[0]}] is {array[bad[0]]}, expected 0 .. {limit - 1} ({what})")
    return np.ascontiguousarray(array, np.int32)


def same_length(**arrays: Ints) -> None:
    """Raises InputError unless all arrays are equally long."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            "expected one entry for each token, found "
            + ", ".join(f"{count} {name}" for name, count in lengths.items())
        )


def new_lengths(positions: Ints, slots: Ints, lengths: list[int]) -> dict[int, int]:
    """The length of each slot after these tokens are in its cache.

    Raises InputError if a (slot, position) comes twice, or if a slot would have a position without a token below its
    last one: attention would read what nobody wrote.
    """
    after = {}
    for slot in np.unique(slots).tolist():
        mine = np.sort(positions[slots == slot])
        twice = np.flatnonzero(mine[1:] == mine[:-1])
        if twice.size:
            raise InputError(f"position {mine[twice[0]]} of slot {slot} comes twice")
        if mine[0] > lengths[slot]:
            raise InputError(
                f"position {mine[0]} of slot {slot} has no token before it: the slot holds "
                f"{lengths[slot]} tokens"
            )
        gap = np.flatnonzero(mine[1:] > np.maximum(mine[:-1] + 1, lengths[slot]))
        if gap.size:
            raise InputError(
                f"position {mine[gap[0] + 1]} of slot {slot} has no token before it: the step goes from "
                f"{mine[gap[0]]} to {mine[gap[0] + 1]}"
            )
        after[slot] = int(mine[-1]) + 1
    return after


def positive(name: str, value: Any) -> int:
    """Raises InputError unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be an integer of at least 1, not {value!r}")
    return int(value)


def stop_tokens(value: Iterable[int], vocabulary: int, most: int) -> list[int]:
    """Distinct stop tokens. Raises InputError if there are more than the program has room for."""
    if not isinstance(value, Iterable):
        raise InputError(f"stop_ids must be a sequence of token ids, not {value!r}")
    stops = sorted(set(integers("stop_ids", list(value), vocabulary, "the vocabulary").tolist()))
    if len(stops) > most:
        raise InputError(f"{len(stops)} stop_ids, but the program has room for {most}")
    return stops


def _is_foreign(value: Any) -> bool:
    return hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray)
