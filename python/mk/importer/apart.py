# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which torch operators compute the numbers of a token from those of the same token only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mk.importer.lengths import token_axes


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


# They give another view of the same numbers, or copies, or numbers that depend on shapes only.
_VIEWS = _names(
    "view reshape _unsafe_view view_as reshape_as flatten unflatten squeeze unsqueeze alias contiguous "
    "clone detach lift_fresh_copy to _to_copy type_as "
)
_ANYWHERE = _names(
    "transpose permute t swapaxes movedim expand expand_as copy zeros_like ones_like full_like empty_like "
    "new_zeros new_ones new_full new_empty repeat tile where masked_fill one_hot view_as_complex "
    "view_as_real "
)
# Of single numbers, without PyTorch's mark for it.
_POINTWISE = _names("hardswish log_sigmoid prelu rsub floor_divide ")
# They work along the axes that their argument `dim` or `dims` names, or along all.
_ALONG = _names(
    "sum mean amax amin logsumexp var std max min argmax argmin prod all any norm linalg_vector_norm "
    "softmax log_softmax _softmax _log_softmax cumsum cumprod select narrow split split_with_sizes chunk "
    "unbind cat concat stack flip roll glu topk sort argsort gather scatter scatter_add index_select "
    "repeat_interleave "
)
# They may take the number of tokens as a size.
_SIZED = _names(
    "view reshape _unsafe_view unflatten expand repeat tile slice narrow new_zeros new_ones new_empty zeros ones empty "
    "arange sym_size sym_numel split_with_sizes "
)
# Their results do not depend on their operand's numbers, but on its shape.
_LIKE = _names("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty ")
_NORMS = frozenset(("layer_norm", "native_layer_norm", "rms_norm"))
_PRODUCTS = {"matmul": 0, "bmm": 0, "mm": 0, "addmm": 1, "baddbmm": 1}  # the place of their first factor


def keeps_apart(node: torch.fx.Node, tokens: Any) -> bool:
    """Whether each number of the result comes from numbers of one token, and lies where that token's numbers lie.

    `tokens` is the symbol of the number of tokens. What is not known to keep tokens apart does not.
    """
    if isinstance(node.meta.get("val"), torch.SymInt):
        return True
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    namespace, _, name = node.target._schema.name.partition("::")
    if name in _LIKE and not token_axes(node, tokens):
        return True
    if name == "index":
        return _index(node, tokens)
    if not _has_whole_axis(node, tokens):
        return False
    if namespace == "mk" or torch.Tag.pointwise in node.target.tags or name in _ANYWHERE | _POINTWISE:
        return True
    if name in _VIEWS:
        return _view(node, tokens)
    if name in _ALONG:
        return _along(node, tokens)
    if name in _NORMS:
        return _norm(node, tokens)
    if name in _PRODUCTS:
        return _product(node.args[_PRODUCTS[name]], node.args[_PRODUCTS[name] + 1], tokens)
    return name in _OTHERS and _OTHERS[name](node, tokens)


def counts_tokens(node: torch.fx.Node, tokens: Any) -> bool:
    """Whether the operator computes with the number of tokens, instead of only making a tensor of this size."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if node.target._schema.name.partition("::")[2] in _SIZED:
        return False
    for operand in node.all_input_nodes:
        value = operand.meta.get("val")
        if (
            isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)
            and tokens in value.node.expr.free_symbols
        ):
            return True
    return False


def _has_whole_axis(node: torch.fx.Node, tokens: Any) -> bool:
    """Whether each result has one axis of exactly as many entries as there are tokens."""
    results = node.meta.get("val")
    for result in results if isinstance(results, list | tuple) else [results]:
        sizes = [
            size.node.expr
            for size in result.shape
            if isinstance(size, torch.SymInt) and tokens in size.node.expr.free_symbols
        ]
        if sizes != [tokens]:
            return False
    return True


def _axes(node: Any, tokens: Any) -> list[int]:
    """The axes of tokens, counted from the last, which is -1."""
    return (
        [axis - node.meta["val"].ndim for axis in token_axes(node, tokens)]
        if isinstance(node, torch.fx.Node)
        else []
    )


def _view(node: torch.fx.Node, tokens: Any) -> bool:
    """A reshape keeps the order of the numbers: a token keeps its own if as many entries lie before it as did."""
    source = node.args[0]
    assert isinstance(source, torch.fx.Node)

    def before(one: torch.fx.Node) -> Any:
        (axis,) = token_axes(one, tokens)
        return torch.Size(one.meta["val"].shape[:axis]).numel()

    return len(_axes(source, tokens)) == 1 and before(source) == before(node)


def _argument(node: torch.fx.Node, *names: str) -> Any:
    """What the operator was called with, by the name of the argument."""
    schema = node.target._schema
    for place, argument in enumerate(schema.arguments):
        if argument.name in names:
            if place < len(node.args):
                return node.args[place]
            return node.kwargs.get(argument.name, argument.default_value)
    return None


def _along(node: torch.fx.Node, tokens: Any) -> bool:
    dims = _argument(node, "dim", "dims")
    if dims is None:
        return False
    dims = list(dims) if isinstance(dims, list | tuple) else [dims]
    if node.target is torch.ops.aten.gather.default and not _axes(node.args[0], tokens):
        return True  # a table is looked up
    operands = [one for one in node.all_input_nodes if _axes(one, tokens)]
    for one in operands:
        rank = one.meta["val"].ndim + (node.target._schema.name == "aten::stack")
        (axis,) = token_axes(one, tokens)
        # What is stacked gets a new axis, which is none of tokens; the size of the result has shown that.
        if rank == one.meta["val"].ndim and any(dim % rank == axis for dim in dims):
            return False
    return bool(dims) and len({tuple(_axes(one, tokens)) for one in operands}) == 1


def _norm(node: torch.fx.Node, tokens: Any) -> bool:
    return all(axis < -len(node.args[1]) for axis in _axes(node.args[0], tokens))


def _group_norm(node: torch.fx.Node, tokens: Any) -> bool:
    """Each entry of the first axis has groups of its own."""
    source = node.args[0]
    assert isinstance(source, torch.fx.Node)
    return token_axes(source, tokens) == [0]


def _product(left: Any, right: Any, tokens: Any) -> bool:
    """The axes that are multiplied and added up are none of tokens."""
    right_axis = -2 if right.meta["val"].ndim > 1 else -1
    return -1 not in _axes(left, tokens) and right_axis not in _axes(right, tokens)


def _linear(node: torch.fx.Node, tokens: Any) -> bool:
    return -1 not in _axes(node.args[0], tokens) and not _axes(node.args[1], tokens)


def _embedding(node: torch.fx.Node, tokens: Any) -> bool:
    return not _axes(node.args[0], tokens)


def _slice(node: torch.fx.Node, tokens: Any) -> bool:
    """Along the axis of tokens a slice of all of them, as its result shows, is no change."""
    return _argument(node, "step") == 1 or _along(node, tokens)


def _pad(node: torch.fx.Node, tokens: Any) -> bool:
    pads = node.args[1]
    return all(pads[-2 * axis - 2 : -2 * axis] in ([], [0, 0]) for axis in _axes(node.args[0], tokens))


def _einsum(node: torch.fx.Node, tokens: Any) -> bool:
    equation, operands = node.args[:2]
    if "->" not in equation or "." in equation:
        return False
    inputs, _, result = equation.replace(" ", "").partition("->")
    letters = {
        letters[axis]
        for letters, one in zip(inputs.split(","), operands, strict=True)
        for axis in _axes(one, tokens)
    }
    return len(letters) == 1 and letters <= set(result)


def _index(node: torch.fx.Node, tokens: Any) -> bool:
    """Tokens are looked up in tables, and the rows for logits selected from them."""
    source, indices = node.args[0], node.args[1]
    axes = token_axes(source, tokens)
    for axis, index in enumerate(indices):
        if axis in axes and index is not None:
            return index.op == "placeholder" and index.name == "rows"
    return _has_whole_axis(node, tokens)


_OTHERS: dict[str, Callable[[torch.fx.Node, Any], bool]] = {
    "linear": _linear,
    "embedding": _embedding,
    "slice": _slice,
    "constant_pad_nd": _pad,
    "pad": _pad,
    "einsum": _einsum,
    "group_norm": _group_norm,
    "native_group_norm": _group_norm,
}
