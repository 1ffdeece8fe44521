# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The memory of a call of a function: records of inputs and of results, and what its steps are asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import MkError
from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.driver import CudaError
from mk.runtime.gpu.given import GpuArray, check_place
from mk.runtime.gpu.memory import DeviceMemory, PinnedMemory

if TYPE_CHECKING:
    from mk.compiler.manifest import Buffer, Manifest
    from mk.runtime.agenda import Agenda

Array = np.ndarray[Any, Any]
_ENTRY = 4 * 16  # int32 words of a step: see `agenda` in Abi.def


class Block:
    """Memory on the GPU and as much pinned memory beside it, which grow with the calls; none before the first."""

    def __init__(self, gpu: Gpu, stream: Any, kept: list[Any]) -> None:
        self._gpu, self._stream, self._kept = gpu, stream, kept
        self.size = 0
        self.memory: DeviceMemory
        self.pinned: PinnedMemory

    def reserve(self, size: int) -> None:
        """At least so many bytes. Raises MkError if there are none to be had."""
        if size <= self.size:
            return
        size = 1 << (size - 1).bit_length()
        if self.size:
            self._kept.remove(self.memory)
            with self._gpu:
                self._gpu.cuda("cuStreamSynchronize", self._stream)
            self.memory.free()
            self.size = 0
        try:
            self.pinned = PinnedMemory(self._gpu, size)
            self.memory = DeviceMemory(self._gpu, size, self._stream)
        except CudaError as error:
            raise MkError(
                f"a call of this size needs {size / 2**20:.0f} MiB more on {self._gpu.name}: {error.code}"
            ) from error
        self._kept.append(self.memory)
        self.size = size

    def send(self, size: int) -> None:
        """Copies the first bytes to the GPU."""
        self._gpu.cuda("cuMemcpyHtoDAsync", self.memory.address, self.pinned.address, size, self._stream)

    def fetch(self, size: int) -> None:
        """And from there."""
        self._gpu.cuda("cuMemcpyDtoHAsync", self.pinned.address, self.memory.address, size, self._stream)


class Records(Block):
    """One record for each row, with a part for each of `buffers`."""

    def __init__(self, gpu: Gpu, stream: Any, kept: list[Any], buffers: Sequence[Buffer]) -> None:
        super().__init__(gpu, stream, kept)
        self._buffers = buffers
        self.pitch = buffers[0]["pitch"]

    def view(self, number: int, rows: int) -> Array:
        """The pinned part of a buffer: [rows, columns], or integers [rows]."""
        buffer = self._buffers[number]
        words = self.pinned.view(0, buffer["dtype"], rows * self.pitch // 4).reshape(rows, -1)
        begin = buffer["offset"] // 4
        columns = buffer["shape"][1] if len(buffer["shape"]) == 2 else None
        return words[:, begin] if columns is None else words[:, begin : begin + columns]

    def copy(self, number: int, array: GpuArray, inwards: bool) -> None:
        """Between the part of a buffer and rows of float32 on the GPU."""
        cuda = self._gpu.cuda
        plan = cuda.CUDA_MEMCPY2D()
        plan.srcMemoryType = plan.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
        part = self.memory.address + self._buffers[number]["offset"]
        row = 4 * array.shape[1]
        plan.srcDevice, plan.dstDevice = (array.address, part) if inwards else (part, array.address)
        plan.srcPitch, plan.dstPitch = (row, self.pitch) if inwards else (self.pitch, row)
        plan.WidthInBytes, plan.Height = row, array.shape[0]
        cuda("cuMemcpy2DAsync", plan, self._stream)


class Call:
    """Of a program with a function: see `GpuDevice.call`. `kept` lists the memory that must be freed at the end."""

    def __init__(self, gpu: Gpu, stream: Any, manifest: Manifest, kept: list[Any]) -> None:
        self._gpu, self._stream = gpu, stream
        buffers = {buffer["name"]: buffer for buffer in manifest["buffers"]}
        function = manifest["function"]
        self._inputs = Records(gpu, stream, kept, [buffers[one["buffer"]] for one in function["inputs"]])
        self._results = Records(gpu, stream, kept, [buffers[name] for name in function["results"]])
        self._widths = [buffers[name]["shape"][1] or 0 for name in function["results"]]
        self._agenda = Block(gpu, stream, kept)

    def reserve(self, agenda: Agenda) -> dict[str, int]:
        """Room for a call; where it is, by the names of the context."""
        self._inputs.reserve(agenda.total * self._inputs.pitch)
        self._results.reserve(agenda.total * self._results.pitch)
        self._agenda.reserve(len(agenda) * _ENTRY * 4)
        return {
            "inputs": self._inputs.memory.address,
            "results": self._results.memory.address,
            "agenda": self._agenda.memory.address,
        }

    def send(self, inputs: Sequence[Any], agenda: Agenda) -> None:
        """Inputs and agenda to the GPU, in the order of the stream."""
        for number, rows in enumerate(inputs):
            if not isinstance(rows, GpuArray):
                self._inputs.view(number, agenda.total)[:] = rows
        entries = self._agenda.pinned.view(0, "int32", len(agenda) * _ENTRY).reshape(-1, 4, 16)
        most = agenda.rows.shape[1]
        entries[:, 0, 0] = agenda.counts[::-1]
        for place, array in enumerate((agenda.rows, agenda.positions, agenda.slots), 1):
            entries[:, place, :most] = array[::-1]
        given = [(number, rows) for number, rows in enumerate(inputs) if isinstance(rows, GpuArray)]
        for _, rows in given:
            check_place(rows, self._gpu)
        with self._gpu:
            self._agenda.send(len(agenda) * _ENTRY * 4)
            if len(given) < len(inputs):
                self._inputs.send(agenda.total * self._inputs.pitch)
            if given:  # whoever made them did so on a stream of his own
                self._gpu.cuda("cuCtxSynchronize")
            for number, rows in given:
                self._inputs.copy(number, rows, inwards=True)

    def leave(self, total: int) -> list[GpuArray]:
        """The results as arrays of their own on the GPU, in the order of the stream."""
        left = []
        for number, columns in enumerate(self._widths):
            memory = DeviceMemory(self._gpu, total * columns * 4, self._stream)
            left.append(GpuArray(memory.address, (total, columns), "float32", memory))
            with self._gpu:
                self._results.copy(number, left[-1], inwards=False)
        return left

    def fetch(self, total: int) -> None:
        """The results to the host, in the order of the stream."""
        self._results.fetch(total * self._results.pitch)

    def results(self, total: int) -> list[Array]:
        """What `fetch` brought."""
        return [self._results.view(number, total).copy() for number in range(len(self._widths))]

    def empty(self) -> list[Array]:
        """The results of a call without rows."""
        return [np.empty((0, columns), np.float32) for columns in self._widths]
