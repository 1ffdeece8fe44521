# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Memory of the GPU, and memory of the host that both sides see."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from mk.errors import MkError
from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.driver import CudaError

_PART = 1 << 21  # the driver gives memory in parts of this size
_MARGIN = 128 << 20  # what code, streams, the copies of weights on their way and the like take besides


class DeviceMemory:
    """`size` zeroed bytes on the GPU, from `address` on. Freed by `free`, or when nothing refers to it.

    The zeros are there before anything that is asked for later on `stream`. Raises CudaError if there is too little.
    """

    def __init__(self, gpu: Gpu, size: int, stream: Any) -> None:
        self.size = max(size, 64)
        self._gpu, self._stream = gpu, stream
        with gpu:
            self.address = int(gpu.cuda("cuMemAlloc", self.size))
            self.free = weakref.finalize(self, _release, gpu, "cuMemFree", self.address)
            gpu.cuda("cuMemsetD8Async", self.address, 0, self.size, stream)

    def keep(self) -> None:
        """Never free it."""
        self.free.detach()

    def write(self, offset: int, value: np.ndarray[Any, Any]) -> None:
        """Copies an array to byte `offset`, after all work on the stream; it is there when this returns."""
        value = np.ascontiguousarray(value)
        assert offset >= 0 and offset + value.nbytes <= self.size
        with self._gpu:
            self._gpu.cuda("cuStreamSynchronize", self._stream)
            self._gpu.cuda("cuMemcpyHtoD", self.address + offset, value.ctypes.data, value.nbytes)

    def read(self, count: int) -> np.ndarray[Any, Any]:
        """The first `count` int64 numbers, after all work on the stream."""
        value = np.empty(count, np.int64)
        assert value.nbytes <= self.size
        with self._gpu:
            self._gpu.cuda("cuStreamSynchronize", self._stream)
            self._gpu.cuda("cuMemcpyDtoH", value.ctypes.data, self.address, value.nbytes)
        return value


class PinnedMemory:
    """`size` zeroed bytes of the host that the GPU reads and writes too, there from `device_address` on.

    `bytes` is their uint8 view. Freed when neither this nor a view of it is left. Raises MkError if there is too
    little.
    """

    def __init__(self, gpu: Gpu, size: int) -> None:
        self.size = max(size, 64)
        flags = gpu.cuda.CU_MEMHOSTALLOC_PORTABLE | gpu.cuda.CU_MEMHOSTALLOC_DEVICEMAP
        with gpu:
            try:
                self.address = int(gpu.cuda("cuMemHostAlloc", self.size, flags))
            except CudaError as error:
                raise MkError(
                    f"cannot have {self.size / 2**20:.0f} MiB of pinned host memory: {error.code}"
                ) from error
            owner = (ctypes.c_uint8 * self.size).from_address(self.address)
            self._finalizer = weakref.finalize(owner, _release, gpu, "cuMemFreeHost", self.address)
            self.device_address = int(gpu.cuda("cuMemHostGetDevicePointer", self.address, 0))
        self.bytes: np.ndarray[Any, np.dtype[np.uint8]] = np.frombuffer(memoryview(owner), np.uint8)
        self.bytes[:] = 0

    def keep(self) -> None:
        """Never free it."""
        self._finalizer.detach()

    def view(self, offset: int, dtype: str, count: int) -> np.ndarray[Any, Any]:
        """`count` elements of a numpy dtype from byte `offset` on."""
        size = np.dtype(dtype).itemsize * count
        return self.bytes[offset : offset + size].view(dtype)


def check_room(gpu: Gpu, blocks: Mapping[str, int], pool_pages: int) -> None:
    """Raises MkError if the blocks (bytes by name, `kv` among them) do not fit beside what is on the GPU now."""
    free, total = gpu.free_memory()
    sizes = {name: -(-size // _PART) * _PART for name, size in blocks.items()}
    needed = sum(sizes.values()) + _MARGIN
    if needed <= free:
        return
    page = blocks["kv"] // pool_pages
    room = (free - (needed - sizes["kv"])) // _PART * _PART
    fits = room // page if page else 0
    advice = (
        f"pool_pages={fits} would fit, instead of {pool_pages}"
        if fits > 0
        else "no page of the KV pool fits beside the weights; free memory, or compile a smaller program"
    )
    raise MkError(
        f"{gpu.name} has too little memory: {_gib(needed)} needed ({_gib(sizes['stream'])} weights, "
        f"{_gib(sizes['kv'])} KV pool), {_gib(free)} of {_gib(total)} free; {advice}"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def _release(gpu: Gpu, name: str, address: int) -> None:
    try:
        with gpu:
            gpu.cuda.quietly(name, address)
    except CudaError:  # the context is gone, and its memory with it
        pass
