# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights that are made up, to measure a program without a checkpoint."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

from mk.runtime.gpu.arrays import HostArray, RandomArray
from mk.runtime.gpu.convert import convert

if TYPE_CHECKING:
    from mk.compiler.manifest import Weight

_NOISE = 0.02


def random_array(weight: Weight, name: str, rows: int, seed: int) -> HostArray | RandomArray:
    """`rows` rows of a weight. Matrices keep the size of what they multiply; vectors are near 1, biases near 0."""
    if len(weight["shape"]) == 1:
        noise = np.random.default_rng(mixed(seed, name)).uniform(-_NOISE, _NOISE, rows)
        values = noise.astype(np.float32) + np.float32(not name.endswith("bias"))
        return HostArray(name, values.view(np.uint32), "float32")
    return RandomArray(name, (rows, *weight["shape"][1:]), seed)


def scale(source: RandomArray) -> float:
    """Uniform in [-scale, scale): then K products have the variance of one factor."""
    return math.sqrt(3 / max(source.shape[-1], 1))


def on_host(source: RandomArray) -> HostArray:
    """The same kind of numbers, not the same numbers, for what is not made on the GPU."""
    generator = np.random.default_rng(mixed(source.seed, source.name))
    values = (generator.random(source.shape, np.float32) * 2 - 1) * np.float32(scale(source))
    return HostArray(source.name, convert(values.view(np.uint32), "float32", "bfloat16"), "bfloat16")


def mixed(seed: int, name: str, begin: int = 0) -> int:
    """A number of 63 bits from a seed, a name and a place."""
    digest = hashlib.blake2b(f"{seed} {begin} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
