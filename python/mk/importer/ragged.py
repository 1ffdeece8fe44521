# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks that an exported step keeps its tokens apart.

The N tokens of a step belong to many sequences. Only the attention operator knows which; any other operator that
relates tokens to each other, or counts them, would be right for one sequence and silently wrong for several. So each
operator is one that is known to compute the numbers of a token from those of the same token, or it is refused.
"""

from __future__ import annotations

from typing import Any

import torch

from mk.errors import ImportModelError
from mk.importer.apart import counts_tokens, keeps_apart
from mk.importer.lengths import symbol_of, token_axes
from mk.importer.paths import module_path

_aten = torch.ops.aten
_COUNTERS = frozenset(
    {
        _aten.arange.default,
        _aten.arange.start,
        _aten.arange.start_step,
    }
)


def check_ragged(program: torch.export.ExportedProgram) -> int:
    """Returns the vocabulary size; run it when dead operators are gone.

    Raises ImportModelError, naming the module path, if tokens meet outside of the attention, if the model numbers its
    tokens itself, or if the logits are not one row per entry of `rows`.
    """
    tokens, rows = symbol_of(program, "tokens"), symbol_of(program, "rows")
    for node in program.graph.nodes:
        if node.op == "call_function":
            _check_operator(node, tokens)
    output = next(node for node in program.graph.nodes if node.op == "output").args[0][0]
    value = output.meta.get("val")
    shape = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
    if len(shape) != 2 or token_axes(output, rows) != [0] or not isinstance(shape[1], int):
        raise ImportModelError(
            f"the logits have the shape {list(shape)} instead of [rows, vocabulary]; does the model "
            "support logits_to_keep?"
        )
    return int(shape[1])


def _check_operator(node: torch.fx.Node, tokens: Any) -> None:
    where = module_path(node) or "the model"
    axes = token_axes(node, tokens)
    if len(axes) > 1:
        raise ImportModelError(
            f"{where}: {node.target} relates tokens to each other outside of the attention "
            "interface; mk cannot see its cache"
        )
    if axes and node.target in _COUNTERS:
        raise ImportModelError(
            f"{where}: {node.target} numbers the tokens itself instead of using position_ids"
        )
    if counts_tokens(node, tokens):
        raise ImportModelError(f"{where}: {node.target} computes with the number of tokens of a step")
    ragged = [one for one in node.all_input_nodes if token_axes(one, tokens)]
    if not ragged or keeps_apart(node, tokens):
        return
    raise ImportModelError(
        f"{where}: {node.target} mixes tokens, or mk does not know that it keeps them apart; only attention may mix "
        "them"
    )
