# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A compiled module of the user's own: tensors in, tensors out."""

from __future__ import annotations

import math
import os
import sys
import threading
from types import TracebackType
from typing import Any

import ml_dtypes
import numpy as np

from mk.errors import CompileError, InputError
from mk.program import Program, load
from mk.runtime.function_host import FunctionHost
from mk.signature import Port, Signature

Array = np.ndarray[Any, Any]
ROWS = ("batch", "length")  # of a row axis, in the order of the rows


class Function:
    """What `mk.compile_module(module, inputs=...)` returns: called like the module, it returns what that returns.

        >>> f = mk.compile_module(block, inputs=(torch.randn(2, 16, 64),))
        >>> y = f(x)

    `program` is a `Program` or the path of a package; `weights` as for `Program.engine`. Inputs are NumPy arrays or
    torch tensors of the dtypes of the example; results are torch tensors if any input is one, NumPy arrays otherwise.
    Of a program for a GPU, inputs may lie there (torch tensors, DLPack or `__cuda_array_interface__`); if one does, so
    do the results: torch tensors, or arrays with `__cuda_array_interface__`. A call is one launch, whatever its size.
    Calls have no memory of each other, and those of several threads wait for each other. The first call packs the
    weights and starts the workers; `close` ends them, as a `with` block does.

    Raises CompileError if the program is not one of a module, WeightError if the weights do not fit.
    """

    def __init__(
        self, program: Program | str | os.PathLike[str], weights: Any = None, *, stall_seconds: float = 2.0
    ) -> None:
        self.program = program if isinstance(program, Program) else load(program)
        signature = self.program.facts.signature
        if signature is None:
            raise CompileError("this is the program of a language model; use Program.engine or mk.LLM")
        self.signature: Signature = signature
        self._weights, self._stall_seconds = weights, stall_seconds
        self._host: FunctionHost | None = None
        self._closed, self._lock, self._running = False, threading.Lock(), threading.Lock()

    def __call__(self, *inputs: Any) -> Any:
        """The module's results. Raises InputError, before anything runs, for inputs that do not fit the signature."""
        signature = self.signature
        if len(inputs) != len(signature.inputs):
            names = ", ".join(port.name for port in signature.inputs)
            raise InputError(f"{len(inputs)} inputs; expected {len(signature.inputs)}: {names}")
        on_gpu = self.program.manifest["target"]["kind"] == "gpu"
        arrays = [
            _as_array(port, value, on_gpu) for port, value in zip(signature.inputs, inputs, strict=True)
        ]
        sizes: dict[str, int] = {}
        for port, array in zip(signature.inputs, arrays, strict=True):
            self._read_sizes(port, array, sizes)
        host = self._open()
        rows = [
            _to_rows(port, array, sizes, host) for port, array in zip(signature.inputs, arrays, strict=True)
        ]
        stay = not all(isinstance(array, np.ndarray) for array in arrays)
        with self._running:
            results = host.run(rows, sizes, stay)
            arranged = [
                _from_rows(port, result, sizes, host)
                for port, result in zip(signature.results, results, strict=True)
            ]
        torch = sys.modules.get("torch")
        if torch is not None and any(isinstance(value, torch.Tensor) for value in inputs):
            arranged = [
                _as_tensor(torch, port, a) for port, a in zip(signature.results, arranged, strict=True)
            ]
        if signature.structure == "tensor":
            return arranged[0]
        if isinstance(signature.structure, str):
            return {"tuple": tuple, "list": list}[signature.structure](arranged)
        return dict(zip(signature.structure, arranged, strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the package, one file, without the weights. Raises PackageError if it cannot be written."""
        self.program.save(path)

    def close(self) -> None:
        """Ends the workers and frees the memory. A second call does nothing."""
        self._closed = True
        if self._host is not None:
            self._host.close()

    def __enter__(self) -> Function:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        takes = ", ".join(f"{port.name}: {_shape_text(port)} {port.dtype}" for port in self.signature.inputs)
        gives = ", ".join(f"{_shape_text(port)} {port.dtype}" for port in self.signature.results)
        return f"<mk.Function {self.program.facts.name}({takes}) -> {gives}>"

    def _open(self) -> FunctionHost:
        with self._lock:
            if self._closed:
                raise InputError("this function is closed")
            if self._host is None:
                self._host = FunctionHost(self.program, self._weights, stall_seconds=self._stall_seconds)
            return self._host

    def _read_sizes(self, port: Port, array: Any, sizes: dict[str, int]) -> None:
        wrong = InputError(
            f"input {port.name} has the shape {list(array.shape)}; expected {_shape_text(port)}"
        )
        if array.ndim != len(port.dims):
            raise wrong
        for size, dim in zip(array.shape, port.dims, strict=True):
            fixed = math.prod(atom for atom in dim if isinstance(atom, int))
            labels = [atom for atom in dim if isinstance(atom, str)]
            if not labels and size != fixed:
                raise wrong
            for label in labels:
                limits = self.signature.dims[label]
                if sizes.setdefault(label, size) != size:
                    raise InputError(
                        f"input {port.name} has a {label} of {size}, another input one of {sizes[label]}"
                    )
                if not limits.low <= size <= limits.high:
                    expected = limits.low if limits.low == limits.high else f"{limits.low} .. {limits.high}"
                    raise InputError(f"input {port.name} has a {label} of {size}; expected {expected}")


def _shape_text(port: Port) -> str:
    return "[" + ", ".join(" * ".join(map(str, dim)) or "1" for dim in port.dims) + "]"


def _as_array(port: Port, value: Any, on_gpu: bool) -> Any:
    """A NumPy array, or a GpuArray if the program and the value are on a GPU."""
    torch = sys.modules.get("torch")
    array = None
    if torch is not None and isinstance(value, torch.Tensor):
        value = _dense(port, value.detach())
        if value.device.type == "cpu":
            array = (
                value.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
                if value.dtype is torch.bfloat16
                else value.numpy()
            )
        elif not on_gpu or value.device.type != "cuda":
            expected = "on the CPU or on the program's GPU" if on_gpu else "on the CPU"
            raise InputError(f"input {port.name} is on the device {value.device}; expected it {expected}")
    elif isinstance(value, np.ndarray):
        array = value
    if array is None and on_gpu:
        from mk.runtime.gpu.given import on_gpu as find

        array = find(port.name, value)
    if array is None:
        raise InputError(
            f"input {port.name} is a {type(value).__name__}; expected a NumPy array or a torch tensor"
        )
    name = array.dtype.name if isinstance(array, np.ndarray) else array.dtype
    if name != port.dtype:
        raise InputError(f"input {port.name} is {name}; expected {port.dtype}")
    return array


def _dense(port: Port, tensor: Any) -> Any:
    """The tensor with its numbers in memory as they are. Raises InputError for a layout that has none."""
    if str(tensor.layout) != "torch.strided" or tensor.is_quantized or tensor.is_nested:
        kind = "quantized" if tensor.is_quantized else "nested" if tensor.is_nested else str(tensor.layout)
        raise InputError(f"input {port.name} is a {kind} tensor; expected an ordinary one")
    return tensor.resolve_conj().resolve_neg()


def _as_tensor(torch: Any, port: Port, array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        tensor = torch.as_tensor(array, device="cuda")  # of the same memory
        return tensor.view(torch.bfloat16) if port.dtype == "bfloat16" else tensor
    array = np.ascontiguousarray(array)
    if port.dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _rows_first(port: Port) -> tuple[list[str | int], list[int]]:
    """The parts of all dimensions, and their order as rows: batch, length, then columns as they come."""
    atoms = [atom for dim in port.dims for atom in dim]
    rows = [atoms.index(label) for label in ROWS if label in atoms]
    return atoms, rows + [i for i, atom in enumerate(atoms) if isinstance(atom, int)]


def _are_rows(port: Port) -> bool:
    """Whether an array lies as its rows do, in float32."""
    atoms, order = _rows_first(port)
    return port.dtype == "float32" and order == list(range(len(atoms)))


def _to_rows(port: Port, array: Any, sizes: dict[str, int], host: FunctionHost) -> Any:
    count = math.prod(sizes.values())
    if not isinstance(array, np.ndarray):
        if _are_rows(port):
            return array.rows(count)
        array = host.download(array)
    atoms, order = _rows_first(port)
    parts = array.reshape([sizes[atom] if isinstance(atom, str) else atom for atom in atoms])
    parts = parts.transpose(order)
    if array.dtype.kind in "iu":
        return parts.reshape(count)
    return parts.reshape(count, -1).astype(np.float32, copy=False)


def _from_rows(port: Port, rows: Any, sizes: dict[str, int], host: FunctionHost) -> Any:
    dims = [math.prod(sizes[atom] if isinstance(atom, str) else atom for atom in dim) for dim in port.dims]
    if not isinstance(rows, np.ndarray):
        if _are_rows(port):
            return rows.shaped(dims)
        return host.upload(_from_rows(port, host.download(rows), sizes, host))
    atoms, order = _rows_first(port)
    shape = [sizes[atom] if isinstance(atom, str) else atom for atom in atoms]
    parts = rows.reshape([shape[i] for i in order]).transpose(np.argsort(order))
    dtype = ml_dtypes.bfloat16 if port.dtype == "bfloat16" else np.dtype(port.dtype)
    return np.ascontiguousarray(parts.reshape(dims).astype(dtype, copy=False))
