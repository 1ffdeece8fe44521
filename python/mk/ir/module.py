# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A module: the unit that is parsed, transformed and printed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mk.ir import native
from mk.ir.diagnostics import Diagnostic, PassError
from mk.ir.native import Block, Operation


class Module:
    """A program at any level. Make one with `Module.parse`.

    `run` and `set_attribute` change it: handles (`Operation`, `Value`, ...) taken before raise RuntimeError
    afterwards. A handle keeps its module alive, but not from changing.
    """

    def __init__(self, handle: native.Module) -> None:
        self._native = handle

    @classmethod
    def parse(cls, text: str, name: str = "module") -> Module:
        """Parses and verifies MLIR text, custom or generic form; `name` stands for the file in messages.

        Raises PassError with the position if the text is wrong.
        """
        handle, raw = native.parse(text, name)
        if handle is None:
            raise PassError("", _diagnostics(raw))
        return cls(handle)

    @property
    def operation(self) -> Operation:
        """The `builtin.module` itself."""
        return self._native.operation

    @property
    def body(self) -> Block:
        """Its only block; iterate over it for the top-level operations."""
        return self.operation.regions[0].blocks[0]

    def walk(self) -> Iterator[Operation]:
        """Every operation, outer before inner, in the order of the text.

        >>> [op.module_path for op in module.walk() if op.name == "mk.linear"]
        """
        return walk(self.operation)

    def run(
        self,
        pipeline: str,
        *,
        reproducer: str | os.PathLike[str] | None = None,
        verify: bool = True,
    ) -> list[Diagnostic]:
        """Runs passes in place and returns their warnings and remarks; other Python threads go on meanwhile.

            >>> module.run("mk-form-tasks,mk-tile")
            >>> module.run("builtin.module(canonicalize{max-iterations=2},func.func(cse))")

        Raises PassError if a pass fails; the module is then in an unspecified but valid-to-print state. With
        `reproducer`, the file of that name receives the module and the passes to replay the failure, even if a pass
        crashed; after a crash start a new process. `verify=False` skips the verification after each pass.
        """
        path = "" if reproducer is None else os.fspath(reproducer)
        ok, raw = self._native.run(pipeline, path, verify)
        diagnostics = _diagnostics(raw)
        if not ok:
            replay = (
                f"to replay: mk-opt --allow-unregistered-dialect --run-reproducer {path}"
                if path and os.path.exists(path)
                else ""
            )
            raise PassError(
                replay, diagnostics or [Diagnostic("error", f"the pipeline {pipeline} failed", "", "")]
            )
        return diagnostics

    def set_attribute(self, name: str, text: str) -> None:
        """Sets an attribute of the module's operation from its text.

        >>> module.set_attribute("mk.target", '#mk.target<kind = "cpu", features = "", workers = 2, lanes = 8, '
        ...                                   'bandwidth = 30>')
        """
        ok, raw = self._native.set_attribute(name, text)
        if not ok:
            raise PassError(f"{text} is no value for the attribute {name}", _diagnostics(raw))

    def emit_object(self, cpu: str, features: str) -> bytes:
        """The machine code of a module of the llvm dialect, as an ELF object; `cpu` and `features` in LLVM's names.

        If `mk.target` is a GPU, the text of its PTX; `cpu` is the architecture then.
        """
        code, raw = self._native.emit_object(cpu, features)
        if code is None:
            raise PassError("", _diagnostics(raw))
        return code

    def request_arrays(self) -> tuple[list[tuple[str, str, int, int]], int]:
        """(name, type, count, offset) of the arrays of the request block, and its bytes; needs `mk.options`."""
        found = self._native.request_arrays()
        if found is None:
            raise PassError("the module has no attribute mk.options")
        return found

    def text(self, *, generic: bool = False, locations: bool = False) -> str:
        """The text; `generic` needs no dialect to read it, `locations` adds the module path to each operation."""
        return self.operation.text(generic, locations)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<mk.ir.Module of {sum(1 for _ in self.body)} top-level operations>"


def walk(operation: Operation) -> Iterator[Operation]:
    """`operation` and everything inside it, outer before inner."""
    yield operation
    for region in operation.regions:
        for block in region:
            for inner in block:
                yield from walk(inner)


def _diagnostics(raw: list[native.RawDiagnostic]) -> list[Diagnostic]:
    return [Diagnostic(*one) for one in raw]
