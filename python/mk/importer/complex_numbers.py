# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Complex numbers, in which some models write their rotations, as their real and imaginary parts."""

from __future__ import annotations

from typing import Any

import torch

from mk.importer.edit import Editor

_aten = torch.ops.aten
Parts = tuple[torch.fx.Node, torch.fx.Node]
# They change the axes of both parts alike; an axis is never counted from the last of a pair.
_VIEWS = frozenset(
    {
        _aten.unsqueeze.default,
        _aten.view.default,
        _aten.reshape.default,
        _aten.transpose.int,
        _aten.permute.default,
        _aten.slice.Tensor,
        _aten.select.int,
        _aten.expand.default,
    }
)


def split_complex_numbers(program: torch.export.ExportedProgram) -> None:
    """Edits the program's graph in place. An operator that it does not know stays, and is refused later."""
    parts: dict[torch.fx.Node, Parts] = {}
    for node in list(program.graph.nodes):
        if node.op != "call_function":
            continue
        edit = Editor(program, node)
        if node.target is _aten.view_as_real.default and node.args[0] in parts:
            edit.replace(edit.call(_aten.stack.default, list(parts[node.args[0]]), -1), program)
        elif (found := _parts(edit, node, parts)) is not None:
            parts[node] = found
    program.graph.eliminate_dead_code()


def _parts(edit: Editor, node: torch.fx.Node, parts: dict[torch.fx.Node, Parts]) -> Parts | None:
    given: tuple[Any, ...] = node.args
    if node.target is _aten.polar.default:
        return (
            edit.call(_aten.mul.Tensor, given[0], edit.call(_aten.cos.default, given[1])),
            edit.call(_aten.mul.Tensor, given[0], edit.call(_aten.sin.default, given[1])),
        )
    if node.target is _aten.complex.default:
        return given[0], given[1]
    if node.target is _aten.view_as_complex.default:
        return (edit.call(_aten.select.int, given[0], -1, 0), edit.call(_aten.select.int, given[0], -1, 1))
    if not given or given[0] not in parts:
        return None
    real, imaginary = parts[given[0]]
    if node.target in _VIEWS:
        return (edit.call(node.target, real, *given[1:]), edit.call(node.target, imaginary, *given[1:]))
    if node.target is not _aten.mul.Tensor:
        return None
    if given[1] not in parts:  # a real factor
        return (edit.call(_aten.mul.Tensor, real, given[1]), edit.call(_aten.mul.Tensor, imaginary, given[1]))
    other, others = parts[given[1]]

    def product(left: torch.fx.Node, right: torch.fx.Node) -> torch.fx.Node:
        return edit.call(_aten.mul.Tensor, left, right)

    return (
        edit.call(_aten.sub.Tensor, product(real, other), product(imaginary, others)),
        edit.call(_aten.add.Tensor, product(real, others), product(imaginary, other)),
    )
