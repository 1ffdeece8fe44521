# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One GPU: what it is, and its primary context, which PyTorch and others in this process share."""

from __future__ import annotations

import weakref
from types import TracebackType
from typing import Any

from mk.errors import MkError
from mk.runtime.gpu.driver import CudaError, Driver


class Gpu:
    """The device whose context is current on this thread, else the first. `with gpu:` makes its context current.

    Raises MkError if there is none, or if another process keeps it for itself.
    """

    def __init__(self, cuda: Driver) -> None:
        self.cuda = cuda
        self.ordinal = _current(cuda)
        if self.ordinal >= int(cuda("cuDeviceGetCount")):
            raise MkError("this machine has an NVIDIA driver but shows no GPU to this process")
        self._device = cuda("cuDeviceGet", self.ordinal)
        self.name = cuda("cuDeviceGetName", 256, self._device).split(b"\0")[0].decode()
        try:
            self._context = cuda("cuDevicePrimaryCtxRetain", self._device)
        except CudaError as error:
            if error.code == "CUDA_ERROR_DEVICE_UNAVAILABLE":
                raise MkError(f"{self.name}: another process has it for itself (exclusive mode)") from error
            if error.code == "CUDA_ERROR_OUT_OF_MEMORY":
                raise MkError(f"{self.name}: no memory is left for another process") from error
            raise
        self._release = weakref.finalize(self, cuda.quietly, "cuDevicePrimaryCtxRelease", self._device)

    def keep(self) -> None:
        """Never give the context back."""
        self._release.detach()

    def attribute(self, name: str) -> int:
        """A number of CUdevice_attribute, e.g. "MULTIPROCESSOR_COUNT"."""
        which = getattr(self.cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self.cuda("cuDeviceGetAttribute", which, self._device))

    @property
    def capability(self) -> tuple[int, int]:
        """Such as (9, 0)."""
        return self.attribute("COMPUTE_CAPABILITY_MAJOR"), self.attribute("COMPUTE_CAPABILITY_MINOR")

    @property
    def uuid(self) -> bytes:
        """16 bytes that no other GPU has."""
        return bytes(self.cuda("cuDeviceGetUuid", self._device).bytes)

    @property
    def multiprocessors(self) -> int:
        """SMs that this process may use."""
        return self.attribute("MULTIPROCESSOR_COUNT")

    def free_memory(self) -> tuple[int, int]:
        """Bytes that are free now, and in all."""
        with self:
            free, total = self.cuda("cuMemGetInfo")
        return int(free), int(total)

    def __enter__(self) -> Gpu:
        self.cuda("cuCtxPushCurrent", self._context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cuda.quietly("cuCtxPopCurrent")


def _current(cuda: Driver) -> int:
    context: Any = cuda("cuCtxGetCurrent")
    return int(cuda("cuCtxGetDevice")) if int(context) else 0
