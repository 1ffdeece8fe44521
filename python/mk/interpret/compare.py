# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks a pass by running the module before and after it on the same random steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mk.interpret.cache import Array, Cache
from mk.interpret.interpreter import Interpreter, argument_names, entry_point
from mk.ir import Attribute, Module

# The three ways a sequence moves on: a chunk of its prompt, one token, nothing.
CHUNKS = ((5, 3, 0, 1), (1, 7, 4, 0), (1, 1, 0, 6), (1, 1, 1, 1))


@dataclass(frozen=True)
class Difference:
    """How far two modules are apart: the largest absolute difference, relative to the largest value, and per token."""

    absolute: float
    relative: float
    tokens: int  # chosen tokens that differ


def compare(
    before: Module,
    after: Module,
    *,
    weights: Mapping[str, Array] | None = None,
    max_sequences: int = 4,
    max_length: int = 64,
    seed: int = 0,
) -> Difference:
    """Runs both on ragged steps (chunks and single tokens, of several slots, out of order) and compares every result.

    Without `weights`, random ones of the shapes that the modules name. The caches are compared as well.
    """
    rng = np.random.default_rng(seed)
    if weights is None:
        weights = random_weights([before, after], rng)
    runs = [Interpreter(module, weights, max_sequences, max_length) for module in (before, after)]
    vocabulary = _vocabulary(before, weights)
    absolute = largest = 0.0
    tokens = 0
    for step in ragged_steps(rng, vocabulary, max_sequences, max_length):
        extra = _extra_arguments(before, len(step[0]), rng)
        first, second = ([*run.call(*step, extra=extra), *_contents(run)] for run in runs)
        if len(first) != len(second):
            raise AssertionError(f"{len(first)} results and caches before, {len(second)} after")
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(
                np.isnan(one), np.isnan(other), "undefined values in one of the two"
            )
            absolute = max(absolute, float(np.nanmax(np.abs(one - other), initial=0)))
            largest = max(largest, float(np.nanmax(np.abs(one), initial=0)))
        if runs[0].next is not None and runs[1].next is not None:
            tokens += int((runs[0].next != runs[1].next).sum())
    return Difference(absolute, absolute / largest if largest else absolute, tokens)


def ragged_steps(
    rng: np.random.Generator, vocabulary: int, max_sequences: int, max_length: int
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """(tokens, positions, slots, rows) of steps in which sequences begin, grow by chunks or tokens, or wait."""
    lengths = [0] * max_sequences
    for chunks in CHUNKS:
        pairs = []
        for slot in rng.permutation(min(max_sequences, len(chunks))):
            chunk = min(chunks[slot], max_length - lengths[slot])
            pairs += [(slot, lengths[slot] + i) for i in range(chunk)]
            lengths[slot] += chunk
        if not pairs:
            continue
        slots, positions = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
        tokens = rng.integers(0, vocabulary, len(pairs), np.int32)
        rows = np.flatnonzero(np.r_[slots[1:] != slots[:-1], True]).astype(
            np.int32
        )  # the last token of each sequence
        yield tokens, positions, slots, rng.permutation(rows)


def random_weights(modules: list[Module], rng: np.random.Generator) -> dict[str, Array]:
    """An array for every weight that the modules name: matrices keep the size of what they multiply."""
    shapes: dict[str, tuple[int, ...]] = {}
    for module in modules:
        for op in module.walk():
            if op.name == "mk.weight":
                shapes.setdefault(
                    op.attributes["source"],
                    _viewed(op.attributes.get("view"), _sizes(op.results[0].type.shape)),
                )
            elif op.name == "mk_task.weight":
                sources, (rows, *rest) = op.attributes["sources"], _sizes(op.attributes["type"].shape)
                views = op.attributes.get("views", [None] * len(sources))
                for i, source in enumerate(
                    sources
                ):  # how the rows are divided is not said; evenly is as good as any
                    part = rows // len(sources) + (rows % len(sources) if i == len(sources) - 1 else 0)
                    shapes.setdefault(source, _viewed(views[i], (part, *rest)))
    return {name: _random(shape, rng) for name, shape in shapes.items()}


def _viewed(view: object, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The tensor's own shape, which a view knows."""
    return tuple(view.fields["shape"]) if isinstance(view, Attribute) else shape


def _random(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (rng.standard_normal(shape) * 1.5 * shape[-1] ** -0.5).astype(np.float32)


def _sizes(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(size or 0 for size in shape)


def _vocabulary(module: Module, weights: Mapping[str, Array]) -> int:
    """Rows of the embedding table; any number will do without one."""
    for op in module.walk():
        if op.name == "mk.embedding":
            return op.operands[0].type.shape[0] or 1
    return 16


def _extra_arguments(module: Module, tokens: int, rng: np.random.Generator) -> dict[int, Array]:
    """Random rows for the arguments that are no request array."""
    entry = entry_point(module)
    if entry.name == "mk_task.program":
        return {}
    extra = {}
    arguments = entry.regions[0].blocks[0].arguments
    for index, (name, argument) in enumerate(zip(argument_names(entry), arguments, strict=True)):
        if name is None:
            shape = tuple(tokens if size is None else size for size in argument.type.shape)
            extra[index] = rng.standard_normal(shape).astype(argument.type.dtype).astype(np.float32)
    return extra


def _contents(run: Interpreter) -> list[Any]:
    caches: list[Cache] = [run.caches[layer] for layer in sorted(run.caches)]
    return [part.astype(np.float32) for cache in caches for part in (cache.keys, cache.values)]
