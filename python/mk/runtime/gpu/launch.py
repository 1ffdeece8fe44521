# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The two streams of an engine: one for its runs, one to reach into the run that is under way."""

from __future__ import annotations

import time
import weakref
from typing import Any

from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.memory import PinnedMemory


class Channel:
    """`stream` carries copies and launches in order; `ended` is the event after the last run.

    Every method needs the GPU's context to be current.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._cuda = cuda = gpu.cuda
        self._one = PinnedMemory(gpu, 4)
        self._one.view(0, "int32", 1)[0] = 1
        self._cancelling = False
        with gpu:
            flags = cuda.CUstream_flags.CU_STREAM_NON_BLOCKING
            self.stream, self._second = cuda("cuStreamCreate", flags), cuda("cuStreamCreate", flags)
            flags = cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING
            self.ended, self._asked = cuda("cuEventCreate", flags), cuda("cuEventCreate", flags)
        freed = [("cuStreamDestroy", s) for s in (self.stream, self._second)]
        freed += [("cuEventDestroy", e) for e in (self.ended, self._asked)]
        self.close = weakref.finalize(self, _destroy, gpu, freed)

    def keep(self) -> None:
        """Never free it."""
        self.close.detach()

    def ask(self, address: int, source: int, size: int) -> None:
        """Copies what a run is asked to do to the GPU."""
        self._cuda("cuMemcpyHtoDAsync", address, source, size, self.stream)
        self._cuda("cuEventRecord", self._asked, self.stream)

    def cancel(self, address: int) -> None:
        """Writes a 1 beside the run, but not before `ask` has written its 0."""
        if not self._cancelling:
            self._cuda("cuStreamWaitEvent", self._second, self._asked, 0)
            self._cuda("cuMemcpyHtoDAsync", address, self._one.address, 4, self._second)
            self._cancelling = True

    def settle(self) -> None:
        """After a run: a 1 that comes too late must not cancel the next."""
        if self._cancelling:
            self._cuda("cuStreamSynchronize", self._second)
            self._cancelling = False


class Pause:
    """Waits a little at each call, and longer the longer it has waited: about 3 % of it, at most half a millisecond."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def __call__(self) -> None:
        waited = time.perf_counter() - self._began
        if waited > 2e-4:
            time.sleep(min(max(waited / 32, 2e-5), 5e-4))


def _destroy(gpu: Gpu, freed: list[tuple[str, Any]]) -> None:
    with gpu:
        for name, what in freed:
            if name == "cuStreamDestroy":
                gpu.cuda.quietly("cuStreamSynchronize", what)
        for name, what in freed:
            gpu.cuda.quietly(name, what)
