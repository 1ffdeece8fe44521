# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One generation: the prompt in chunks, then a run that draws token after token."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from mk.runtime.base_device import BaseDevice
from mk.runtime.inputs import Ints
from mk.runtime.sampling import Sampling


@dataclass(frozen=True)
class Generation:
    """What is asked for, valid: int32 [N] token ids, N at least 1, the most tokens to draw, and those that end it."""

    prompt: Ints
    new: int
    stops: list[int]
    sampling: Sampling

    @property
    def length(self) -> int:
        """Positions that it may fill: the last token that is drawn is never fed back."""
        return len(self.prompt) + self.new - 1

    def run(
        self, device: BaseDevice, slot: int, chunk: int, lengths: list[int]
    ) -> Generator[int, None, None]:
        """Draws the tokens in an empty slot that has pages for `length` positions; a stop token is not yielded.

        `chunk`: tokens of a step. `lengths[slot]` is what the slot holds whenever nothing runs.
        """
        last = (len(self.prompt) - 1) // chunk * chunk
        for begin in range(0, last, chunk):
            self._ask(device, slot, begin, begin + chunk, rows=[])
            device.run()
            lengths[slot] = begin + chunk
        self._ask(device, slot, last, len(self.prompt), rows=[len(self.prompt) - 1 - last])
        lengths[slot] = len(self.prompt)
        tokens = device.draw(self.new)
        try:
            for token in tokens:
                if token not in self.stops:
                    yield token
        finally:
            tokens.close()
            # Every token but the last that was drawn is in the cache, also those that nobody took.
            lengths[slot] = len(self.prompt) + max(device.drawn - 1, 0)

    def _ask(self, device: BaseDevice, slot: int, begin: int, end: int, rows: list[int]) -> None:
        request = device.request
        request.set_tokens(
            self.prompt[begin:end],
            np.arange(begin, end, dtype=np.int32),
            np.full(end - begin, slot, np.int32),
        )
        request.set_rows(np.asarray(rows, np.int32), self.new, self.sampling)
        request.set_stops(self.stops)
