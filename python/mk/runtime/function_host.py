# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program of a user's module on its device: rows in, rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import InputError
from mk.runtime.agenda import agenda, passes_of
from mk.runtime.host import Host

if TYPE_CHECKING:
    from mk.program import Program

Array = np.ndarray[Any, Any]


class FunctionHost(Host):
    """Runs rows through the program in steps of as many as it takes."""

    def __init__(self, program: Program, weights: Any, *, stall_seconds: float) -> None:
        super().__init__(program, weights, stall_seconds=stall_seconds)
        signature = program.facts.signature
        assert signature is not None
        manifest = program.manifest
        self._signature, plan, self._sizes = signature, manifest["function"], manifest["sizes"]
        self._limits = [one["limit"] for one in plan["inputs"]]
        most = [self._sizes["max_length"]] if signature.attends else []
        most += [] if plan["positions"] is None else [plan["positions"]]
        self._most = min(most, default=1 << 31)
        cache = manifest["cache"]
        self._passes = passes_of(signature.whole, cache["layers"] if cache else 0)
        if signature.attends:  # slots are reused by every call, each to its full length
            self._pages.grow(dict.fromkeys(range(self._sizes["max_sequences"]), self._sizes["max_length"]))

    def run(self, inputs: Sequence[Any], sizes: Mapping[str, int], stay: bool = False) -> list[Any]:
        """Rows [N, columns] or integers [N] of each input to rows of each result. Rows of numbers may lie on the
        program's GPU; `stay`: results are to be there."""
        for port, rows, limit in zip(self._signature.inputs, inputs, self._limits, strict=False):
            if limit is not None and len(rows) and not 0 <= rows.min() <= rows.max() < limit:
                bad = int(rows.min() if rows.min() < 0 else rows.max())
                raise InputError(f"input {port.name} holds {bad}; expected 0 .. {limit - 1}")
        length, count = sizes["length"], len(inputs[0])
        if length > self._most:
            raise InputError(f"a length of {length}; the program takes at most {self._most}")
        if self._signature.together:
            self._check_together(count, length)
        # A further input: up to where each row sees.
        given = [*inputs, *[np.full(count, length - 1, np.int32)] * (len(self._limits) - len(inputs))]
        sequences = self._sizes["max_sequences"] if self._signature.attends else None
        steps = agenda(count, length, self._sizes["max_tokens"], sequences, self._passes)
        with self._device.exclusive():
            return self._device.call(given, steps, stay)

    def _check_together(self, count: int, length: int) -> None:
        """A decision for all rows of a call is made in one step."""
        entries = self._sizes["max_sequences"] if self._signature.attends else count
        most = min(self._sizes["max_tokens"], entries * length, self._signature.together)
        if count > most:
            raise InputError(
                f"{count} rows; the module decides for all rows of a call at once, and the program takes at most "
                f"{most} in a step (options max_tokens and max_sequences)"
            )

    def download(self, rows: Any) -> Array:
        """A NumPy array of what lies on the GPU."""
        return self._device.download(rows)

    def upload(self, array: Array) -> Any:
        """And back."""
        return self._device.upload(array)
