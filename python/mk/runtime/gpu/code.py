# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The machine code of a program on the GPU: whether it fits this one, and how it is launched."""

from __future__ import annotations

import ctypes
import re
import weakref
from typing import TYPE_CHECKING, Any

from mk.errors import MkError, PackageError
from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.driver import CudaError

if TYPE_CHECKING:
    import numpy as np

    from mk.compiler.manifest import Manifest

    Array = np.ndarray[Any, Any]

PACK, RANDOM = "mk_pack", "mk_random"
_HELPERS = (1024, 256)  # CTAs and threads of a kernel that strides over its work
_AGAIN = "compile the model again"


def check_fits_gpu(gpu: Gpu, manifest: Manifest) -> None:
    """Raises PackageError if the code was made for another GPU, or needs more of it than there is."""
    arch, found, asked = manifest["target"]["arch"], gpu.capability, manifest["gpu"]
    assert asked is not None
    here = f"{gpu.name}, sm_{found[0]}{found[1]}"
    if not _runs(arch, found):
        raise PackageError(f"made for {arch}, but this GPU is {here}; {_AGAIN} for it")
    workers, there = manifest["target"]["workers"], gpu.multiprocessors
    if workers > there:
        raise PackageError(
            f"made for {workers} workers, one on each SM, but this GPU ({here}) has {there} SMs; "
            f"{_AGAIN} with workers={there}"
        )
    limit = gpu.attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
    if asked["shared"] > limit:
        raise PackageError(
            f"needs {asked['shared']} bytes of shared memory in a block, but this GPU ({here}) gives {limit}; "
            f"{_AGAIN} for it"
        )


class Code:
    """The kernels of a cubin. Raises PackageError if it does not load here or lacks one."""

    def __init__(self, gpu: Gpu, cubin: bytes, manifest: Manifest) -> None:
        asked = manifest["gpu"]
        assert asked is not None
        self._gpu, self._asked = gpu, asked
        self._workers = manifest["target"]["workers"]
        with gpu:
            self._module = self._load(cubin, manifest["target"]["arch"])
            self.unload = weakref.finalize(self, gpu.cuda.quietly, "cuModuleUnload", self._module)
            mains = [kernel["name"] for kernel in asked["kernels"]]
            self._functions = {name: self._function(name) for name in (*mains, PACK, RANDOM)}
            for name in mains:
                self._reserve_shared(name)

    def keep(self) -> None:
        """Never unload it."""
        self.unload.detach()

    def main(self, stream: Any, context: Array, tokens: int) -> None:
        """Starts the workers, all at once or none, for steps of at most `tokens` tokens.

        `context`: uint64 words, which they are given by value.
        """
        name = next(kernel["name"] for kernel in self._asked["kernels"] if tokens <= kernel["tokens"])
        arguments = ((ctypes.c_uint64 * len(context))(*context.tolist()),)
        self._launch("cuLaunchCooperativeKernel", name, self._workers, self._asked["threads"],
                     self._asked["shared"], stream, arguments)  # fmt: skip

    def helper(self, name: str, stream: Any, *arguments: Any) -> None:
        """Launches PACK or RANDOM with ctypes values."""
        self._launch("cuLaunchKernel", name, *_HELPERS, 0, stream, arguments)

    def _launch(
        self, call: str, name: str, grid: int, block: int, shared: int, stream: Any, values: tuple[Any, ...]
    ) -> None:
        places = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        extra = () if call == "cuLaunchCooperativeKernel" else (0,)
        self._gpu.cuda(call, self._functions[name], grid, 1, 1, block, 1, 1, shared, stream,
                       ctypes.addressof(places), *extra)  # fmt: skip

    def _load(self, cubin: bytes, arch: str) -> Any:
        try:
            return self._gpu.cuda("cuModuleLoadData", cubin)
        except CudaError as error:
            if error.code == "CUDA_ERROR_OUT_OF_MEMORY":
                raise
            raise PackageError(
                f"the code of this program, made for {arch}, cannot be loaded by this driver, which knows CUDA up to "
                f"{self._gpu.cuda.version()} ({error.code}); update the NVIDIA driver, or {_AGAIN}"
            ) from error

    def _function(self, name: str) -> Any:
        try:
            return self._gpu.cuda("cuModuleGetFunction", self._module, name.encode())
        except CudaError as error:
            raise PackageError(
                f"the code of this program has no kernel '{name}' ({error.code}); {_AGAIN}"
            ) from error

    def _reserve_shared(self, name: str) -> None:
        """Makes sure that all workers are resident at once: they wait for each other."""
        cuda, main = self._gpu.cuda, self._functions[name]
        threads, shared = self._asked["threads"], self._asked["shared"]
        which = cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        cuda("cuFuncSetAttribute", main, which, shared)
        of_each = int(cuda("cuOccupancyMaxActiveBlocksPerMultiprocessor", main, threads, shared))
        if of_each * self._gpu.multiprocessors < self._workers:
            raise MkError(
                f"{self._gpu.name} cannot hold the {self._workers} workers of this program at once: with {threads} "
                f"threads and {shared} bytes of shared memory each of its {self._gpu.multiprocessors} SMs holds "
                f"{of_each}; {_AGAIN} for this GPU"
            )


def _runs(arch: str, capability: tuple[int, int]) -> bool:
    """sm_90a runs on 9.0 alone, sm_100f and sm_100 on 10.0 and later minors of 10."""
    match = re.fullmatch(r"sm_(\d+)(\d)([af]?)", arch)
    if match is None:
        return False
    major, minor = int(match[1]), int(match[2])
    if match[3] == "a":
        return capability == (major, minor)
    return capability[0] == major and capability[1] >= minor
