# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks that an exported step keeps its tokens apart.

The N tokens of a step belong to many sequences. Only the attention operator knows which; any other operator that
relates tokens to each other, or counts them, would be right for one sequence and silently wrong for several.
"""

from __future__ import annotations

from typing import Any

import torch

from mk.errors import ImportModelError
from mk.importer.paths import module_path

_COUNTERS = frozenset(
    {
        torch.ops.aten.arange.default,
        torch.ops.aten.arange.start,
        torch.ops.aten.arange.start_step,
    }
)


def check_ragged(program: torch.export.ExportedProgram) -> int:
    """Returns the vocabulary size; run it when dead operators are gone.

    Raises ImportModelError, naming the module path, if tokens meet outside of the attention, if the model numbers its
    tokens itself, or if the logits are not one row per entry of `rows`.
    """
    inputs = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    tokens, rows = (
        next(iter(inputs[name].meta["val"].shape[0].node.expr.free_symbols)) for name in ("tokens", "rows")
    )
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        ragged = [axis for axis, size in enumerate(_shape(node)) if tokens in _symbols(size)]
        where = module_path(node) or "the model"
        if len(ragged) > 1:
            raise ImportModelError(
                f"{where}: {node.target} relates tokens to each other outside of the attention "
                "interface; mk cannot see its cache"
            )
        if ragged and (node.target in _COUNTERS or _accumulates(node, ragged[0])):
            raise ImportModelError(
                f"{where}: {node.target} numbers the tokens itself instead of using position_ids"
            )
    output = next(node for node in program.graph.nodes if node.op == "output").args[0][0]
    shape = _shape(output)
    if len(shape) != 2 or _symbols(shape[0]) != {rows} or not isinstance(shape[1], int):
        raise ImportModelError(
            f"the logits have the shape {list(shape)} instead of [rows, vocabulary]; does the model "
            "support logits_to_keep?"
        )
    return int(shape[1])


def _accumulates(node: torch.fx.Node, axis: int) -> bool:
    """Whether the node sums up along the axis."""
    if node.target is not torch.ops.aten.cumsum.default:
        return False
    dim = node.args[1]
    return not isinstance(dim, int) or dim % len(_shape(node)) == axis


def _shape(node: Any) -> tuple[Any, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _symbols(size: Any) -> set[Any]:
    return set(size.node.expr.free_symbols) if isinstance(size, torch.SymInt) else set()
