# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A compiled module of the user's own: tensors in, tensors out."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import ml_dtypes
import numpy as np

from mk.errors import CompileError, InputError
from mk.program import Program, load
from mk.runtime.host import Host
from mk.runtime.sampling import Sampling
from mk.signature import Port, Signature

Array = np.ndarray[Any, Any]
ROWS = ("batch", "length")  # of a row axis, in the order of the rows
_NO_ROWS = np.zeros(0, np.int32)


class Function:
    """What `mk.compile_module(module, inputs=...)` returns: called like the module, it returns what that returns.

        >>> f = mk.compile_module(block, inputs=(torch.randn(2, 16, 64),))
        >>> y = f(x)

    `program` is a `Program` or the path of a package; `weights` as for `Program.engine`. Inputs are NumPy arrays or
    torch tensors of the dtypes of the example; results are torch tensors if any input is one, NumPy arrays otherwise.
    Calls have no memory of each other. The first call packs the weights and starts the workers; `close` ends them, as a
    `with` block does.

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
        self._runner: _Runner | None = None
        self._closed, self._lock = False, threading.Lock()

    def __call__(self, *inputs: Any) -> Any:
        """The module's results. Raises InputError, before anything runs, for inputs that do not fit the signature."""
        signature = self.signature
        if len(inputs) != len(signature.inputs):
            names = ", ".join(port.name for port in signature.inputs)
            raise InputError(f"{len(inputs)} inputs; expected {len(signature.inputs)}: {names}")
        arrays = [_as_array(port, value) for port, value in zip(signature.inputs, inputs, strict=True)]
        sizes: dict[str, int] = {}
        for port, array in zip(signature.inputs, arrays, strict=True):
            self._read_sizes(port, array, sizes)
        runner = self._open()
        rows = [_to_rows(port, array, sizes) for port, array in zip(signature.inputs, arrays, strict=True)]
        results = runner.run(rows, sizes)
        arranged = [
            _from_rows(port, result, sizes) for port, result in zip(signature.results, results, strict=True)
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
        if self._runner is not None:
            self._runner.close()

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

    def _open(self) -> _Runner:
        with self._lock:
            if self._closed:
                raise InputError("this function is closed")
            if self._runner is None:
                self._runner = _Runner(self.program, self._weights, stall_seconds=self._stall_seconds)
            return self._runner

    def _read_sizes(self, port: Port, array: Array, sizes: dict[str, int]) -> None:
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


class _Runner(Host):
    """Runs rows through the program in steps of as many as it takes."""

    def __init__(self, program: Program, weights: Any, *, stall_seconds: float) -> None:
        super().__init__(program, weights, stall_seconds=stall_seconds)
        signature = program.facts.signature
        assert signature is not None
        self._signature, plan, self._sizes = (
            signature,
            program.manifest["function"],
            program.manifest["sizes"],
        )
        names = [one["buffer"] for one in plan["inputs"]]
        self._inputs = [self._device.rows(name) for name in names]
        self._limits = [one["limit"] for one in plan["inputs"]]
        self._results = [self._device.rows(name) for name in plan["results"]]
        most = [self._sizes["max_length"]] if signature.attends else []
        most += [] if plan["positions"] is None else [plan["positions"]]
        self._most = min(most, default=1 << 31)
        if signature.attends:  # slots are reused by every call, each to its full length
            self._pages.grow(dict.fromkeys(range(self._sizes["max_sequences"]), self._sizes["max_length"]))

    def run(self, inputs: Sequence[Array], sizes: dict[str, int]) -> list[Array]:
        """Rows [N, columns] or integers [N] of each input to rows of each result."""
        for port, rows, limit in zip(self._signature.inputs, inputs, self._limits, strict=False):
            if limit is not None and rows.size and not 0 <= rows.min() <= rows.max() < limit:
                bad = int(rows.min() if rows.min() < 0 else rows.max())
                raise InputError(f"input {port.name} holds {bad}; expected 0 .. {limit - 1}")
        length, count = sizes["length"], len(inputs[0])
        if length > self._most:
            raise InputError(f"a length of {length}; the program takes at most {self._most}")
        if self._signature.together:
            self._check_together(count, length)
        results = [np.empty((count, rows.shape[1]), np.float32) for rows in self._results]
        with self._device.exclusive():
            for begin, end, slots, positions in self._parts(count, length):
                n = end - begin
                for target, rows in zip(self._inputs, inputs, strict=False):
                    target[:n] = rows[begin:end]
                for target in self._inputs[len(inputs) :]:
                    target[:n] = length - 1
                request = self._device.request
                request.set_tokens(_NO_ROWS if not n else np.zeros(n, np.int32), positions, slots)
                request.set_rows(_NO_ROWS, 1, _GREEDY)
                request.set_stops(())
                self._device.run()
                for result, computed in zip(results, self._results, strict=True):
                    result[begin:end] = computed[:n]
        return results

    def _check_together(self, count: int, length: int) -> None:
        """A decision for all rows of a call is made in one step."""
        entries = self._sizes["max_sequences"] if self._signature.attends else count
        most = min(self._sizes["max_tokens"], entries * length)
        if count > most:
            raise InputError(
                f"{count} rows; the module decides for all rows of a call at once, and the program takes at most "
                f"{most} in a step (options max_tokens and max_sequences)"
            )

    def _parts(self, count: int, length: int) -> Iterator[tuple[int, int, Array, Array]]:
        """Rows [begin, end) of each step, their slots and positions; rows that see each other come together."""
        most = self._sizes["max_tokens"]
        if not self._signature.attends:
            for begin in range(0, count, most):
                end = min(begin + most, count)
                yield (
                    begin,
                    end,
                    np.zeros(end - begin, np.int32),
                    np.arange(begin, end, dtype=np.int32) % length,
                )
            return
        entries = max(1, min(most // length, self._sizes["max_sequences"]))
        for first in range(0, count, entries * length):
            last = min(first + entries * length, count)
            for begin in range(
                first, last, most
            ):  # one entry longer than a step: those before are in the cache
                rows = np.arange(begin, min(begin + most, last), dtype=np.int32)
                yield begin, begin + len(rows), (rows - first) // length, (rows - first) % length


_GREEDY = Sampling()


def _shape_text(port: Port) -> str:
    return "[" + ", ".join(" * ".join(map(str, dim)) or "1" for dim in port.dims) + "]"


def _as_array(port: Port, value: Any) -> Array:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            raise InputError(f"input {port.name} is on the device {value.device}; expected it on the CPU")
        value = value.detach()
        array = (
            value.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
            if value.dtype is torch.bfloat16
            else value.numpy()
        )
    elif isinstance(value, np.ndarray):
        array = value
    else:
        raise InputError(
            f"input {port.name} is a {type(value).__name__}; expected a NumPy array or a torch tensor"
        )
    if array.dtype.name != port.dtype:
        raise InputError(f"input {port.name} is {array.dtype.name}; expected {port.dtype}")
    return array


def _as_tensor(torch: Any, port: Port, array: Array) -> Any:
    array = np.ascontiguousarray(array)
    if port.dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _rows_first(port: Port) -> tuple[list[str | int], list[int]]:
    """The parts of all dimensions, and their order as rows: batch, length, then columns as they come."""
    atoms = [atom for dim in port.dims for atom in dim]
    rows = [atoms.index(label) for label in ROWS if label in atoms]
    return atoms, rows + [i for i, atom in enumerate(atoms) if isinstance(atom, int)]


def _to_rows(port: Port, array: Array, sizes: dict[str, int]) -> Array:
    atoms, order = _rows_first(port)
    parts = array.reshape([sizes[atom] if isinstance(atom, str) else atom for atom in atoms])
    parts = parts.transpose(order)
    count = math.prod(sizes.values())
    if array.dtype.kind in "iu":
        return parts.reshape(count)
    return parts.reshape(count, -1).astype(np.float32, copy=False)


def _from_rows(port: Port, rows: Array, sizes: dict[str, int]) -> Array:
    atoms, order = _rows_first(port)
    shape = [sizes[atom] if isinstance(atom, str) else atom for atom in atoms]
    parts = rows.reshape([shape[i] for i in order]).transpose(np.argsort(order))
    dims = [math.prod(sizes[atom] if isinstance(atom, str) else atom for atom in dim) for dim in port.dims]
    dtype = ml_dtypes.bfloat16 if port.dtype == "bfloat16" else np.dtype(port.dtype)
    return np.ascontiguousarray(parts.reshape(dims).astype(dtype, copy=False))
