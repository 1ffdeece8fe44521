# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`scaled_dot_product_attention` of a user's module as attention over a cache that lives for one call.

A batch entry is a slot, and the index along the length a position. Causal attention is what mk has for sequences;
without a mask every row of the entry is seen, which is attention up to the entry's last position: the host says which
that is (`LAST`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mk.errors import ImportModelError
from mk.importer.attention import register
from mk.importer.paths import module_path
from mk.importer.row_axes import RowAxes

SDPA = torch.ops.aten.scaled_dot_product_attention.default
LAST = "last_positions"  # the input of the step: for each row the last position of its slot in this call


@dataclass(frozen=True)
class Call:
    """The arguments of one call, by their names; `where` is the module path."""

    node: torch.fx.Node
    where: str
    causal: bool
    scale: float

    def refuse(self, what: str) -> ImportModelError:
        return ImportModelError(f"{self.where}: scaled_dot_product_attention {what}; mk cannot compile it")


def find_calls(program: torch.export.ExportedProgram) -> list[Call]:
    """All calls, in order; masks that say nothing but "causal" are taken off, so that nothing computes them.

    Raises ImportModelError for dropout, a scale that is no constant, and any other mask.
    """
    calls = []
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target is SDPA:
            calls.append(_read(node))
    return calls


def _read(node: torch.fx.Node) -> Call:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    query, key, value = (given[name].meta["val"] for name in names[:3])
    size = query.shape[-1]
    call = Call(node, module_path(node) or "the module", bool(given.get("is_causal", False)), 0.0)
    if query.ndim not in (3, 4) or key.ndim != query.ndim or value.ndim != query.ndim:
        raise call.refuse(f"of {query.ndim} dimensions; expected [batch, heads, length, size]")
    if not isinstance(size, int) or not isinstance(value.shape[-1], int):
        raise call.refuse("over a size of heads that varies")
    if given.get("dropout_p", 0.0):
        raise call.refuse(f"has dropout_p {given['dropout_p']}, which must be 0")
    if given.get("attn_mask") is not None:
        raise call.refuse("is given attn_mask; give is_causal=True, or no mask")
    scale = given.get("scale")
    scale = size**-0.5 if scale is None else scale
    if not isinstance(scale, int | float):
        raise call.refuse("has a scale that is no constant")
    if query.ndim == 4 and str(query.shape[1]) != str(key.shape[1]) and not given.get("enable_gqa", False):
        raise call.refuse("has fewer key heads than query heads without enable_gqa=True")
    return Call(node, call.where, call.causal, float(scale))


def check_calls(calls: list[Call], axes: RowAxes, length: Any) -> None:
    """Raises ImportModelError unless every call looks along `length`, each entry of the batch by itself."""
    for call in calls:
        query, key, value = (axes[operand] for operand in call.node.args[:3])
        for dims in (query, key, value):
            rows = [atom for dim in dims[:-2] for atom in dim if not isinstance(atom, int)]
            if dims[-2] != [length]:
                raise call.refuse("does not look along the length of the inputs")
            if len(dims) == 4 and any(not isinstance(atom, int) for atom in dims[1]):
                raise call.refuse("expected [batch, heads, length, size]")
            if any(isinstance(atom, int) for atom in dims[0]) and (len(dims) == 4 or rows[1:]):
                raise call.refuse("expected [batch, heads, length, size]")
            if set(rows) | {length} != axes.symbols:
                raise call.refuse("is not one for each entry of the batch")


def map_calls(
    calls: list[Call], program: torch.export.ExportedProgram, inputs: Mapping[str, torch.fx.Node]
) -> None:
    """Puts `torch.ops.mk.attention` in the place of each call, each with a cache of its own."""
    register()
    graph = program.graph
    for layer, call in enumerate(calls):
        node = call.node
        query, key, value = node.args[:3]
        with graph.inserting_before(node):
            heads = [_four(graph, operand, node) for operand in (query, key, value)]
            last = inputs["positions" if call.causal else LAST]
            new = graph.call_function(
                torch.ops.mk.attention.default,
                (*heads, last, inputs["slots"], layer, call.scale, 0, 0.0, None),
            )
            result = graph.call_function(torch.ops.aten.transpose.int, (new, 1, 2))
            if node.meta["val"].ndim == 3:
                result = graph.call_function(torch.ops.aten.squeeze.dim, (result, 0))
        added = [new, result] if result.args[0] is new else [new, result.args[0], result]
        for one in added:
            one.meta = dict(node.meta)
        node.replace_all_uses_with(result)
        graph.erase_node(node)


def _four(graph: torch.fx.Graph, operand: Any, node: torch.fx.Node) -> Any:
    """Of three dimensions the first is the heads, or one head of a batch that is one row axis by then."""
    if operand.meta["val"].ndim == 4:
        return operand
    wider = graph.call_function(torch.ops.aten.unsqueeze.default, (operand, 0))
    wider.meta = dict(node.meta)
    return wider
