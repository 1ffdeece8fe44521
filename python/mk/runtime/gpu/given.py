# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arrays on the GPU that a caller gives to a function, and that it gets back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mk.errors import InputError
from mk.runtime.gpu.arrays import other_gpu
from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.dlpack import Foreign, foreign

_TYPESTR = {"float32": "<f4", "float16": "<f2", "bfloat16": "<i2", "int32": "<i4", "int64": "<i8"}
_BYTES = {name: int(text[2:]) for name, text in _TYPESTR.items()}


@dataclass(frozen=True)
class GpuArray:
    """An array in C order at `address` of the GPU, as long as `owner` lives.

    `__cuda_array_interface__` is read by `torch.as_tensor(x, device="cuda")`, CuPy and others without a copy; bfloat16
    has no name there, and is shown as int16.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    owner: Any

    @property
    def ndim(self) -> int:
        """How many dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * _BYTES[self.dtype]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": _TYPESTR[self.dtype],
            "data": (self.address, False),
            "strides": None,
            "version": 3,
        }

    def rows(self, count: int) -> GpuArray:
        """As [count, columns]."""
        return self.shaped((count, math.prod(self.shape) // max(count, 1)))

    def shaped(self, shape: Sequence[int]) -> GpuArray:
        """As many elements in other dimensions."""
        return GpuArray(self.address, tuple(shape), self.dtype, self.owner)

    def __len__(self) -> int:
        return self.shape[0]


def on_gpu(name: str, value: Any) -> GpuArray | None:
    """What was given for an input, if it lies on a GPU. Raises InputError if it cannot be read there."""
    if isinstance(value, np.ndarray) or not hasattr(value, "__cuda_array_interface__"):
        place = getattr(value, "__dlpack_device__", None)
        if isinstance(value, np.ndarray) or place is None or int(place()[0]) != 2:  # kDLCUDA
            return None
    try:
        if hasattr(value, "contiguous"):  # of PyTorch
            value = value.contiguous()
        found: Foreign = foreign(value)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise InputError(f"input {name}: this array cannot be read: {error}") from error
    if not found.on_gpu:
        return None
    if found.dtype not in _BYTES:
        raise InputError(f"input {name} is {found.dtype} on the GPU; expected {', '.join(_BYTES)}")
    return GpuArray(found.address, found.shape, found.dtype, found.owner)


def check_place(array: GpuArray, gpu: Gpu) -> None:
    """Raises InputError unless it lies on this GPU."""
    ordinal = other_gpu(array.address, array.shape, gpu)
    if ordinal is not None:
        raise InputError(f"an input lies on GPU {ordinal}, but the program runs on GPU {gpu.ordinal}")
