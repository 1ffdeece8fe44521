# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The signature of an exported module: shapes in terms of batch and length, and the sizes that these may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy
import torch

from mk.errors import ImportModelError
from mk.importer.module_inputs import Input, bounds
from mk.importer.paths import module_path
from mk.importer.questions import Question
from mk.importer.row_axes import RowAxes, rows_of
from mk.importer.step import LARGEST_STEP
from mk.signature import Dim, Port, Signature


def describe(
    program: torch.export.ExportedProgram,
    axes: RowAxes,
    inputs: Sequence[Input],
    nodes: Sequence[torch.fx.Node],
    dtypes: Sequence[torch.dtype],
    tree: Any,
    symbols: tuple[Any, Any],
    calls: Sequence[Any],
    asked: Sequence[Question],
    together: int,
) -> Signature:
    labels = {
        symbol: label
        for symbol, label in zip(symbols, ("batch", "length"), strict=True)
        if symbol is not None
    }
    ports = []
    for given, node in zip(inputs, nodes, strict=True):
        rows = rows_of(axes[node])
        if labels.keys() != set(rows) or len(set(rows)) < len(rows):
            raise ImportModelError(
                f"input {given.name} of shape {list(given.value.shape)} does not have one row for each of the others; "
                "expected the same leading dimensions of all inputs"
            )
        ports.append(Port(given.name, _labelled(axes[node], labels), _dtype_name(given.value.dtype)))
    results = []
    for index, (node, dtype) in enumerate(zip(program.graph.output_node().args[0], dtypes, strict=True)):
        dims = axes[node] if isinstance(node, torch.fx.Node) else []
        if labels.keys() != set(rows_of(dims)):
            where = module_path(node) if isinstance(node, torch.fx.Node) else ""
            raise ImportModelError(
                f"{where or 'the module'}: result {index} does not have one row for each row of the inputs; mk cannot "
                "compile it"
            )
        results.append(Port(f"result{index}", _labelled(dims, labels), _dtype_name(dtype)))
    return Signature(
        tuple(ports),
        tuple(results),
        _structure(tree),
        {
            label: _limits(program, axes, symbol, label, inputs, nodes, asked)
            for symbol, label in labels.items()
        },
        bool(calls),
        any(not call.causal for call in calls),
        together,
    )


def _labelled(dims: Sequence[Sequence[Any]], labels: Mapping[Any, str]) -> tuple[tuple[str | int, ...], ...]:
    return tuple(
        tuple(labels.get(atom, atom) if not isinstance(atom, int) else atom for atom in dim) for dim in dims
    )


def _limits(
    program: torch.export.ExportedProgram,
    axes: RowAxes,
    symbol: Any,
    label: str,
    inputs: Sequence[Input],
    nodes: Sequence[torch.fx.Node],
    asked: Sequence[Question],
) -> Dim:
    """The sizes that the user allows, and for which the module is what was exported."""
    found = program.range_constraints.get(symbol)
    low, high = 1, axes.most.get(symbol, 1 << 31)
    if found is not None:
        low = max(low, int(found.lower) if found.lower.is_Integer else 1)
        high = min(high, int(found.upper) if found.upper.is_Integer else high)
    here = [
        (int(given.value.shape[axis]), given.dynamic.get(axis))
        for given, node in zip(inputs, nodes, strict=True)
        for axis in given.rows
        if node.meta["val"].shape[axis].node.expr == symbol
    ]
    for _, entry in here:
        low, high = max(low, bounds(entry)[0]), min(high, bounds(entry)[1])
    shapes = nodes[0].meta["val"].fake_mode.shape_env
    for guard in shapes.guards:
        expr = shapes.simplify(guard.expr)
        for least in expr.find(
            lambda part: type(part).__name__ == "Min"
        ):  # rows of a table, see RowAxes.most
            expr = expr.subs(least, symbol) if least.free_symbols == {symbol} else expr
        if symbol not in expr.free_symbols:
            continue
        same = (guard.expr, expr, sympy.Not(guard.expr), sympy.Not(expr))
        own = [question for question in asked if question.condition in same]
        if not own and all(expr.subs(dict.fromkeys(expr.free_symbols, n)) for n in (2, 3, 5, 64)):
            continue  # an operator looks for a size of 1, and means the same there
        if type(expr).__name__ == "Unequality" and set(expr.args) - {symbol} == {_one(expr)}:
            low = max(low, 2)
        elif expr.free_symbols != {symbol} or type(expr).__name__ not in _BOUNDS:
            where = next((question.where for question in own if question.where), "the module")
            raise ImportModelError(
                f"{where}: it depends on its {label} in a way that mk cannot check: {expr}"
            )
        elif not _is_bound(expr, symbol):
            low, high = _where_true(expr, symbol, _traced(nodes, symbol), low, high)
    if here and all(entry is None for _, entry in here):
        fixed = here[0][0]
        if not low <= fixed <= high:
            raise ImportModelError(f"the module does not work for a {label} of {fixed}, as the example has")
        low = high = fixed
    return Dim(low, high)


_BOUNDS = (
    "LessThan",
    "GreaterThan",
    "StrictLessThan",
    "StrictGreaterThan",
)  # in the range constraints already


def _is_bound(expr: Any, symbol: Any) -> bool:
    """Whether the size itself is compared with a number: then it is among the range constraints."""
    return symbol in expr.args and any(arg.is_Integer for arg in expr.args)


def _traced(nodes: Sequence[torch.fx.Node], symbol: Any) -> int:
    """The size that the module was traced with."""
    return next(
        int(size.node.hint)
        for node in nodes
        for size in node.meta["val"].shape
        if isinstance(size, torch.SymInt) and size.node.expr == symbol
    )


def _where_true(expr: Any, symbol: Any, traced: int, low: int, high: int) -> tuple[int, int]:
    """The sizes around the traced one for which the module takes the same way."""
    least = most = traced
    while least > low and expr.subs(symbol, least - 1):
        least -= 1
    while most < min(high, LARGEST_STEP) and expr.subs(symbol, most + 1):
        most += 1
    return least, high if most == LARGEST_STEP else most


def _one(expr: Any) -> Any:
    return next((arg for arg in expr.args if arg.is_Integer and int(arg) == 1), None)


def _structure(tree: Any) -> Any:
    """How results are arranged: "tensor", a list of names of a dict, or "tuple" or "list"."""
    if tree.is_leaf():
        return "tensor"
    children = tree.children() if callable(getattr(tree, "children", None)) else tree.children_specs
    if all(child.is_leaf() for child in children):
        if tree.type in (tuple, list):
            return tree.type.__name__
        if tree.type is dict and all(isinstance(key, str) for key in tree.context):
            return list(tree.context)
    raise ImportModelError(
        "the module returns nested results; expected a tensor, or a tuple, list or dict of tensors"
    )


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
