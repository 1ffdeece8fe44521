# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One source of a weight: bits on the host, an array that lies on the GPU already, or numbers to be made up."""

from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mk.errors import WeightError
from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.convert import BITS, Bits, size_of
from mk.runtime.gpu.dlpack import Foreign, foreign, is_foreign

ALIGNMENT = 8  # bytes: the kernels read two numbers at a time


@dataclass(frozen=True)
class HostArray:
    """`bits` in C order, of the type `dtype`."""

    name: str
    bits: Bits
    dtype: str
    owner: Any = None  # of the memory, if numpy does not know it

    @property
    def shape(self) -> tuple[int, ...]:
        """As the weight has it."""
        return tuple(self.bits.shape)


@dataclass(frozen=True)
class DeviceArray:
    """In C order at `address`, for as long as `owner` lives."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    address: int
    owner: Any

    def download(self, gpu: Gpu) -> HostArray:
        """A copy, for what is so small that the GPU has no kernel for it."""
        bits = np.empty(self.shape, BITS[self.dtype])
        with gpu:
            gpu.cuda("cuMemcpyDtoH", bits.ctypes.data, self.address, bits.nbytes)
        return HostArray(self.name, bits, self.dtype)


@dataclass(frozen=True)
class RandomArray:
    """bfloat16 numbers that depend on `seed`, the name and their place alone."""

    name: str
    shape: tuple[int, ...]
    seed: int
    dtype: str = "bfloat16"


Source = HostArray | DeviceArray | RandomArray


def source_of(name: str, value: Any, dtype: str, gpu: Gpu) -> HostArray | DeviceArray:
    """What was given for a weight. `dtype` is its type if numpy has no name for that, else "".

    Raises WeightError if it is no array in C order of a type that weights have, or lies on another GPU.
    """
    if not isinstance(value, np.ndarray) and is_foreign(value):
        try:
            return _from_foreign(name, foreign(value), gpu)
        except (ValueError, TypeError, RuntimeError, BufferError) as error:
            raise WeightError(f"{name}: this array cannot be read: {error}") from error
    return _host_array(name, np.asarray(value), dtype)


def _host_array(name: str, value: np.ndarray[Any, Any], dtype: str, owner: Any = None) -> HostArray:
    dtype = dtype if dtype == "bfloat16" and value.dtype == np.uint16 else value.dtype.name
    if dtype == "float64":
        value, dtype = value.astype(np.float32), "float32"
    if dtype not in BITS:
        raise WeightError(f"{name} is {dtype}; expected {', '.join(BITS)} or float64")
    return HostArray(name, np.ascontiguousarray(value).view(BITS[dtype]), dtype, owner)


def _from_foreign(name: str, found: Foreign, gpu: Gpu) -> HostArray | DeviceArray:
    if found.on_gpu:
        if found.dtype not in BITS:
            raise WeightError(f"{name} is {found.dtype} on the GPU; expected {', '.join(BITS)}")
        _check_place(name, found, gpu)
        array = DeviceArray(name, found.shape, found.dtype, found.address, found.owner)
        return array if found.address % ALIGNMENT == 0 else array.download(gpu)
    if found.dtype not in (*BITS, "float64"):
        raise WeightError(f"{name} is {found.dtype}; expected {', '.join(BITS)} or float64")
    bits = np.dtype(BITS.get(found.dtype, np.uint64))
    count = math.prod(found.shape)
    memory = (ctypes.c_uint8 * (count * bits.itemsize)).from_address(found.address) if count else b""
    value = np.frombuffer(memory, bits).reshape(found.shape)
    if found.dtype == "float64":
        return _host_array(name, value.view(np.float64), "", found.owner)
    return HostArray(name, value, found.dtype, found.owner)


def other_gpu(address: int, shape: Sequence[int], gpu: Gpu) -> int | None:
    """The GPU that an array lies on, if it is not `gpu`."""
    if not math.prod(shape):
        return None
    which = gpu.cuda.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    with gpu:
        ordinal = int(gpu.cuda("cuPointerGetAttribute", which, address))
    return None if ordinal == gpu.ordinal else ordinal


def _check_place(name: str, found: Foreign, gpu: Gpu) -> None:
    ordinal = other_gpu(found.address, found.shape, gpu)
    if ordinal is not None:
        raise WeightError(f"{name} lies on GPU {ordinal}, but the program runs on GPU {gpu.ordinal}")


def flat(source: Source) -> Source:
    """The matrices of a source one below the other, as one."""
    if len(source.shape) < 3:
        return source
    shape = (math.prod(source.shape[:-1]), source.shape[-1])
    if isinstance(source, HostArray):
        return dataclasses.replace(source, bits=source.bits.reshape(shape))
    return dataclasses.replace(source, shape=shape)


def row_bytes(source: Source) -> int:
    """Bytes of one row of a matrix."""
    return math.prod(source.shape[1:]) * size_of(source.dtype)
