# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Numbers as bits: conversion with rounding to the nearest even, so that no package with a bfloat16 is needed."""

from __future__ import annotations

from typing import Any

import numpy as np

Bits = np.ndarray[Any, Any]

BITS: dict[str, Any] = {"float32": np.uint32, "bfloat16": np.uint16, "float16": np.uint16}
CODES = {"float32": 0, "bfloat16": 1, "float16": 2}  # the `type` of mk_pack
_MAGNITUDE = {"float32": 0x7FFFFFFF, "bfloat16": 0x7FFF, "float16": 0x7FFF}
_INFINITY = {"float32": 0x7F800000, "bfloat16": 0x7F80, "float16": 0x7C00}
GROUP = 32  # columns that the layout `fragments` permutes among themselves


def size_of(dtype: str) -> int:
    """Bytes of an element."""
    return int(np.dtype(BITS[dtype]).itemsize)


def convert(bits: Bits, source: str, target: str) -> Bits:
    """The same numbers in the type `target`, "float32" or "bfloat16"."""
    if source == target:
        return bits
    if source == "float16":
        wide = bits.view(np.float16).astype(np.float32).view(np.uint32)
    elif source == "bfloat16":
        wide = bits.astype(np.uint32) << np.uint32(16)
    else:
        wide = bits
    if target == "float32":
        return wide
    half = np.uint32(0x7FFF) + ((wide >> np.uint32(16)) & np.uint32(1))
    return ((wide + half) >> np.uint32(16)).astype(np.uint16)


def all_finite(bits: Bits, dtype: str) -> bool:
    """Whether there is no infinity and no NaN among the numbers."""
    return not bits.size or int((bits & BITS[dtype](_MAGNITUDE[dtype])).max()) < _INFINITY[dtype]


def fragments(bits: Bits) -> Bits:
    """[..., K] as products read it: column c = 2 p + e of 32 lies at (p % 4) * 8 + (p // 4) * 2 + e.

    The last dimension becomes a multiple of 32, filled up with zeros.
    """
    columns = bits.shape[-1]
    padded = np.zeros((*bits.shape[:-1], -(-columns // GROUP) * GROUP), bits.dtype)
    padded[..., :columns] = bits
    groups = padded.reshape(*bits.shape[:-1], -1, 4, 4, 2)  # [group][p // 4][p % 4][e]
    return np.ascontiguousarray(groups.swapaxes(-3, -2)).reshape(padded.shape)
