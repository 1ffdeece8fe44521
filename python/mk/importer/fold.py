# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Numbers that a model's code computes anew in each call, from nothing but literals: computed once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.utils._python_dispatch import _disable_current_modes

from mk.importer.edit import add_constant
from mk.importer.lengths import Lengths
from mk.importer.paths import module_path

_aten = torch.ops.aten
_TAKES_NUMBERS = frozenset({_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor})
LARGEST = 1 << 20  # elements


def fold_literals(program: torch.export.ExportedProgram, lengths: Lengths) -> None:
    """Edits the program's graph in place: single numbers become literals, tensors buffers."""
    literal: set[torch.fx.Node] = set()
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and lengths.knows(node) and isinstance(value, torch.Tensor):
            static = all(isinstance(size, int) for size in value.shape)
            if static and all(operand in literal for operand in node.all_input_nodes):
                literal.add(node)
    wanted = [
        node
        for node in program.graph.nodes
        if node in literal
        and node.meta["val"].numel() <= LARGEST
        and not all(user in literal for user in node.users)
    ]
    with _disable_current_modes():
        values = [lengths.at(node, 1).clone().contiguous() for node in wanted]
    for number, (node, value) in enumerate(zip(wanted, values, strict=True)):
        if value.ndim == 0:
            _put(node, value.item())
        else:
            path = ".".join(part for part in ("model", module_path(node)) if part)
            made = add_constant(program, f"{path}.literal_{number}", value)
            lengths.learn(made, value)
            node.replace_all_uses_with(made)
    program.graph.eliminate_dead_code()


def fold_constants(program: torch.export.ExportedProgram) -> None:
    """The same for a user's own module, whose graph knows no lengths: what depends on no input, weight or buffer."""
    values: dict[torch.fx.Node, torch.Tensor] = {}
    with _disable_current_modes():
        for node in program.graph.nodes:
            if _is_literal(node, values):
                arguments, keywords = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*arguments, **keywords)
    wanted = [node for node in values if any(user not in values for user in node.users)]
    for number, node in enumerate(wanted):
        value = values[node].clone().contiguous()
        if value.ndim == 0:
            _put(node, value.item())
        else:
            path = ".".join(part for part in ("model", module_path(node)) if part)
            node.replace_all_uses_with(add_constant(program, f"{path}.literal_{number}", value))
    program.graph.eliminate_dead_code()


def _is_literal(node: torch.fx.Node, values: Mapping[torch.fx.Node, torch.Tensor]) -> bool:
    value = node.meta.get("val")
    return (
        node.op == "call_function"
        and isinstance(node.target, torch._ops.OpOverload)
        and torch.Tag.nondeterministic_seeded not in node.target.tags
        and not node.target._schema.is_mutable
        and isinstance(value, torch.Tensor)
        and all(isinstance(size, int) for size in value.shape)
        and value.numel() <= LARGEST
        and all(operand in values for operand in node.all_input_nodes)
    )


def _put(node: torch.fx.Node, number: float | int | bool) -> None:
    """Uses a number in place of a tensor, where an operator takes one: the others keep the tensor."""
    for user in list(node.users):
        if user.target in _TAKES_NUMBERS:
            user.replace_input_with(node, number)
