# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A CUDA driver whose GPU is this process: memory is the host's, a stream is a thread, kernels are Python functions.

Stands in for cuda.bindings.driver in tests of mk.runtime.gpu.
"""

from __future__ import annotations

import ctypes
import enum
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

Kernel = Callable[..., None]  # called with the launch's arguments


class Result(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209
    CUDA_ERROR_NOT_FOUND = 500
    CUDA_ERROR_NOT_READY = 600
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


OK = Result.CUDA_SUCCESS
ALIGNMENT = 256  # of the memory that a driver gives


class Event:
    def __init__(self) -> None:
        self.after: Future[Any] | None = None


class Stream:
    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.last: Future[Any] | None = None

    def put(self, work: Callable[[], None]) -> None:
        self.last = self.pool.submit(work)

    def wait(self) -> None:
        if self.last is not None:
            self.last.result()


class FakeCuda:
    """`kernels`: those of the module that is loaded; `arguments`: the ctypes types of each one's arguments."""

    CU_MEMHOSTALLOC_PORTABLE, CU_MEMHOSTALLOC_DEVICEMAP = 1, 2
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUevent_flags = SimpleNamespace(CU_EVENT_DISABLE_TIMING=2)
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="shared")
    CUmemorytype = SimpleNamespace(CU_MEMORYTYPE_DEVICE=2)
    CUDA_MEMCPY2D = SimpleNamespace
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL="ordinal")
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major",
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor",
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT="sms",
        CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN="shared",
    )

    def __init__(self, kernels: dict[str, tuple[Kernel, list[Any]]]) -> None:
        self.kernels = kernels
        self.attributes = {"major": 9, "minor": 0, "sms": 4, "shared": 1 << 17}
        self.uuid = uuid.uuid4().bytes
        self.memory = 1 << 30
        self.resident = 1  # CTAs of an SM
        self.fails: dict[str, Result] = {}  # calls that do not work
        self.blocks: dict[int, Any] = {}  # what is allocated, on either side
        self.pinned: set[int] = set()
        self.on_gpu: set[int] = set()  # addresses of arrays that play the GPU's
        self.modules = self.contexts = self.streams = self.events = 0
        self.launched: list[str] = []
        self._current = threading.local()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cu") and name in object.__getattribute__(self, "fails"):
            code = object.__getattribute__(self, "fails")[name]
            return lambda *arguments: (code,)
        return object.__getattribute__(self, name)

    # ------------------------------------------------------------------------------------------------------- context

    def cuInit(self, flags: int) -> Any:
        return (OK,)

    def cuGetErrorString(self, code: Result) -> Any:
        return OK, b"as the driver says"

    def cuDriverGetVersion(self) -> Any:
        return OK, 12040

    def cuCtxGetCurrent(self) -> Any:
        return OK, 1 if self._depth() else 0

    def cuCtxGetDevice(self) -> Any:
        return (OK, 0) if self._depth() else (Result.CUDA_ERROR_INVALID_CONTEXT, None)

    def cuDeviceGetCount(self) -> Any:
        return OK, 1

    def cuDeviceGet(self, ordinal: int) -> Any:
        return OK, ordinal

    def cuDeviceGetName(self, length: int, device: int) -> Any:
        return OK, b"Fake GPU\0\0\0"

    def cuDeviceGetUuid(self, device: int) -> Any:
        return OK, SimpleNamespace(bytes=self.uuid)

    def cuDeviceGetAttribute(self, which: str, device: int) -> Any:
        return OK, self.attributes[which]

    def cuDevicePrimaryCtxRetain(self, device: int) -> Any:
        self.contexts += 1
        return OK, "context"

    def cuDevicePrimaryCtxRelease(self, device: int) -> Any:
        self.contexts -= 1
        return (OK,)

    def cuCtxPushCurrent(self, context: Any) -> Any:
        self._current.depth = self._depth() + 1
        return (OK,)

    def cuCtxPopCurrent(self) -> Any:
        self._current.depth = self._depth() - 1
        return OK, "context"

    def cuCtxSynchronize(self) -> Any:
        assert self._depth()
        return (OK,)

    def _depth(self) -> int:
        return getattr(self._current, "depth", 0)

    # -------------------------------------------------------------------------------------------------------- memory

    def cuMemGetInfo(self) -> Any:
        used = sum(len(block) for address, block in self.blocks.items() if address not in self.pinned)
        return OK, self.memory - used, self.memory

    def cuMemAlloc(self, size: int) -> Any:
        return self._allocate(size)

    def _allocate(self, size: int) -> Any:
        assert self._depth(), "no context is current"
        whole = (ctypes.c_uint8 * (size + ALIGNMENT))()
        block = (ctypes.c_uint8 * size).from_buffer(whole, -ctypes.addressof(whole) % ALIGNMENT)
        ctypes.memset(block, 0xA5, size)
        self.blocks[ctypes.addressof(block)] = block
        return OK, ctypes.addressof(block)

    def cuMemHostAlloc(self, size: int, flags: int) -> Any:
        _, address = self._allocate(size)
        self.pinned.add(address)
        return OK, address

    def cuMemHostGetDevicePointer(self, address: int, flags: int) -> Any:
        return OK, address

    def cuMemFree(self, address: int) -> Any:
        assert address not in self.pinned
        del self.blocks[address]
        return (OK,)

    def cuMemFreeHost(self, address: int) -> Any:
        self.pinned.remove(address)
        del self.blocks[address]
        return (OK,)

    def cuPointerGetAttribute(self, which: str, address: int) -> Any:
        return OK, 0 if address in self.on_gpu or address in self.blocks else 7

    def cuMemcpyHtoD(self, to: int, source: int, size: int) -> Any:
        ctypes.memmove(to, source, size)
        return (OK,)

    cuMemcpyDtoH = cuMemcpyHtoD

    def cuMemcpyHtoDAsync(self, to: int, source: int, size: int, stream: Stream) -> Any:
        stream.put(lambda: ctypes.memmove(to, source, size))
        return (OK,)

    cuMemcpyDtoHAsync = cuMemcpyDtoDAsync = cuMemcpyHtoDAsync

    def cuMemcpy2DAsync(self, plan: Any, stream: Stream) -> Any:
        device = self.CUmemorytype.CU_MEMORYTYPE_DEVICE
        assert plan.srcMemoryType == plan.dstMemoryType == device
        assert plan.WidthInBytes <= min(plan.srcPitch, plan.dstPitch)
        rows = [
            (plan.dstDevice + i * plan.dstPitch, plan.srcDevice + i * plan.srcPitch)
            for i in range(plan.Height)
        ]
        width = plan.WidthInBytes

        def copy() -> None:
            for to, source in rows:
                ctypes.memmove(to, source, width)

        stream.put(copy)
        return (OK,)

    def cuMemsetD8Async(self, to: int, value: int, size: int, stream: Stream) -> Any:
        stream.put(lambda: ctypes.memset(to, value, size))
        return (OK,)

    # ------------------------------------------------------------------------------------------------ streams, events

    def cuStreamCreate(self, flags: int) -> Any:
        self.streams += 1
        return OK, Stream()

    def cuStreamDestroy(self, stream: Stream) -> Any:
        self.streams -= 1
        stream.pool.shutdown()
        return (OK,)

    def cuStreamSynchronize(self, stream: Stream) -> Any:
        stream.wait()
        return (OK,)

    def cuStreamQuery(self, stream: Stream) -> Any:
        if stream.last is not None and not stream.last.done():
            return (Result.CUDA_ERROR_NOT_READY,)
        stream.wait()
        return (OK,)

    def cuStreamWaitEvent(self, stream: Stream, event: Event, flags: int) -> Any:
        after = event.after
        if after is not None:
            stream.put(lambda: after.result())
        return (OK,)

    def cuEventCreate(self, flags: int) -> Any:
        self.events += 1
        return OK, Event()

    def cuEventDestroy(self, event: Event) -> Any:
        self.events -= 1
        return (OK,)

    def cuEventRecord(self, event: Event, stream: Stream) -> Any:
        event.after = stream.last
        return (OK,)

    def cuEventSynchronize(self, event: Event) -> Any:
        if event.after is not None:
            event.after.result()
        return (OK,)

    # ---------------------------------------------------------------------------------------------------------- code

    def cuModuleLoadData(self, image: bytes) -> Any:
        self.modules += 1
        return OK, "module"

    def cuModuleUnload(self, module: Any) -> Any:
        self.modules -= 1
        return (OK,)

    def cuModuleGetFunction(self, module: Any, name: bytes) -> Any:
        found = name.decode() in self.kernels
        return (OK, name.decode()) if found else (Result.CUDA_ERROR_NOT_FOUND, None)

    def cuFuncSetAttribute(self, function: str, which: str, value: int) -> Any:
        return (OK,)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, function: str, threads: int, shared: int) -> Any:
        return OK, self.resident

    def cuLaunchKernel(self, *arguments: Any) -> Any:
        assert arguments[-1] == 0  # extra
        return self._launch(*arguments[:-1])

    def cuLaunchCooperativeKernel(self, *arguments: Any) -> Any:
        return self._launch(*arguments)

    def _launch(
        self, name: str, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int, stream: Any, places: int
    ) -> Any:  # fmt: skip
        kernel, types = self.kernels[name]
        pointers = (ctypes.c_void_p * len(types)).from_address(places)
        found = [kind.from_address(at) for kind, at in zip(types, pointers, strict=True)]
        values = [list(x) if isinstance(x, ctypes.Array) else x.value for x in found]
        self.launched.append(name)
        stream.put(lambda: kernel(*values))
        return (OK,)
