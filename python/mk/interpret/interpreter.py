# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a module step by step, at the `mk` level or as a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mk.errors import InputError, MkError
from mk.interpret.cache import Array, Cache
from mk.interpret.ops import run_block
from mk.interpret.program import run_program
from mk.interpret.sampling import Sampling
from mk.interpret.step import CacheStore, Step, WeightStore, as_indices
from mk.ir import Module, Operation

REQUEST = ("tokens", "positions", "slots", "rows")


class Interpreter:
    """One module with its weights and a KV cache of its own.

    `weights` maps the names that the module's weights have to arrays of any floating-point type; values of buffers
    (rope frequencies) are among them. `next` holds the tokens that the last step chose, None if the module ends with
    logits.
    """

    def __init__(
        self, module: Module, weights: Mapping[str, Array], max_sequences: int = 8, max_length: int = 256
    ) -> None:
        self.next: Array | None = None
        self._module = module
        self._weights = WeightStore(weights)
        self._caches = CacheStore(max_sequences, max_length)

    @property
    def caches(self) -> dict[int, Cache]:
        """The cache of each layer after the last step."""
        return self._caches.layers

    def step(
        self,
        tokens: Any,
        positions: Any,
        slots: Any,
        rows: Any = None,
        sampling: Sequence[Sampling] | None = None,
    ) -> Array:
        """One pass through the model; the logits [R, vocabulary] of the `rows`, of every token if None.

        Raises InputError where the request breaks what the operations require.
        """
        results = self.call(tokens, positions, slots, rows, sampling)
        if not results:
            raise MkError("the module has no logits: neither a result nor a mk.sample")
        logits: Array = results[0]
        return logits

    def call(
        self,
        tokens: Any,
        positions: Any,
        slots: Any,
        rows: Any = None,
        sampling: Sequence[Sampling] | None = None,
        extra: Mapping[int, Array] | None = None,
        inputs: Mapping[str, Array] | None = None,
    ) -> list[Any]:
        """Like `step`, but all results of any function. `extra`: by index, arguments that are no request array;
        `inputs`: by name, those of a function that has some, a row for each token."""
        tokens, positions, slots = as_indices(tokens), as_indices(positions), as_indices(slots)
        rows = np.arange(len(tokens), dtype=np.int32) if rows is None else as_indices(rows)
        sampling = [Sampling()] * len(rows) if sampling is None else sampling
        self._check(tokens, positions, slots, rows, sampling)
        step = Step(tokens, positions, slots, rows, sampling, self._weights, self._caches, inputs or {})
        results: list[Any] = []
        entry = entry_point(self._module)
        if entry.name == "mk_task.program":
            run_program(entry, step)
        else:
            block = entry.regions[0].blocks[0]
            names = argument_names(entry)
            arguments = [
                step.request(name) if name else (extra or {})[index] for index, name in enumerate(names)
            ]
            results = run_block(block, arguments, step, {})
        self.next = step.next
        return results or step.results or ([] if step.logits is None else [step.logits])

    def _check(
        self, tokens: Array, positions: Array, slots: Array, rows: Array, sampling: Sequence[Sampling]
    ) -> None:
        if not len(tokens) == len(positions) == len(slots):
            raise InputError(
                f"{len(tokens)} tokens, {len(positions)} positions and {len(slots)} slots; expected equal counts"
            )
        if len(sampling) != len(rows):
            raise InputError(f"{len(sampling)} sampling rules for {len(rows)} rows")
        for name, values, limit in (
            ("slot", slots, self._caches.slots),
            ("position", positions, self._caches.positions),
            ("row", rows, len(tokens)),
        ):
            if len(values) and (values.min() < 0 or values.max() >= limit):
                raise InputError(f"{name} {values.min()} .. {values.max()}, expected 0 .. {limit - 1}")
        if len(set(zip(slots.tolist(), positions.tolist(), strict=True))) != len(tokens):
            raise InputError("two tokens of the step have the same slot and position")


def entry_point(module: Module) -> Operation:
    """The module's program, or its function `@step`, or its only function."""
    found = [op for op in module.body if op.name in ("mk_task.program", "func.func") and op.regions[0].blocks]
    for wanted in ("mk_task.program", "func.func"):
        named = [op for op in found if op.name == wanted]
        named = [op for op in named if op.attributes["sym_name"] == "step"] or named
        if len(named) == 1:
            return named[0]
    raise MkError(f"expected one mk_task.program or func.func @step, found {len(found)} functions")


def argument_names(function: Operation) -> list[str | None]:
    """For each argument the request array or the input that it takes, None for another one.

    The attribute `mk.name` says so; without it the integer arguments are tokens, positions, slots, rows in this order.
    """
    arguments = function.regions[0].blocks[0].arguments
    attributes = function.attributes.get("arg_attrs", [{}] * len(arguments))
    stated = [argument.get("mk.name") for argument in attributes]
    unnamed = iter(name for name in REQUEST if name not in stated)
    return [
        name if name or argument.type != "tensor<?xi32>" else next(unnamed)
        for name, argument in zip(stated, arguments, strict=True)
    ]
