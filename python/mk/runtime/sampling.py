# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How the next token of a request is drawn (`mk.sample` has the exact rules)."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

from mk.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """The rules of one request. `temperature` 0 takes the likeliest token and ignores the rest; so does one below 1e-6,
    which could draw no other and whose inverse float32 may not hold.

    * `top_k`: keep the k likeliest tokens (0: all); `top_p`: keep the smallest set that reaches this probability
      (1: all); `min_p`: keep what has at least this share of the likeliest token's probability (0: all);
    * `seed`: the same seed and prompt draw the same tokens on every run.

    Raises InputError if a value is outside its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _number("temperature", self.temperature, lambda x: 0 <= x <= 1e6, "from 0 to 1e6")
        if self.temperature < 1e-6:
            object.__setattr__(self, "temperature", 0.0)
        _integer("top_k", self.top_k, 0, 2**31 - 1)
        _number("top_p", self.top_p, lambda x: 0 < x <= 1, "in (0, 1]")
        _number("min_p", self.min_p, lambda x: 0 <= x <= 1, "in [0, 1]")
        _integer("seed", self.seed, -(2**31), 2**31 - 1)


def _number(name: str, value: Any, valid: Any, expected: str) -> None:
    if (
        isinstance(value, bool) or not isinstance(value, numbers.Real) or not valid(float(value))
    ):  # false for NaN
        raise InputError(f"{name} must be a number {expected}, not {value!r}")


def _integer(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= high:
        raise InputError(f"{name} must be an integer in [{low}, {high}], not {value!r}")
