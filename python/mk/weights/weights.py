# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A read-only mapping of names to lazily loaded arrays, with a check against what a program expects."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mk.errors import WeightError

SHOWN = 4  # problems listed in a message; the rest is counted
DTYPES = ("float32", "float16", "bfloat16", "float64")  # what a weight may be stored as


@dataclass(frozen=True)
class Entry:
    """One weight: shape, dtype as numpy or ml_dtypes names it, and how to read it."""

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray[Any, Any]]


class Weights(Mapping[str, "np.ndarray[Any, Any]"]):
    """`weights[name]` reads one array; nothing is kept, so ask once. `source` says in messages where they are from."""

    def __init__(self, source: str, entries: Mapping[str, Entry]) -> None:
        self.source = source
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return self._entry(name).load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries  # the inherited test would read the array

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape, without reading the values."""
        return self._entry(name).shape

    def dtype(self, name: str) -> str:
        """The dtype's numpy or ml_dtypes name, without reading the values."""
        return self._entry(name).dtype

    def renamed(self, names: Mapping[str, Sequence[str]]) -> Weights:
        """Only the weights that `names` lists, as new name -> names here of one tied parameter, read by `one_of`;
        what has none of its names here is left out.
        """
        entries = {}
        for new, old in names.items():
            if here := [name for name in old if name in self._entries]:
                entries[new] = replace(self._entries[here[0]], load=functools.partial(self.one_of, here))
        return Weights(self.source, entries)

    def with_parts(self, parts: Mapping[str, Sequence[str]], shapes: Mapping[str, Sequence[int]]) -> Weights:
        """These, and each name of `parts` that is not here but made of weights that are: their rows one below the
        other, in the shape that `shapes` has for the name if they fill it. The parts themselves are then left out.
        """
        entries = dict(self._entries)
        for name, found in parts.items():
            if name in self._entries or not all(part in self._entries for part in found):
                continue
            first = self._entries[found[0]]
            rows = (sum(self._entries[part].shape[0] for part in found), *first.shape[1:])
            wanted = tuple(shapes.get(name, rows))
            shape = wanted if math.prod(wanted) == math.prod(rows) and wanted[-1] == rows[-1] else rows
            entries[name] = Entry(shape, first.dtype, functools.partial(self._joined, list(found), shape))
            for part in found:
                entries.pop(part, None)
        return Weights(self.source, entries)

    def _joined(self, parts: list[str], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        arrays = [self[part] for part in parts]
        return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)).reshape(shape)

    def one_of(self, names: Sequence[str]) -> np.ndarray[Any, Any]:
        """The array of a parameter that may have any of `names`.

        Raises WeightError if it has none, or if it has several with values that differ: such a model is not tied,
        although its config says so.
        """
        here = [name for name in names if name in self._entries] or [names[0]]
        value = self[here[0]]
        for name in here[1:]:
            if not _same(value, self[name]):
                raise WeightError(
                    f"{self.source}: {here[0]} and {name} differ, but the model ties them; "
                    "set tie_word_embeddings to false in config.json, or remove the one that is wrong"
                )
        return value

    def check(self, expected: Mapping[str, Sequence[int]], *, allow_extra: bool = False) -> None:
        """Raises WeightError unless there is a floating-point weight of the expected shape for every name.

        A weight that is not expected is an error too, unless `allow_extra`.
        """
        missing = [name for name in expected if name not in self._entries]
        if missing:
            raise WeightError(f"{self.source}: {_list('weight', missing)} missing; {self._hint()}")
        extra = [name for name in self._entries if name not in expected]
        if extra and not allow_extra:
            raise WeightError(
                f"{self.source}: {_list('weight', extra)} not part of the model; "
                "is this another model's checkpoint?"
            )
        shapes = [
            f"{name} is {list(self.shape(name))}, expected {list(shape)}"
            for name, shape in expected.items()
            if self.shape(name) != tuple(shape)
        ]
        if shapes:
            raise WeightError(f"{self.source}: wrong shape: {_shorten(shapes)}")
        dtypes = [f"{name} is {self.dtype(name)}" for name in expected if self.dtype(name) not in DTYPES]
        if dtypes:
            raise WeightError(
                f"{self.source}: wrong dtype: {_shorten(dtypes)}; expected one of {', '.join(DTYPES)}"
            )

    def _entry(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise WeightError(f"{self.source}: no weight named {name}; {self._hint()}") from None

    def _hint(self) -> str:
        return f"it has {len(self._entries)} weights: {_shorten(list(self._entries))}"


def from_arrays(arrays: Mapping[str, Any]) -> Weights:
    """Weights that are in memory already; values are numpy arrays, torch tensors, or anything else that `numpy.asarray`
    takes without a copy."""
    entries = {}
    for name, array in arrays.items():
        value = np.asarray(array.detach() if hasattr(array, "detach") else array)
        entries[str(name)] = Entry(value.shape, value.dtype.name, functools.partial(np.asarray, value))
    return Weights("the given arrays", entries)


def _same(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    if left.shape != right.shape:
        return False
    if left.dtype == right.dtype and left.ctypes.data == right.ctypes.data:
        return True
    rows = 4096  # at a time, for a vocabulary may be large
    return all(
        np.array_equal(left[i : i + rows], right[i : i + rows]) for i in range(0, len(left) or 1, rows)
    )


def _list(what: str, names: list[str]) -> str:
    return (
        f"{what} {_shorten(names)} is" if len(names) == 1 else f"{len(names)} {what}s ({_shorten(names)}) are"
    )


def _shorten(items: list[str]) -> str:
    more = f", and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more
