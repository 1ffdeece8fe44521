# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m bench.gpu.ceiling_side: what this GPU reads at most, by the kernel of ceiling.ptx."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import Any

from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.driver import open_driver

from bench.gpu.nvml import Nvml
from bench.gpu.side import Actions, serve

SOURCE = Path(__file__).parent / "ceiling.ptx"
KERNEL = "mk_read_ceiling"
TILE = 32768
RING, SHARED = 6, 6 * TILE + 6 * 8
TILES = 1 << 17  # 4 GiB: far more than the L2 cache holds
ROUNDS = 4  # over all tiles in a launch, so that its start does not count
_PATTERN = 0x4D4B4D4B


class Ceiling:
    """The buffer and the kernel. Raises MkError if there is no GPU, too little memory, or the kernel does not load."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, cuda = gpu, gpu.cuda
        with gpu:
            self._buffer, self._sink = int(cuda("cuMemAlloc", TILES * TILE)), int(cuda("cuMemAlloc", 4096))
            cuda("cuMemsetD32", self._buffer, _PATTERN, TILES * TILE // 4)
            self._module = cuda("cuModuleLoadData", SOURCE.read_bytes() + b"\0")
            self._kernel = cuda("cuModuleGetFunction", self._module, KERNEL.encode())
            which = cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            cuda("cuFuncSetAttribute", self._kernel, which, SHARED)
            self._events = [cuda("cuEventCreate", 0) for _ in range(2)]

    def turn(self, launches: int = 8) -> list[float]:
        """Bytes per second of every launch but two that warm up. Raises RuntimeError if not all bytes came."""
        cuda, (begin, end) = self._gpu.cuda, self._events
        workers, found = self._gpu.multiprocessors, []
        with self._gpu:
            cuda("cuMemsetD32", self._sink, 0, workers)
            for index in range(launches + 2):
                cuda("cuEventRecord", begin, 0)
                self._launch(workers)
                cuda("cuEventRecord", end, 0)
                cuda("cuEventSynchronize", end)
                if index >= 2:
                    milliseconds = float(cuda("cuEventElapsedTime", begin, end))
                    found.append(ROUNDS * TILES * TILE / (milliseconds / 1000))
            words = (ctypes.c_uint32 * workers)()
            cuda("cuMemcpyDtoH", ctypes.addressof(words), self._sink, ctypes.sizeof(words))
        if any(word != _PATTERN for word in words):
            raise RuntimeError("the kernel did not read what it should have")
        return found

    def _launch(self, workers: int) -> None:
        values = (
            ctypes.c_uint64(self._buffer),
            ctypes.c_uint64(self._sink),
            ctypes.c_uint32(TILES - 1),
            ctypes.c_uint32(ROUNDS * TILES),
        )
        places = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        self._gpu.cuda(
            "cuLaunchKernel", self._kernel, workers, 1, 1, 32, 1, 1, SHARED, 0, ctypes.addressof(places), 0
        )


def prepare() -> tuple[Actions, dict[str, Any]]:
    nvml, gpu = Nvml(), Gpu(open_driver())
    ceiling = Ceiling(gpu)
    facts = {
        "name": gpu.name,
        "multiprocessors": gpu.multiprocessors,
        "cuda": gpu.cuda.version(),
        "python": platform.python_version(),
        "energy_counter": nvml.has_energy,
        **nvml.facts(),
    }
    return {"turn": lambda: {"bytes_per_second": ceiling.turn(), "gpu": nvml.now()}}, facts


if __name__ == "__main__":
    serve(prepare)
