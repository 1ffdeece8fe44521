# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MLIR's attributes and types as Python values: text that knows its parts, and NumPy arrays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype(np.float16),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
}

_SHAPED = re.compile(r"(?:tensor|!mk\.cache|memref|vector)<((?:(?:\d+|\?)x)*)([^x<>,]+)[,>]")
_FIELD = re.compile(r"(\w+) = (\"(?:[^\"\\]|\\.)*\"|\[[^\]]*\]|@?[-\w.+]+)")


class Symbol(str):
    """The name in a symbol reference, without the `@`."""

    __slots__ = ()


class Type(str):
    """The text of a type, e.g. `tensor<?x64xf32>`; a shaped one knows its shape and its element type."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, None for a run-time size; those of `!mk.cache<2x16xbf16>` are heads and head_dim."""
        return tuple(None if size == "?" else int(size) for size in self._shaped()[1].split("x")[:-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy (or ml_dtypes) type of an element."""
        element = self._shaped()[2]
        if element not in DTYPES:
            raise TypeError(f"NumPy has no element type {element}")
        return DTYPES[element]

    def _shaped(self) -> re.Match[str]:
        found = _SHAPED.match(self)
        if found is None:
            raise TypeError(f"{self} has no shape")
        return found


class Attribute(str):
    """The text of an attribute that has no closer Python value, e.g. `#mk.target<kind = "cpu", ...>`."""

    __slots__ = ()

    @property
    def fields(self) -> dict[str, Any]:
        """Its parameters where it is written as `#name<key = value, ...>`: numbers, text, lists of them."""
        return {key: _value(text) for key, text in _FIELD.findall(self)}


def _value(text: str) -> Any:
    if text.startswith("["):
        return [_value(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    if text.startswith('"'):
        return text[1:-1]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def make_array(data: bytes, element: str, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """The array of a dense attribute; one element stands for all (a splat)."""
    if element not in DTYPES:
        raise TypeError(f"NumPy has no element type {element}")
    flat = np.frombuffer(data, DTYPES[element])
    size = int(np.prod(shape, dtype=np.int64))
    return (flat if flat.size == size else np.repeat(flat, size)).reshape(shape)
