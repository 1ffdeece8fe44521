# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The way of weights to the GPU: a ring of pinned slots that threads fill while the copies before are under way."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from mk.errors import WeightError
from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.convert import BITS, Bits, all_finite, convert
from mk.runtime.gpu.memory import DeviceMemory, PinnedMemory

SIZE = 32 << 20  # bytes of a slot
_SLOTS = 4
_THREADS = 8  # more do not fill a PCIe link any faster
_PIECE = 1 << 18  # elements that a thread converts at a time: they stay in its cache


class Ring:
    """`with Ring(...) as ring:`; when it ends, everything that was sent is there.

    `block`: SIZE bytes on the GPU, free for whoever asks for work on `stream` next.
    """

    def __init__(self, gpu: Gpu, stream: Any, size: int = SIZE) -> None:
        self.gpu, self.stream, self.size = gpu, stream, size
        self.block = DeviceMemory(gpu, size, stream)
        self._slots = [PinnedMemory(gpu, size) for _ in range(_SLOTS)]
        with gpu:
            flags = gpu.cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING
            self._events = [gpu.cuda("cuEventCreate", flags) for _ in range(_SLOTS)]
        self._free = weakref.finalize(self, _destroy, gpu, self._events)
        self._turn = 0
        self._threads = min(_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, "mk-weights")

    def take(self) -> PinnedMemory:
        """The next slot, after its last copy has ended."""
        self._turn = (self._turn + 1) % _SLOTS
        with self.gpu:
            self.gpu.cuda("cuEventSynchronize", self._events[self._turn])
        return self._slots[self._turn]

    def send(self, begin: int, size: int, address: int) -> None:
        """Copies bytes of the slot that was taken last to the GPU."""
        with self.gpu:
            source = self._slots[self._turn].address + begin
            self.gpu.cuda("cuMemcpyHtoDAsync", address, source, size, self.stream)
            self.gpu.cuda("cuEventRecord", self._events[self._turn], self.stream)

    def fill(self, bits: Bits, source: str, target: str, name: str) -> int:
        """Puts a flat array, converted, at the beginning of the slot that was taken last; returns the bytes.

        Raises WeightError if a number is not finite: such a checkpoint gives answers that look like answers.
        """
        to = self._slots[self._turn].view(0, BITS[target], bits.size)

        def part(begin: int, end: int) -> None:
            piece = bits[begin:end]
            to[begin:end] = convert(piece, source, target)
            if not all_finite(piece, source):
                raise WeightError(f"{name} holds a number that is not finite; the checkpoint is damaged")

        self._in_threads(bits.size, part)
        return int(to.nbytes)

    def _in_threads(self, count: int, part: Callable[[int, int], None]) -> None:
        def span(thread: int) -> None:
            for begin in range(thread * _PIECE, count, self._threads * _PIECE):
                part(begin, min(begin + _PIECE, count))

        if count <= 2 * _PIECE:
            for begin in range(0, count, _PIECE):
                part(begin, min(begin + _PIECE, count))
        else:
            list(self._pool.map(span, range(self._threads)))

    def __enter__(self) -> Ring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        try:
            with self.gpu:
                self.gpu.cuda("cuStreamSynchronize", self.stream)
        finally:
            self._free()
            self.block.free()


def _destroy(gpu: Gpu, events: list[Any]) -> None:
    with gpu:
        for event in events:
            gpu.cuda.quietly("cuEventDestroy", event)
