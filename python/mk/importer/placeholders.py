# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Places that a text keeps for images or sounds, of which the tokens of a step have none.

A model of several kinds of input asks each token whether it stands for one of them, and looks up another token there.
Where the id it asks for is none of the vocabulary no token has it; otherwise the other token is chosen like any number.
"""

from __future__ import annotations

from typing import Any

import torch

from mk.importer.edit import Editor

_aten = torch.ops.aten
_CHOICES = frozenset({_aten.where.self, _aten.where.ScalarSelf})
_VIEWS = frozenset({_aten.unsqueeze.default, _aten.view.default, _aten.reshape.default})


def fill_places(program: torch.export.ExportedProgram, vocabulary: int) -> None:
    """Edits the program's graph in place; `vocabulary`: ids of tokens are below it."""
    for node in list(program.graph.nodes):
        if node.target is not _aten.index_put.default or len(node.args) > 3:
            continue
        source, indices, value = node.args
        assert isinstance(source, torch.fx.Node) and isinstance(indices, list | tuple)
        if len(indices) != 1 or not isinstance(value, torch.fx.Node) or value.meta["val"].ndim:
            continue
        (mask,) = indices
        if not isinstance(mask, torch.fx.Node) or mask.meta["val"].dtype is not torch.bool:
            continue
        edit = Editor(program, node)
        if _is_never(mask, vocabulary):
            edit.replace(source, program)
        elif mask.meta["val"].shape == source.meta["val"].shape:
            edit.replace(edit.call(_aten.where.self, mask, value, source), program)
    for node in list(program.graph.nodes):
        if node.target is _aten.embedding.default and node.args[1].target in _CHOICES:
            _choose_rows(program, node, node.args[1])
    program.graph.eliminate_dead_code()


def _choose_rows(program: torch.export.ExportedProgram, node: torch.fx.Node, choice: torch.fx.Node) -> None:
    """The row of a token that is chosen by a condition: that of the one or of the other."""
    table, (mask, instead, source) = node.args[0], choice.args
    number = instead if isinstance(instead, int) else _number(program, instead)
    if number is None or not isinstance(source, torch.fx.Node):
        return
    edit = Editor(program, node)
    one = edit.call(_aten.select.int, table, 0, number)
    other = edit.call(_aten.embedding.default, table, source)
    condition = edit.call(_aten.unsqueeze.default, mask, -1)
    edit.replace(edit.call(_aten.where.self, condition, one, other), program)


def _number(program: torch.export.ExportedProgram, node: Any) -> int | None:
    """The value of a constant of one number."""
    for spec in program.graph_signature.input_specs:
        if spec.arg.name == node.name and spec.kind.name == "CONSTANT_TENSOR":
            value = program.constants.get(spec.target or "")
            return int(value) if isinstance(value, torch.Tensor) and value.numel() == 1 else None
    return None


def _is_never(mask: torch.fx.Node, vocabulary: int) -> bool:
    """tokens == id, an id that no token has."""
    if (
        mask.target is not _aten.eq.Scalar
        or not isinstance(mask.args[1], int)
        or 0 <= mask.args[1] < vocabulary
    ):
        return False
    source: Any = mask.args[0]
    while source.target in _VIEWS:
        source = source.args[0]
    return source.op == "placeholder" and source.name == "tokens"
