# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the operations of one step may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mk import view
from mk.errors import WeightError
from mk.interpret.cache import Array, Cache
from mk.interpret.sampling import Sampling
from mk.ir import Type
from mk.ir.attributes import Attribute


@dataclass
class Step:
    """One step's request, the weights, the caches as the step finds them, and what the step leaves behind."""

    tokens: Array
    positions: Array
    slots: Array
    rows: Array
    sampling: Sequence[Sampling]
    weights: WeightStore
    caches: CacheStore
    inputs: Mapping[str, Array] = field(
        default_factory=dict
    )  # of a function that has some: a row for each token
    logits: Array | None = None  # as `mk.sample` saw them
    next: Array | None = None  # as `mk.advance` saw it
    results: list[Array] = field(default_factory=list)  # as `mk.finish` saw them

    def request(self, name: str) -> Array:
        """An array of the request by the name it has in the request block."""
        if name in ("tokens", "positions", "slots", "rows"):
            array: Array = getattr(self, name)
            return array
        if name in self.inputs:
            return self.inputs[name]
        raise KeyError(f"the step has no request array {name}")


class WeightStore:
    """Weights by name, rounded to the storage type that the module asks for."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self._stored: dict[tuple[tuple[str, ...], tuple[str, ...], str], Array] = {}

    def get(self, names: Sequence[str], type: Type, views: Sequence[Any] = ()) -> Array:
        """The rows of all `names`, one below the other, as `type`; `views`: the `#mk.view` of each, if it has one.

        Raises WeightError if they have another shape.
        """
        key = (tuple(names), tuple(map(str, views)), str(type))
        if key not in self._stored:
            missing = [name for name in names if name not in self._arrays]
            if missing:
                raise WeightError(f"no weight named {', '.join(missing)}")
            parts = [np.asarray(self._arrays[name]) for name in names]
            for i, seen in enumerate(views):
                if isinstance(seen, Attribute):
                    parts[i] = view.apply(view.make_view(seen.fields), names[i], parts[i].astype(np.float32))
            array = np.concatenate(parts) if len(parts) > 1 else parts[0]
            if array.shape != type.shape:
                raise WeightError(f"weight {', '.join(names)} has shape {list(array.shape)}, expected {type}")
            self._stored[key] = array.astype(np.float32).astype(type.dtype)
        return self._stored[key]


@dataclass
class CacheStore:
    """The cache of each layer between steps."""

    slots: int
    positions: int
    layers: dict[int, Cache] = field(default_factory=dict)

    def get(self, layer: int, type: Type) -> Cache:
        """The layer's cache; empty before the first step."""
        if layer not in self.layers:
            heads, head_dim = type.shape
            assert heads is not None and head_dim is not None, f"{type} has no sizes"
            self.layers[layer] = Cache.empty(layer, self.slots, self.positions, heads, head_dim, type.dtype)
        return self.layers[layer]


def as_indices(values: Any) -> Array:
    """Integers as the `tensor<?xi32>` of a step."""
    return np.asarray(values, np.int32).reshape(-1)
