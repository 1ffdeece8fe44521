# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Heads of different sizes, which lie in caches of one size: that of the widest."""

from __future__ import annotations

import dataclasses

import torch

from mk.errors import ImportModelError
from mk.importer.attention import Trace
from mk.importer.edit import Editor
from mk.importer.paths import module_path

_aten = torch.ops.aten


def align_heads(program: torch.export.ExportedProgram, trace: Trace) -> None:
    """Gives the heads of all layers the size of the widest; edits the program's graph in place.

    Raises ImportModelError, naming the module path, if layers have different numbers of key heads.
    """
    calls = [node for node in program.graph.nodes if node.target is torch.ops.mk.attention.default]
    widest = max((int(one.meta["val"].shape[3]) for node in calls for one in _heads(node)), default=0)
    counts = [int(_heads(node)[1].meta["val"].shape[1]) for node in calls]
    for node, count in zip(calls, counts, strict=True):
        query, keys, values = _heads(node)
        columns = int(values.meta["val"].shape[3])
        if count != counts[0]:
            raise ImportModelError(
                f"{module_path(node) or 'the model'}: attention has {count} key heads, but the first "
                f"has {counts[0]}; mk has one number of key heads for all"
            )
        if columns == int(keys.meta["val"].shape[3]) == widest:
            continue
        edit = Editor(program, node)
        heads = widen(edit, query, keys, values, widest)
        made = edit.call(node.target, *heads, *node.args[3:])
        edit.replace(edit.call(_aten.slice.Tensor, made, 3, 0, columns), program)
        program.graph.erase_node(node)
        layer = node.args[5]
        assert isinstance(layer, int)
        if layer in trace.found:
            trace.found[layer] = dataclasses.replace(trace.found[layer], head_dim=widest, value_dim=widest)


def _heads(node: torch.fx.Node) -> tuple[torch.fx.Node, torch.fx.Node, torch.fx.Node]:
    """The queries, keys and values of an attention."""
    query, keys, values = node.args[:3]
    assert isinstance(query, torch.fx.Node) and isinstance(keys, torch.fx.Node)
    assert isinstance(values, torch.fx.Node)
    return query, keys, values


def widen(
    edit: Editor, query: torch.fx.Node, keys: torch.fx.Node, values: torch.fx.Node, widest: int
) -> tuple[torch.fx.Node, torch.fx.Node, torch.fx.Node]:
    """The three, [1, heads, tokens, columns], with `widest` columns each, of whose products nothing changes.

    What stands behind queries and keys is 0; what stands behind values is dropped, and may be anything.
    """

    def padded(node: torch.fx.Node, factor: float) -> torch.fx.Node:
        width = int(node.meta["val"].shape[3])
        parts = [node]
        for first in range(0, widest - width, width):
            more = edit.call(_aten.slice.Tensor, node, 3, 0, min(width, widest - width - first))
            parts.append(edit.call(_aten.mul.Tensor, more, factor))
        return node if len(parts) == 1 else edit.call(_aten.cat.default, parts, -1)

    return padded(query, 0.0), padded(keys, 0.0), padded(values, 1.0)
