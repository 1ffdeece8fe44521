# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from collections.abc import Iterator
from typing import Any, TypedDict

from mk.ir.attributes import Type

RawDiagnostic = tuple[str, str, str, str]  # severity, message, location, module path

class Operation:
    """An operation of a module. Equal handles are the same operation."""

    @property
    def name(self) -> str:
        """With its dialect, e.g. `mk.linear`."""
    @property
    def operands(self) -> list[Value]: ...
    @property
    def results(self) -> list[Value]: ...
    @property
    def regions(self) -> list[Region]: ...
    @property
    def attributes(self) -> dict[str, Any]:
        """As int, float, bool, str, list, dict, NumPy array, Symbol, Type; anything else as Attribute (its text)."""
    @property
    def location(self) -> str:
        """`file:line:column` or a module path; empty if unknown."""
    @property
    def module_path(self) -> str:
        """The module of the model that the operation came from; empty if unknown."""
    @property
    def parent(self) -> Operation | None: ...
    def text(self, generic: bool = False, locations: bool = False) -> str: ...

class Region:
    @property
    def blocks(self) -> list[Block]: ...
    def __iter__(self) -> Iterator[Block]: ...

class Block:
    @property
    def arguments(self) -> list[Value]: ...
    @property
    def operations(self) -> list[Operation]: ...
    @property
    def parent(self) -> Operation | None: ...
    def __iter__(self) -> Iterator[Operation]: ...

class Value:
    """A result of an operation or an argument of a block. Equal handles are the same value, so it can be a key."""

    @property
    def type(self) -> Type: ...
    @property
    def owner(self) -> Operation | Block: ...
    @property
    def index(self) -> int:
        """Which result of its operation, or which argument of its block."""

class Module:
    @property
    def operation(self) -> Operation: ...
    def run(self, pipeline: str, reproducer: str, verify: bool) -> tuple[bool, list[RawDiagnostic]]: ...
    def set_attribute(self, name: str, text: str) -> tuple[bool, list[RawDiagnostic]]: ...
    def emit_object(self, cpu: str, features: str) -> tuple[bytes | None, list[RawDiagnostic]]: ...
    def request_arrays(self) -> tuple[list[tuple[str, str, int, int]], int] | None: ...

class AbiText(TypedDict):
    instruction: list[tuple[str, int, str]]
    context: list[tuple[str, int, str]]
    request_docs: dict[str, str]
    kind_classes: list[str]
    domains: list[str]
    layouts: list[str]

def parse(text: str, name: str) -> tuple[Module | None, list[RawDiagnostic]]: ...
def link_object(object: bytes) -> tuple[bytes | None, str | None]: ...
def host_cpu() -> str: ...
def host_features() -> str: ...
def abi() -> AbiText: ...
