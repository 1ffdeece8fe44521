# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rules of operators that work along columns: reductions, choices by rank, joins; see `mk.importer.axis_rules`."""

from __future__ import annotations

from typing import Any

import torch

from mk.importer.row_axes import Dims, Mixes, RowAxes, meet, rows_of


def place(index: Any, rank: int) -> int:
    """A dimension counted from the first."""
    if not isinstance(index, int):
        raise Mixes("a dimension is not a constant")
    return index % rank if rank else 0


def named(node: torch.fx.Node, *names: str) -> Any:
    """What the operator was called with, by the name that the argument has in its schema; None if it has none."""
    for index, argument in enumerate(node.target._schema.arguments):
        if argument.name in names:
            if index < len(node.args):
                return node.args[index]
            return node.kwargs.get(argument.name, argument.default_value)
    return None


def reduce(axes: RowAxes, node: torch.fx.Node) -> Any:
    """Over the dimensions `dim`, all of them if there are none named; of one result or two."""
    dims, over = axes[node.args[0]], named(node, "dim", "dims")
    places = range(len(dims)) if over in (None, []) else over if isinstance(over, list | tuple) else [over]
    gone = {place(i, len(dims)) for i in places}
    for i in gone:
        axes.columns_only(dims[i], "the reduction")
    results = _values(node)
    kept = results[0].ndim == len(dims)
    left = [[] if i in gone else dim for i, dim in enumerate(dims) if kept or i not in gone]
    return left if isinstance(node.meta["val"], torch.Tensor) else [left for _ in results]


def along(axes: RowAxes, node: torch.fx.Node) -> Any:
    """Works along `dim` or `dims`, which are columns of any number afterwards; of one result or several."""
    dims, over = axes[node.args[0]], named(node, "dim", "dims")
    places = list(over) if isinstance(over, list | tuple) else [over]
    if not places or over is None:
        places = list(range(len(dims)))
    gone = {place(i, len(dims)) for i in places}
    for i in gone:
        axes.columns_only(dims[i], "it")
    results = [
        [axes.atoms(value.shape[i]) if i in gone else dim for i, dim in enumerate(dims)]
        for value in _values(node)
    ]
    return results[0] if isinstance(node.meta["val"], torch.Tensor) else results


def gather(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims, index = axes[node.args[0]], axes[node.args[2]]
    along_dim = place(node.args[1], len(dims))
    axes.columns_only(dims[along_dim], "the choice")
    axes.columns_only(index[along_dim], "the choice")
    return [
        index[i] if i == along_dim else meet(a, b) for i, (a, b) in enumerate(zip(dims, index, strict=True))
    ]


def index_select(axes: RowAxes, node: torch.fx.Node) -> Dims:
    if rows_of(axes[node.args[2]]):
        raise Mixes("the choice goes over rows, which mk keeps apart")
    found: Dims = along(axes, node)
    return found


def repeat(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims, times = axes[node.args[0]], list(node.args[1])
    padded: Dims = [[] for _ in range(len(times) - len(dims))] + dims
    result: Dims = []
    for dim, count, size in zip(padded, times, node.meta["val"].shape, strict=True):
        if count != 1:
            axes.columns_only(dim, "the repetition")
        result.append(dim if count == 1 else axes.atoms(size))
    return result


def pad(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims, pads, shape = axes[node.args[0]], node.args[1], node.meta["val"].shape
    result = list(dims)
    for i in range(len(pads) // 2):
        if tuple(pads[2 * i : 2 * i + 2]) != (0, 0):
            axes.columns_only(dims[-1 - i], "the padding")
            result[-1 - i] = axes.atoms(shape[-1 - i])
    return result


def triangle(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = axes[node.args[0]]
    for dim in dims[-2:]:
        axes.columns_only(dim, "the triangle")
    return dims


def batch_norm(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = axes[node.args[0]]
    if named(node, "training"):
        raise Mixes("it takes its statistics from the batch")
    axes.columns_only(dims[1], "the norm")
    return dims


def group_norm(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = axes[node.args[0]]
    for dim in dims[1:]:
        axes.columns_only(dim, "the norm")
    return dims


def einsum(axes: RowAxes, node: torch.fx.Node) -> Dims:
    equation, operands = node.args[:2]
    if "->" not in equation or "." in equation:
        raise Mixes("its dimensions are not all named")
    inputs, _, result = equation.replace(" ", "").partition("->")
    letters: dict[str, Any] = {}
    for names, operand in zip(inputs.split(","), operands, strict=True):
        for letter, dim in zip(names, axes[operand], strict=True):
            letters[letter] = meet(letters.get(letter, []), dim)
    for letter, dim in letters.items():
        if letter not in result:
            axes.columns_only(dim, "the product")
    return [letters[letter] for letter in result]


def _values(node: torch.fx.Node) -> list[torch.Tensor]:
    value = node.meta["val"]
    return [value] if isinstance(value, torch.Tensor) else list(value)
