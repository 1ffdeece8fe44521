# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a program of a user's module takes and returns; plain data, kept in its package."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Port:
    """One input or result. A dimension is the product of its parts, outermost first: "batch", "length" or a number."""

    name: str
    dims: tuple[tuple[str | int, ...], ...]
    dtype: str  # as torch names it


@dataclass(frozen=True)
class Dim:
    """The sizes that a leading dimension may have, both included."""

    low: int
    high: int


@dataclass(frozen=True)
class Signature:
    """`structure`: "tensor", "tuple", "list", or the keys of a dict. `attends`: rows of one batch entry see each other,
    all of them if `whole`, else those before. `together`: how many rows a call may have if what is done with a row
    depends on all of them, 0 if it does not. `buffers`: what the program was compiled with, by name, as `digest` says
    it."""

    inputs: tuple[Port, ...]
    results: tuple[Port, ...]
    structure: Any
    dims: Mapping[str, Dim]
    attends: bool
    whole: bool
    together: int = 0
    buffers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Signature:
        """From what `dataclasses.asdict` and a package made of it."""
        inputs, results = (
            tuple(Port(p["name"], tuple(map(tuple, p["dims"])), p["dtype"]) for p in plain[name])
            for name in ("inputs", "results")
        )
        dims = {name: Dim(**dim) for name, dim in plain["dims"].items()}
        same = (plain[name] for name in ("attends", "whole", "together", "buffers"))
        return cls(inputs, results, plain["structure"], dims, *same)


def digest(values: np.ndarray[Any, Any]) -> str:
    """Of numbers of any dtype, by their values and shape."""
    wide = np.ascontiguousarray(values, dtype=np.float64)
    return hashlib.sha256(repr(wide.shape).encode() + wide.tobytes()).hexdigest()[:16]
