# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which axes of a module's tensors are rows, and whether any operator lets rows meet.

A dimension is a list of *atoms*, outermost first: the symbol of a row axis (batch, length), or a number of columns.
`x.view(batch * length, 4, 16)` has the dimensions [[batch, length], [4], [16]]. An operator that keeps every row apart
keeps the atoms of rows whole; one that mixes rows, such as a mean over the batch, is refused here, where both axes can
still be told apart. Only attention may look along the length, and is checked by `mk.importer.sdpa`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from mk.errors import ImportModelError
from mk.importer.paths import module_path

Atom = Any  # a sympy symbol of rows, or an int greater than one
Dims = list[list[Atom]]


# They take sizes, and mean the same of each row whatever these are.
_SIZED = frozenset(
    (
        *("view", "reshape", "_unsafe_view", "unflatten", "expand", "slice", "sym_size", "arange"),
        *("zeros", "ones", "full", "new_zeros", "new_ones", "new_full"),
    )
)


class Mixes(Exception):
    """An operator does not keep rows apart; the message says why, without the place."""


def rows_of(dims: Dims) -> list[Atom]:
    """The symbols of rows in their order."""
    return [atom for dim in dims for atom in dim if not isinstance(atom, int)]


class RowAxes:
    """The atoms of every tensor of a graph, found in one walk over it. `symbols`: those of rows."""

    def __init__(self, program: torch.export.ExportedProgram, symbols: Sequence[Any]) -> None:
        from mk.importer.axis_rules import RULES

        self._rules = RULES
        self.symbols = frozenset(symbols)
        self.most: dict[Any, int] = {}  # the largest size that an operator works for
        self._dims: dict[torch.fx.Node, Any] = {}
        for node in program.graph.nodes:
            try:
                self._visit(node)
            except Mixes as reason:
                raise ImportModelError(
                    f"{module_path(node) or 'the module'}: {node.target}: {reason}"
                ) from None

    def __getitem__(self, node: Any) -> Dims:
        found: Dims = self._dims[node]
        return found

    def __contains__(self, node: Any) -> bool:
        return node in self._dims

    # ---------------------------------------------------------------------------------------------------- operators

    def _visit(self, node: torch.fx.Node) -> None:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, torch.Tensor):
            self._dims[node] = [self.atoms(size) for size in value.shape]
        elif node.op == "call_function":
            if not isinstance(value, torch.Tensor | list | tuple):
                return  # a size
            found = self._apply(node)
            self._dims[node] = found
            pairs = [(found, value)] if isinstance(value, torch.Tensor) else zip(found, value, strict=True)
            for dims, one in pairs:
                self._check(dims, one)

    def _apply(self, node: torch.fx.Node) -> Any:
        name = str(node.target).removeprefix("aten.").removeprefix("mk.").partition(".")[0]
        if name == "<built-in function getitem>":
            return self._dims[node.args[0]][node.args[1]]
        if self._sizes_in(node) and name not in _SIZED:
            raise Mixes("it computes with the number of rows")
        if rule := self._rules.get(name):
            return rule(self, node)
        if torch.Tag.pointwise in getattr(node.target, "tags", ()):
            return self._pointwise(node)
        tensors = [dims for dims in map(self._dims.get, node.all_input_nodes) if dims is not None]
        if any(rows_of(dims) for dims in tensors):
            raise Mixes("it is not known to keep rows apart")
        return self._columns(node)

    def _check(self, dims: Dims, value: torch.Tensor) -> None:
        rows = rows_of(dims)
        if len(set(rows)) < len(rows):
            raise Mixes("it relates rows to each other")
        for dim, size in zip(dims, value.shape, strict=True):
            if self.atoms(size, split=dim) is None:
                raise Mixes(f"its result {list(value.shape)} does not follow from its operands")

    def atoms(self, size: Any, split: list[Atom] | None = None) -> Any:
        """The atoms of a size; with `split`, only whether these multiply to it (None if not)."""
        expr: Any = integer(size.node.expr) if isinstance(size, torch.SymInt) else int(size)
        if type(expr).__name__ == "Min":  # rows of a table, which must have that many
            (most,) = (arg for arg in expr.args if arg.is_Integer)
            (expr,) = (arg for arg in expr.args if not arg.is_Integer)
            self.most[expr] = min(int(most), self.most.get(expr, int(most)))
        if split is not None:
            product = math.prod(split)
            return split if product == expr else None
        if isinstance(expr, int):
            return [] if expr == 1 else [expr]
        if expr in self.symbols:
            return [expr]
        raise Mixes(f"a size is {expr}")

    def _sizes_in(self, node: torch.fx.Node) -> bool:
        """Whether a number that depends on how many rows there are is among the operands."""
        values = [n.meta.get("val") for n in node.all_input_nodes]
        return any(isinstance(v, torch.SymInt | torch.SymFloat | torch.SymBool) for v in values)

    def _columns(self, node: torch.fx.Node) -> Any:
        value = node.meta["val"]
        if isinstance(value, torch.Tensor):
            return [self.atoms(size) for size in value.shape]
        return [[self.atoms(size) for size in one.shape] for one in value]

    def _pointwise(self, node: torch.fx.Node) -> Dims:
        rank = node.meta["val"].ndim
        result: Dims = [[] for _ in range(rank)]
        for operand in node.all_input_nodes:
            dims = self._dims[operand]
            for place, dim in enumerate(dims, rank - len(dims)):
                result[place] = meet(result[place], dim)
        return result

    def columns_only(self, dim: list[Atom], what: str) -> None:
        """Raises Mixes if there are rows along `dim`."""
        if rows_of([dim]):
            raise Mixes(f"{what} goes over rows, which mk keeps apart")


def meet(a: list[Atom], b: list[Atom]) -> list[Atom]:
    """What two dimensions of operands become that are broadcast together."""
    if not a or not b:
        return a or b
    if rows_of([a]) != rows_of([b]) or (rows_of([a]) and merged(a) != merged(b)):
        raise Mixes("it relates rows to each other")
    return a


def merged(atoms: Sequence[Atom]) -> list[Atom]:
    """With neighbouring numbers as one."""
    result: list[Atom] = []
    for atom in atoms:
        if isinstance(atom, int) and result and isinstance(result[-1], int):
            result[-1] *= atom
        else:
            result.append(atom)
    return result


def integer(expr: Any) -> Any:
    """A number as an int, anything else as it is."""
    return int(expr) if expr.is_Integer else expr
