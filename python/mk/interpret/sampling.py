# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How `mk.sample` draws a token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mk.interpret.cache import Array


@dataclass(frozen=True)
class Sampling:
    """The rules of one row's request; the defaults are greedy. `top_k` 0, `top_p` 1 and `min_p` 0 keep all."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0


def uniform(seed: int, position: int, columns: Array) -> Array:
    """A number in (0, 1) for each column: a hash of (seed, position, column), float32.

    Each word is mixed in with lowbias32 (public domain, Chris Wellons); the upper 23 bits, plus one half, become the
    fraction, so 0 and 1 are never met.
    """
    state = np.zeros(columns.shape, np.uint32)
    for word in (seed, position, columns):
        state = _mix(state ^ np.asarray(word).astype(np.uint32))
    return ((state >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)


def _mix(x: Array) -> Array:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def draw(logits: Array, greedy: int, position: int, rules: Sampling) -> int:
    """The next token of one row of logits."""
    if rules.temperature == 0:
        return greedy
    scaled = logits / np.float32(rules.temperature)
    kept = np.ones(scaled.shape, bool)
    if 0 < rules.top_k < scaled.size:
        kept &= scaled >= np.partition(scaled, -rules.top_k)[-rules.top_k]
    weights = np.where(kept, np.exp(scaled - scaled.max()), np.float32(0))
    probabilities = weights / weights.sum()
    if rules.top_p < 1:
        kept &= probabilities >= _border(probabilities, rules.top_p)
    if rules.min_p > 0:
        kept &= probabilities >= np.float32(rules.min_p) * probabilities.max()
    noise = -np.log(-np.log(uniform(rules.seed, position, np.arange(scaled.size))))
    return int(np.argmax(np.where(kept, scaled + noise, -np.inf)))


def _border(probabilities: Array, top_p: float) -> float:
    """The smallest probability of the smallest set that reaches `top_p`."""
    descending = np.sort(probabilities)[::-1]
    last = int(np.searchsorted(np.cumsum(descending), top_p))
    return float(descending[min(last, descending.size - 1)])
