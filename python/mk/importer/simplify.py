# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Removes from an exported graph what has no meaning for a value: assertions, no-op casts, eval-mode dropout.

Models cast to a dtype that their activations already have, because they are written for many dtypes. Only casts
that change something remain.
"""

from __future__ import annotations

import torch

_aten = torch.ops.aten
_CASTS = frozenset(
    {
        _aten.to.dtype,
        _aten.to.dtype_layout,
        _aten.to.device,
        _aten.to.other,
        _aten._to_copy.default,
        _aten.type_as.default,
    }
)
_IDENTITIES = frozenset(
    {
        _aten.contiguous.default,
        _aten.alias.default,
        _aten.detach.default,
        _aten.detach_.default,
        _aten.lift_fresh_copy.default,
        _aten.clone.default,
    }
)


def simplify(program: torch.export.ExportedProgram) -> None:
    """Edits the program's graph in place; run it on graphs without writes to arguments (a copy is then an identity)."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.target is _aten._assert_tensor_metadata.default:
            graph.erase_node(node)
        elif _is_identity(node):
            source = node.args[0]
            node.replace_all_uses_with(source)
            graph.erase_node(node)
            for output in program.graph_signature.output_specs:
                if output.arg.name == node.name:
                    output.arg.name = source.name
    _replace_scalars(program)
    graph.eliminate_dead_code()


def _replace_scalars(program: torch.export.ExportedProgram) -> None:
    """Buffers of one number that are in no checkpoint are factors which the model's code has chosen."""
    graph = program.graph
    placeholders = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    for spec in list(program.graph_signature.input_specs):
        value = program.constants.get(spec.target or "")
        if spec.kind.name != "BUFFER" or spec.persistent or value is None or value.ndim:
            continue
        node = placeholders[spec.arg.name]
        for user in list(node.users):
            user.replace_input_with(node, value.item())
        graph.erase_node(node)
        program.graph_signature.input_specs.remove(spec)


def _is_identity(node: torch.fx.Node) -> bool:
    if node.target in _IDENTITIES:
        return True
    if node.target is _aten.dropout.default:
        return not node.args[2]
    if node.target in _CASTS:
        source = node.args[0]
        assert isinstance(source, torch.fx.Node)
        before, after = source.meta["val"], node.meta["val"]
        return bool(before.dtype == after.dtype and before.device == after.device)
    return False
