# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""When the tasks of the last steps ran, as a program that was compiled with `trace=True` notes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.runtime.inputs import positive

if TYPE_CHECKING:
    from mk.runtime.request import Request

Array = np.ndarray[Any, Any]
STAMPS = 4  # of an instruction, and behind them what the body waited for the ring
_WORDS = 8  # of an instruction: the line of mk_cta.trace_line
KEPT = 4  # steps, unless the caller wants more


@dataclass(frozen=True)
class Times:
    """The last steps that an engine has run, the oldest first.

    * `stamps`: int64 [steps, workers, instructions, 5], in nanoseconds: the begin of the instruction's wait and of its
      body, the end of the body, after its signal; then how long the body waited for tiles in the ring (a duration, 0 on
      a CPU). All 0 where the table has no instruction. The clock is the GPU's, or the monotonic one of Linux;
    * `first`: the number of the oldest step, counted since the engine was made;
    * `tokens`, `rows`: int64 [steps], tokens and rows of logits of each step;
    * `contexts`: for each step, positions in each slot that the step has tokens of: all up to the last one.
    """

    stamps: Array
    first: int
    tokens: Array
    rows: Array
    contexts: tuple[tuple[int, ...], ...]

    @property
    def context(self) -> Array:
        """int64 [steps]: positions of the KV cache in all slots of the step together."""
        return np.array([sum(lengths) for lengths in self.contexts], np.int64)


@dataclass(frozen=True)
class _Run:
    """What the run was asked whose first step has number `first`: positions and slots of its tokens, and the rows that
    tokens are drawn from."""

    first: int
    positions: Array
    slots: Array
    rows: Array

    def sizes(self, step: int) -> tuple[int, int, tuple[int, ...]]:
        """Tokens, rows and contexts of one of its steps: after the first each row has the token drawn last."""
        later = step - self.first
        chosen = self.rows if later else slice(None)
        positions, slots = self.positions[chosen] + later, self.slots[chosen]
        contexts = tuple(int(positions[slots == slot].max()) + 1 for slot in np.unique(slots))
        return len(positions), len(self.rows), contexts


class Recorder:
    """The block in which a program notes its times, and what each run was asked.

    `table`: that of the program. The steps that are kept are rounded up to a power of two. Raises InputError if `steps`
    is no positive number.
    """

    def __init__(self, table: Array, steps: int) -> None:
        workers, instructions, _ = table.shape
        self._log = (positive("trace_steps", steps) - 1).bit_length()
        self._shape = (workers, 1 << self._log, instructions, _WORDS)
        self._runs: deque[_Run] = deque(maxlen=1 << self._log)  # a run has at least one step

    @property
    def size(self) -> int:
        """Bytes of the block."""
        return 8 * int(np.prod(self._shape))

    def word(self, address: int) -> int:
        """The context's word `trace`, see Abi.def."""
        assert address % 64 == 0, "every memory that programs run in is aligned"
        return address | self._log

    def begin(self, request: Request, ended: int) -> None:
        """A run of what the request says begins, after `ended` steps."""
        tokens, rows = int(request["n_tokens"][0]), int(request["n_rows"][0])
        arrays = request["positions"][:tokens], request["slots"][:tokens], request["rows"][:rows]
        self._runs.append(_Run(ended, *(array.astype(np.int64) for array in arrays)))

    def times(self, block: Array, ended: int, clock: Callable[[Array], Array] | None = None) -> Times:
        """What the block, int64 words, says after `ended` steps; `clock` makes nanoseconds of its stamps."""
        kept = self._shape[1]
        steps = range(max(0, ended - kept), ended)
        stamps = block.reshape(self._shape)[:, [step % kept for step in steps], :, : STAMPS + 1].swapaxes(
            0, 1
        )
        if clock is not None:
            exists = stamps[..., :1] != 0
            stamps = np.concatenate(
                [np.where(exists, clock(stamps[..., :STAMPS]), 0), stamps[..., STAMPS:]], -1
            )
        sizes = [next(run for run in reversed(self._runs) if run.first <= step).sizes(step) for step in steps]
        tokens, rows = (np.array([size[i] for size in sizes], np.int64) for i in (0, 1))
        contexts = tuple(size[2] for size in sizes)
        return Times(np.ascontiguousarray(stamps), steps.start, tokens, rows, contexts)
