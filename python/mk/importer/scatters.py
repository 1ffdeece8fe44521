# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Assignments to columns, `x[..., 8:24] = y`, as the join of the columns that come of them.

An exported graph has no assignments: each became an operator that puts `y` into a copy of `x`. Often `x` was empty and
is filled part by part; then nothing of it is left.
"""

from __future__ import annotations

from typing import Any

import torch

from mk.importer.edit import Editor

_aten = torch.ops.aten
Part = tuple[torch.fx.Node, int, int]  # columns begin .. end of a tensor


def join_assignments(program: torch.export.ExportedProgram) -> None:
    """Edits the program's graph in place."""
    parts: dict[torch.fx.Node, tuple[int, list[Part]]] = {}
    for node in list(program.graph.nodes):
        found = _assigned(node, parts) if node.target is _aten.slice_scatter.default else None
        if found is None:
            continue
        parts[node] = found
        if any(_assigned(user, parts) is None or user.args[0] is not node for user in node.users):
            _join(program, node, *found)
    program.graph.eliminate_dead_code()


def _assigned(
    node: torch.fx.Node, parts: dict[torch.fx.Node, tuple[int, list[Part]]]
) -> tuple[int, list[Part]] | None:
    """The axis along which the result of an assignment is a join, and what of; None for what is none."""
    if node.target is not _aten.slice_scatter.default:
        return None
    given: list[Any] = [*node.args]
    given += [0, None, None, 1][len(given) - 2 :]
    before, source, axis, begin, end, step = given
    assert isinstance(before, torch.fx.Node) and isinstance(source, torch.fx.Node) and isinstance(axis, int)
    size: Any = before.meta["val"].shape[axis]
    if step != 1 or not isinstance(size, int) or not isinstance(source.meta["val"].shape[axis], int):
        return None
    first, last, _ = slice(begin, end).indices(size)
    axis %= before.meta["val"].ndim
    known = parts.get(before)
    old = known[1] if known is not None and known[0] == axis else [(before, 0, size)]
    return axis, [*_clip(old, 0, first), (source, 0, last - first), *_clip(old, last, size)]


def _clip(parts: list[Part], begin: int, end: int) -> list[Part]:
    """Columns begin .. end of a join."""
    found: list[Part] = []
    at = 0
    for tensor, low, high in parts:
        first, last = max(begin, at), min(end, at + high - low)
        if first < last:
            found.append((tensor, low + first - at, low + last - at))
        at += high - low
    return found


def _join(program: torch.export.ExportedProgram, node: torch.fx.Node, axis: int, parts: list[Part]) -> None:
    edit = Editor(program, node)
    columns = [
        tensor
        if (begin, end) == (0, tensor.meta["val"].shape[axis])
        else edit.call(_aten.slice.Tensor, tensor, axis, begin, end)
        for tensor, begin, end in parts
    ]
    edit.replace(columns[0] if len(columns) == 1 else edit.call(_aten.cat.default, columns, axis), program)
