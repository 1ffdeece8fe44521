# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where an array of another library lies, by DLPack or by `__cuda_array_interface__`; nothing is copied."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

_HOST, _CUDA, _PINNED = 1, 2, 3  # DLDeviceType
_NAMES = {
    (0, 32): "int32",
    (0, 64): "int64",
    (2, 32): "float32",
    (2, 16): "float16",
    (2, 64): "float64",
    (4, 16): "bfloat16",
}  # (code, bits)
_TYPESTRS = {
    "<i4": "int32",
    "<i8": "int64",
    "<f4": "float32",
    "<f2": "float16",
    "<f8": "float64",
    "<V2": "bfloat16",
    "|V2": "bfloat16",
}


@dataclass(frozen=True)
class Foreign:
    """An array in C order at `address`, on the GPU or on the host; it stays there as long as `owner` lives."""

    address: int
    shape: tuple[int, ...]
    dtype: str
    on_gpu: bool
    owner: Any


class _Tensor(ctypes.Structure):
    """DLTensor, the beginning of a DLManagedTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )


def is_foreign(value: Any) -> bool:
    """Whether `foreign` can read it."""
    return hasattr(value, "__dlpack__") or hasattr(value, "__cuda_array_interface__")


def foreign(value: Any) -> Foreign:
    """Raises ValueError for an array with gaps, or of a kind that no weight has."""
    if hasattr(value, "detach"):  # a parameter of PyTorch is exported only without its gradient
        value = value.detach()
    if not hasattr(value, "__dlpack__"):
        return _by_interface(value, value.__cuda_array_interface__)
    capsule = value.__dlpack__()  # without being consumed, it gives the array back when it is collected
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    if tensor.strides:
        _check_gaps(shape, [tensor.strides[i] for i in range(tensor.ndim)])
    if tensor.device_type not in (_HOST, _CUDA, _PINNED):
        raise ValueError(f"it lies on a device of DLPack's kind {tensor.device_type}")
    dtype = _NAMES.get((tensor.code, tensor.bits), f"of DLPack's code {tensor.code} with {tensor.bits} bits")
    address = (tensor.data or 0) + tensor.offset
    return Foreign(address, shape, dtype, tensor.device_type == _CUDA, (capsule, value))


def _by_interface(value: Any, interface: dict[str, Any]) -> Foreign:
    shape, typestr = tuple(interface["shape"]), interface["typestr"]
    dtype = _TYPESTRS.get(typestr, typestr)
    if interface.get("strides"):
        size = int(typestr[2:])
        _check_gaps(shape, [stride // size for stride in interface["strides"]])
    return Foreign(int(interface["data"][0]), shape, dtype, True, value)


def _check_gaps(shape: tuple[int, ...], strides: list[int]) -> None:
    """`strides` in elements; those of dimensions of size 1 do not matter."""
    wanted = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    if math.prod(shape) and any(
        s != w for s, w, size in zip(strides, wanted, shape, strict=True) if size != 1
    ):
        raise ValueError(f"its strides are {strides}, expected {wanted} (an array in C order)")
