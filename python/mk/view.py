# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A tensor of the checkpoint as a weight shows it: `#mk.view` of the compiler, applied to an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np

from mk.errors import WeightError


class View(TypedDict):
    """`#mk.view`. `sizes` and `strides` are empty for all rows as they are."""

    shape: list[int]
    transposed: bool
    offset: int
    sizes: list[int]
    strides: list[int]
    plus: float
    flat: NotRequired[bool]  # the tensor, of any rank, as one vector


def make_view(fields: dict[str, Any]) -> View:
    """From the fields of the attribute, of which it leaves out those that say nothing."""

    def integers(name: str) -> list[int]:
        return [int(size) for size in fields.get(name, ())]

    return View(
        shape=integers("shape"),
        transposed=fields.get("transposed") == "true",
        offset=int(fields.get("offset", 0)),
        sizes=integers("sizes"),
        strides=integers("strides"),
        plus=float(fields.get("plus", 0.0)),
        flat=fields.get("flat") == "true",
    )


def row_numbers(view: View) -> np.ndarray[Any, Any]:
    """int64: for each row seen the row of the tensor, or of its transpose."""
    rows = np.array([view["offset"]])
    for size, stride in zip(view["sizes"], view["strides"], strict=True):
        rows = (rows[:, None] + np.arange(size) * stride).reshape(-1)
    return rows if view["sizes"] else np.arange(view["shape"][1 if view["transposed"] else 0])


def check_viewed(view: View, name: str, shape: Sequence[int]) -> None:
    """Raises WeightError unless the tensor has the shape that the view is of."""
    # NumPy makes a vector of one number where it puts a number into memory.
    is_number = view.get("flat") and not view["shape"] and list(shape) == [1]
    if list(shape) != view["shape"] and not is_number:
        raise WeightError(
            f"{name} is {list(shape)}, the program expects {view['shape']}; is this another model's checkpoint?"
        )


def arrange(view: View, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rows seen, in C order, as they are: without what the view adds."""
    if view.get("flat"):
        return np.ascontiguousarray(array).reshape(-1)
    array = array.T if view["transposed"] else array
    return np.ascontiguousarray(array[row_numbers(view)] if view["sizes"] else array)


def apply(view: View, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """All that the view says; a sum is float32. Raises WeightError if the array has another shape than the tensor."""
    check_viewed(view, name, array.shape)
    seen = arrange(view, array)
    return seen.astype(np.float32) + np.float32(view["plus"]) if view["plus"] else seen
