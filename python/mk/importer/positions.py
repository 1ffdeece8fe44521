# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Numbers that a model gives its tokens itself, replaced by the positions of the step.

For one sequence from its beginning, `arange(length)` and the positions are the same; for the tokens of a step, which
belong to several sequences that have begun before, only the positions are right. The same holds for tables that are cut
to the number of tokens, and what is the same number for each token needs no position at all.
"""

from __future__ import annotations

from typing import Any

import torch

from mk.importer.edit import Editor
from mk.importer.lengths import Lengths, token_axes

_aten = torch.ops.aten


def place_positions(program: torch.export.ExportedProgram, lengths: Lengths) -> None:
    """Edits the program's graph in place; run it when masks are gone."""
    numbers: dict[torch.fx.Node, int] = {}
    for node in list(program.graph.nodes):
        if node.op != "call_function" or len(token_axes(node, lengths.symbol)) != 1:
            continue
        if _is_cut(node, lengths):
            _look_up(program, node, _first(node))
        elif _is_indexed(node):
            _look_up_indexed(program, node)
        elif (gathered := _gathered(node)) is not None:
            _look_up_gathered(program, node, *gathered)
        elif lengths.knows(node):
            first = _first_number(node, lengths)
            if first is not None:
                numbers[node] = first
            else:
                _make_constant(program, node, lengths)
    for node, first in numbers.items():
        if any(user not in numbers for user in node.users):
            _number(program, node, first, lengths)
    program.graph.eliminate_dead_code()


def _first_number(node: torch.fx.Node, lengths: Lengths) -> int | None:
    """c if the operator numbers the tokens c, c + 1, ... along their axis and is the same along others."""
    (axis,) = token_axes(node, lengths.symbol)
    first: int | None = None
    for length in lengths.probes(node):
        value = lengths.at(node, length)
        if not isinstance(value, torch.Tensor) or value.dtype is torch.bool or value.shape[axis] != length:
            return None
        rows = value.movedim(axis, -1).reshape(-1, length).double()
        if first is None:
            if not rows.numel() or not 0 <= rows[0, 0] < 1 << 31:
                return None
            first = int(rows[0, 0])
        if not torch.equal(rows, (torch.arange(length).double() + first).expand_as(rows)):
            return None
    return first


def _number(program: torch.export.ExportedProgram, node: torch.fx.Node, first: int, lengths: Lengths) -> None:
    edit = Editor(program, node)
    made = edit.input("positions")
    if first:
        made = edit.call(_aten.add.Tensor, made, first)
    value = node.meta["val"]
    if value.dtype != torch.int64:
        made = edit.call(_aten.to.dtype, made, value.dtype)
    (axis,) = token_axes(node, lengths.symbol)
    for place in range(value.ndim):
        if place != axis:
            made = edit.call(_aten.unsqueeze.default, made, place)
    if any(size != 1 for place, size in enumerate(value.shape) if place != axis):
        made = edit.call(
            _aten.expand.default,
            made,
            [-1 if place == axis else size for place, size in enumerate(value.shape)],
        )
    edit.replace(made, program)


def _make_constant(program: torch.export.ExportedProgram, node: torch.fx.Node, lengths: Lengths) -> None:
    """The same number for each token needs no tensor; neither does the row of an embedding that it stands for."""
    number = None
    for length in lengths.probes(node):
        value = lengths.at(node, length)
        if not isinstance(value, torch.Tensor) or not value.numel():
            return
        number = value.flatten()[0].item() if number is None else number
        if bool((value != number).any()):
            return
    for user in list(node.users):
        edit = Editor(program, user)
        if user.target is _aten.embedding.default and user.args[1] is node:
            if all(_broadcasts(one, user) for one in user.users):
                edit.replace(edit.call(_aten.select.int, user.args[0], 0, number), program)
        elif _broadcasts(user, node) and user.target is _aten.mul.Tensor and number == 1:
            (other,) = (one for one in user.args if one is not node)
            edit.replace(other, program)


def _broadcasts(node: torch.fx.Node, operand: torch.fx.Node) -> bool:
    """Whether the sum or product has the shape and type of its other operand, whatever the shape of this one is."""
    if node.target not in (_aten.add.Tensor, _aten.mul.Tensor) or len(node.all_input_nodes) != 2:
        return False
    (other,) = (one.meta["val"] for one in node.all_input_nodes if one is not operand)
    value = node.meta["val"]
    return other.shape == value.shape and other.dtype == value.dtype


def _is_cut(node: torch.fx.Node, lengths: Lengths) -> bool:
    """table[c : c + number of tokens], along the first axis that is not one of size 1, of a parameter or buffer."""
    if node.target is not _aten.slice.Tensor:
        return False
    source = node.args[0]
    assert isinstance(source, torch.fx.Node)
    if source.op != "placeholder" or token_axes(source, lengths.symbol):
        return False
    if not source.meta["val"].is_floating_point():
        return False
    axis = int(node.args[1]) if len(node.args) > 1 else 0
    before = source.meta["val"].shape[:axis]
    step = node.args[4] if len(node.args) > 4 else 1
    size = node.meta["val"].shape[axis]
    whole = isinstance(size, torch.SymInt) and size.node.expr == lengths.symbol
    return all(one == 1 for one in before) and source.meta["val"].ndim == axis + 2 and step == 1 and whole


def _first(node: torch.fx.Node) -> Any:
    return node.args[2] if len(node.args) > 2 and node.args[2] is not None else 0


def _look_up(program: torch.export.ExportedProgram, node: torch.fx.Node, first: Any) -> None:
    if not isinstance(first, int):
        return
    edit = Editor(program, node)
    table, positions = node.args[0], edit.input("positions")
    assert isinstance(table, torch.fx.Node)
    rank = table.meta["val"].ndim
    for _ in range(rank - 2):
        table = edit.call(_aten.squeeze.dim, table, 0)
    if first:
        positions = edit.call(_aten.add.Tensor, positions, first)
    made = edit.call(_aten.embedding.default, table, positions)
    for _ in range(rank - 2):
        made = edit.call(_aten.unsqueeze.default, made, 0)
    edit.replace(made, program)


def _is_indexed(node: torch.fx.Node) -> bool:
    """table[numbers], of a matrix of a parameter or buffer: an embedding by another name."""
    if node.target is _aten.index.Tensor:
        indices = node.args[1]
        if len(indices) != 1 or indices[0] is None:
            return False
    elif node.target is not _aten.index_select.default or node.args[1] != 0:
        return False
    table = node.args[0]
    assert isinstance(table, torch.fx.Node)
    value = table.meta["val"]
    return table.op == "placeholder" and value.ndim == 2 and value.is_floating_point()


def _gathered(node: torch.fx.Node) -> tuple[torch.fx.Node, torch.fx.Node] | None:
    """The table, [size, columns] or [1, size, columns], and the numbers [1, tokens] of its rows, all columns of which
    are gathered."""
    if node.target is not _aten.gather.default or node.args[1] != 1:
        return None
    table, places = node.args[0], node.args[2]
    assert isinstance(table, torch.fx.Node) and isinstance(places, torch.fx.Node)
    if table.target is _aten.repeat.default and set(table.args[1]) == {1}:
        table = table.args[0]
    value = table.meta["val"]
    if table.op != "placeholder" or value.ndim not in (2, 3) or (value.ndim == 3 and value.shape[0] != 1):
        return None
    if places.target not in (_aten.repeat.default, _aten.expand.default):
        return None
    column = places.args[0]
    if column.target is not _aten.unsqueeze.default or column.args[1] not in (-1, 2):
        return None
    same = places.meta["val"].shape[2] == value.shape[-1]
    return (table, column.args[0]) if same else None


def _look_up_gathered(
    program: torch.export.ExportedProgram, node: torch.fx.Node, table: torch.fx.Node, numbers: torch.fx.Node
) -> None:
    edit = Editor(program, node)
    rows = edit.call(_aten.squeeze.dim, table, 0) if table.meta["val"].ndim == 3 else table
    edit.replace(edit.call(_aten.embedding.default, rows, numbers), program)


def _look_up_indexed(program: torch.export.ExportedProgram, node: torch.fx.Node) -> None:
    indices = node.args[2] if node.target is _aten.index_select.default else node.args[1][0]
    edit = Editor(program, node)
    edit.replace(edit.call(_aten.embedding.default, node.args[0], indices), program)
