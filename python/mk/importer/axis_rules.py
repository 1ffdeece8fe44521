# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What operators do to the axes of rows, one rule for each kind of operator; see `mk.importer.row_axes`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from mk.importer import column_rules as columns
from mk.importer.row_axes import Atom, Dims, Mixes, RowAxes, integer, meet, merged, rows_of

Rule = Callable[[RowAxes, torch.fx.Node], Any]


def _dim(index: Any, rank: int) -> int:
    if not isinstance(index, int):
        raise Mixes("a dimension is not a constant")
    return index % rank if rank else 0


def _argument(node: torch.fx.Node, place: int, name: str, default: Any = None) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _same(axes: RowAxes, node: torch.fx.Node) -> Dims:
    return axes[node.args[0]]


def _reshape(axes: RowAxes, node: torch.fx.Node) -> Dims:
    """The atoms in reading order, dealt out to the new sizes."""
    left = merged([atom for dim in axes[node.args[0]] for atom in dim])
    result: Dims = []
    for size in node.meta["val"].shape:
        wanted = integer(size.node.expr) if isinstance(size, torch.SymInt) else int(size)
        dim: list[Atom] = []
        while wanted != 1:
            if not left:
                raise Mixes("the new shape does not keep rows apart")
            atom = left[0]
            if isinstance(atom, int):
                number = int(wanted if isinstance(wanted, int) else wanted.as_coeff_Mul()[0])
                part = math.gcd(atom, number)
                if part == 1:
                    raise Mixes("the new shape does not keep rows apart")
                dim.append(part)
                wanted = wanted // part if isinstance(wanted, int) else integer(wanted / part)
                left[0] //= part
                if left[0] == 1:
                    left.pop(0)
            else:
                quotient = integer(wanted / atom) if not isinstance(wanted, int) else None
                if quotient is None or (not isinstance(quotient, int) and not quotient.is_polynomial()):
                    raise Mixes("the new shape does not keep rows apart")
                dim.append(atom)
                wanted = quotient
                left.pop(0)
        result.append(merged(dim))
    return result


def _transpose(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = list(axes[node.args[0]])
    if len(node.args) == 1:  # t()
        return dims[::-1]
    a, b = (_dim(node.args[i], len(dims)) for i in (1, 2))
    dims[a], dims[b] = dims[b], dims[a]
    return dims


def _permute(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = axes[node.args[0]]
    return [dims[_dim(i, len(dims))] for i in node.args[1]]


def _unsqueeze(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = list(axes[node.args[0]])
    dims.insert(_dim(node.args[1], len(dims) + 1), [])
    return dims


def _squeeze(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims, dropped = axes[node.args[0]], _argument(node, 1, "dim")
    places = (
        range(len(dims)) if dropped is None else dropped if isinstance(dropped, list | tuple) else [dropped]
    )
    gone = {_dim(i, len(dims)) for i in places}
    if any(rows_of([dims[i]]) for i in gone):
        raise Mixes("it drops dimensions that may be rows, if there is one")
    return [dim for i, dim in enumerate(dims) if i not in gone or dim]


def _expand(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims, sizes = axes[node.args[0]], node.meta["val"].shape
    padded: Dims = [[] for _ in range(len(sizes) - len(dims))] + dims
    return [dim or axes.atoms(size) for dim, size in zip(padded, sizes, strict=True)]


def _select(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = list(axes[node.args[0]])
    place = _dim(node.args[1], len(dims))
    axes.columns_only(dims.pop(place), "the choice of one")
    return dims


def _slice(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = list(axes[node.args[0]])
    place = _dim(_argument(node, 1, "dim", 0), len(dims))
    for bound in node.args[2:3] + node.args[4:]:
        if isinstance(bound, torch.fx.Node):
            raise Mixes("it begins at a number of rows")
    size, before = node.meta["val"].shape[place], node.args[0].meta["val"].shape[place]
    if str(size) != str(before):
        axes.columns_only(dims[place], "the slice")
        dims[place] = axes.atoms(size)
    return dims


def _split(axes: RowAxes, node: torch.fx.Node) -> list[Dims]:
    dims = axes[node.args[0]]
    axes.columns_only(dims[_dim(_argument(node, 2, "dim", 0), len(dims))], "the split")
    place = _dim(_argument(node, 2, "dim", 0), len(dims))
    return [
        [axes.atoms(one.shape[i]) if i == place else dim for i, dim in enumerate(dims)]
        for one in node.meta["val"]
    ]


def _unbind(axes: RowAxes, node: torch.fx.Node) -> list[Dims]:
    dims = axes[node.args[0]]
    place = _dim(_argument(node, 1, "dim", 0), len(dims))
    axes.columns_only(dims[place], "the split")
    return [[dim for i, dim in enumerate(dims) if i != place] for _ in node.meta["val"]]


def _cat(axes: RowAxes, node: torch.fx.Node) -> Dims:
    parts = [axes[part] for part in node.args[0]]
    place = _dim(_argument(node, 1, "dim", 0), len(parts[0]))
    result: Dims = [[] for _ in parts[0]]
    for part in parts:
        axes.columns_only(part[place], "the join")
        result = [meet(a, b) if i != place else [] for i, (a, b) in enumerate(zip(result, part, strict=True))]
    result[place] = axes.atoms(node.meta["val"].shape[place])
    return result


def _stack(axes: RowAxes, node: torch.fx.Node) -> Dims:
    parts = [axes[part] for part in node.args[0]]
    result = parts[0]
    for part in parts[1:]:
        result = [meet(a, b) for a, b in zip(result, part, strict=True)]
    place = _dim(_argument(node, 1, "dim", 0), len(result) + 1)
    return [*result[:place], [len(parts)] if len(parts) > 1 else [], *result[place:]]


def _linear(axes: RowAxes, node: torch.fx.Node) -> Dims:
    return _multiply(axes, axes[node.args[0]], axes[node.args[1]][::-1])


def _matmul(axes: RowAxes, node: torch.fx.Node) -> Dims:
    return _multiply(axes, axes[node.args[0]], axes[node.args[1]])


def _addmm(axes: RowAxes, node: torch.fx.Node) -> Dims:
    return _multiply(axes, axes[node.args[1]], axes[node.args[2]])


def _multiply(axes: RowAxes, left: Dims, right: Dims) -> Dims:
    axes.columns_only(left[-1], "the product")
    axes.columns_only(right[-2] if len(right) > 1 else right[0], "the product")
    batch = _broadcast(left[:-2], right[:-2])
    return [*batch, *left[-2:-1], *right[-1:]] if len(right) > 1 else [*left[:-1]]


def _broadcast(left: Dims, right: Dims) -> Dims:
    rank = max(len(left), len(right))
    pad: list[Dims] = [[[]] * (rank - len(dims)) + dims for dims in (left, right)]
    return [meet(a, b) for a, b in zip(*pad, strict=True)]


def _norm(axes: RowAxes, node: torch.fx.Node) -> Dims:
    dims = axes[node.args[0]]
    for dim in dims[len(dims) - len(node.args[1]) :]:
        axes.columns_only(dim, "the norm")
    return dims


def _lookup(axes: RowAxes, node: torch.fx.Node) -> Dims:
    table, indices = axes[node.args[0]], axes[node.args[1]]
    axes.columns_only(table[0], "the lookup")
    return [*indices, *table[1:]]


def _attend(axes: RowAxes, node: torch.fx.Node) -> Dims:
    """Checked by mk.importer.sdpa: the length stays, the last axis is that of the values."""
    query, value = axes[node.args[0]], axes[node.args[2]]
    return [*query[:-1], value[-1]]


def _made(axes: RowAxes, node: torch.fx.Node) -> Dims:
    """Made of sizes alone, such as positions or zeros."""
    return [axes.atoms(size) for size in node.meta["val"].shape]


def _choose(axes: RowAxes, node: torch.fx.Node) -> Dims:
    predicate, taken, other = (axes[operand] for operand in node.args)
    if rows_of(predicate):
        raise Mixes("its predicate has a number for each row; expected one of the whole call")
    return [meet(a, b) for a, b in zip(taken, other, strict=True)]


def _across_rows(axes: RowAxes, node: torch.fx.Node) -> Dims:
    if set(rows_of(axes[node.args[0]])) != axes.symbols:
        raise Mixes("it goes over some of the rows; expected one dimension of them or all")
    return []


def _names(text: str) -> list[str]:
    return text.split()


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("alias", "contiguous", "clone", "detach", "to", "_to_copy", "type_as", "dropout", "silu", "rounded"),
        _same,
    ),
    **dict.fromkeys(
        ("gelu", "relu", "softplus", "elu", "leaky_relu", "hardswish", "mish", "log_sigmoid"), _same
    ),
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten"), _reshape),
    **dict.fromkeys(("transpose", "t"), _transpose),
    "permute": _permute,
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(("squeeze", "squeeze_dims"), _squeeze),
    **dict.fromkeys(("expand", "expand_as"), _expand),
    "select": _select,
    "slice": _slice,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "unbind": _unbind,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "addmm": _addmm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _norm),
    **dict.fromkeys(
        _names("mean sum amax amin var std prod logsumexp all any argmax argmin max min norm"), columns.reduce
    ),
    **dict.fromkeys(_names("linalg_vector_norm median nansum count_nonzero"), columns.reduce),
    **dict.fromkeys(
        _names("softmax _softmax log_softmax _log_softmax cumsum cumprod logcumsumexp"), columns.along
    ),
    **dict.fromkeys(_names("flip roll glu topk sort argsort cummax cummin repeat_interleave"), columns.along),
    "gather": columns.gather,
    "index_select": columns.index_select,
    **dict.fromkeys(("repeat", "tile"), columns.repeat),
    **dict.fromkeys(("constant_pad_nd", "pad"), columns.pad),
    **dict.fromkeys(("tril", "triu"), columns.triangle),
    "batch_norm": columns.batch_norm,
    "group_norm": columns.group_norm,
    "einsum": columns.einsum,
    "embedding": _lookup,
    "where": RowAxes._pointwise,  # with two numbers it has no mark for it
    "choose": _choose,
    "across_rows": _across_rows,
    "scaled_dot_product_attention": _attend,
    **dict.fromkeys(("zeros_like", "ones_like", "full_like"), _same),
    **dict.fromkeys(_names("arange full zeros ones new_full new_zeros new_ones scalar_tensor"), _made),
}
