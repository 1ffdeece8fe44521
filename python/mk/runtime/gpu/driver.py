# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The CUDA driver, one checked call at a time."""

from __future__ import annotations

from typing import Any

from mk.errors import MkError

INSTALL = "pip install 'mk-compiler[gpu]'"


class CudaError(MkError):
    """A call that the driver refused; `code` is the driver's name of the reason."""

    def __init__(self, call: str, code: str, text: str) -> None:
        super().__init__(f"the CUDA driver refuses {call}: {code} ({text})")
        self.code = code


class Driver:
    """`cuda("cuMemAlloc", size)` calls and returns what the function returns besides its code: nothing, one, a tuple.

    Raises CudaError unless the call succeeds, MkError if the driver does not know the function.
    """

    def __init__(self, bindings: Any) -> None:
        self._bindings = bindings

    def __getattr__(self, name: str) -> Any:
        """Constants: `cuda.CUdevice_attribute`."""
        return getattr(self._bindings, name)

    def __call__(self, name: str, *arguments: Any) -> Any:
        result = self._call(name, arguments)
        if int(result[0]) != 0:
            raise CudaError(name, result[0].name, self._text(result[0]))
        return result[1] if len(result) == 2 else result[1:] or None

    def quietly(self, name: str, *arguments: Any) -> None:
        """For freeing: after a fault every call fails, and nothing more can be done about it."""
        self._call(name, arguments)

    def idle(self, stream: Any) -> bool:
        """Whether all work of a stream has ended. Raises CudaError if it ended badly."""
        (code,) = self._call("cuStreamQuery", (stream,))
        if code.name == "CUDA_ERROR_NOT_READY":
            return False
        if int(code) != 0:
            raise CudaError("cuStreamQuery", code.name, self._text(code))
        return True

    def version(self) -> str:
        """The newest CUDA that the driver knows, such as "13.0"."""
        number = int(self("cuDriverGetVersion"))
        return f"{number // 1000}.{number % 1000 // 10}"

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        try:
            return getattr(self._bindings, name)(*arguments)
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise
            # The bindings' own word for a function that the library on this machine does not have.
            raise MkError(f"the NVIDIA driver is too old: it has no {name} ({_line(error)})") from error

    def _text(self, code: Any) -> str:
        found, text = self._bindings.cuGetErrorString(code)
        return text.decode() if int(found) == 0 else "unknown"


def bindings() -> Any:
    """The module cuda.bindings.driver. Raises ImportError."""
    from cuda.bindings import driver

    return driver


def open_driver() -> Driver:
    """The driver of this machine, initialised. Raises MkError if there is none, or no GPU."""
    try:
        cuda = Driver(bindings())
    except ImportError as error:
        raise MkError(
            f"a program for a GPU needs the package cuda-bindings, which cannot be imported ({_line(error)}); {INSTALL}"
        ) from error
    try:
        cuda("cuInit", 0)
    except CudaError as error:
        if error.code == "CUDA_ERROR_NO_DEVICE":
            raise MkError("this machine has an NVIDIA driver but shows no GPU to this process") from error
        raise
    except Exception as error:  # the bindings have their own for a library that is not there
        raise MkError(f"this machine has no NVIDIA driver, so no GPU to run on ({_line(error)})") from error
    return cuda


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
