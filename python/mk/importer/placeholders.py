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
    program.graph.eliminate_dead_code()


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
