# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the predicate of a `torch.cond` asks of all rows, such as the largest of all probabilities.

Elsewhere rows are kept apart. One boolean for a whole call must be made from all of them: the reduction to a single
number becomes one of each row's columns, and `torch.ops.mk.across_rows` of what that leaves.
"""

from __future__ import annotations

from typing import Any

import torch

from mk.importer.column_rules import named
from mk.importer.control import register
from mk.importer.edit import Editor

_aten = torch.ops.aten
# How a reduction of rows goes on across them, and the same for the columns of each row.
_ACROSS: dict[str, tuple[str, Any]] = {
    "max": ("max", _aten.amax.default),
    "amax": ("max", _aten.amax.default),
    "min": ("min", _aten.amin.default),
    "amin": ("min", _aten.amin.default),
    "mean": ("mean", _aten.mean.dim),
    "sum": ("sum", _aten.sum.dim_IntList),
    "any": ("max", _aten.amax.default),
    "all": ("min", _aten.amin.default),
}


def ask_all_rows(program: torch.export.ExportedProgram) -> bool:
    """What predicates ask of all rows, as an operator of its own; whether there is such a thing."""
    register()
    found, choose = False, torch.ops.mk.choose.default
    for node in [n for n in _operators(program.graph) if n.target is choose]:
        todo, seen = [node.args[0]], set()
        while todo:
            part = todo.pop()
            if not isinstance(part, torch.fx.Node) or part in seen or part.op != "call_function":
                continue
            seen.add(part)
            if _is_one_number(part) and not any(_has_rows(one) for one in part.all_input_nodes):
                todo += part.all_input_nodes
                if part.target in (_aten.max.default, _aten.min.default):  # of parameters
                    edit = Editor(program, part)
                    within = _ACROSS["max" if part.target is _aten.max.default else "min"][1]
                    edit.replace(
                        edit.call(within, part.args[0], list(range(part.args[0].meta["val"].ndim))), program
                    )
            elif _is_one_number(part):
                found |= _across(program, part)
    program.graph.eliminate_dead_code()
    return found


def _across(program: torch.export.ExportedProgram, node: torch.fx.Node) -> bool:
    """False for an operator that is none of those that go on across rows: `mk.importer.row_axes` says why."""
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    if name not in _ACROSS or not isinstance(node.meta["val"], torch.Tensor):
        return False
    how, within = _ACROSS[name]
    edit, x = Editor(program, node), node.args[0]
    assert isinstance(x, torch.fx.Node)
    if named(node, "dtype") not in (None, torch.float32):
        return False
    shape = x.meta["val"].shape
    if name in ("any", "all") and x.meta["val"].dtype is not torch.bool:
        x = edit.call(_aten.ne.Scalar, x, 0)
    columns = [dim for dim, size in enumerate(shape) if not isinstance(size, torch.SymInt)]
    if columns:
        x = edit.call(within, x, columns)
    result = edit.call(torch.ops.mk.across_rows.default, x, how)
    if node.meta["val"].ndim:
        result = edit.call(_aten.view.default, result, list(node.meta["val"].shape))
    edit.replace(result, program)
    return True


def _operators(graph: torch.fx.Graph) -> list[torch.fx.Node]:
    return [node for node in graph.nodes if node.op == "call_function"]


def _is_one_number(node: torch.fx.Node) -> bool:
    value = node.meta.get("val")
    return (
        isinstance(value, torch.Tensor)
        and all(size == 1 for size in value.shape if isinstance(size, int))
        and not _has_rows(node)
    )


def _has_rows(node: torch.fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and any(isinstance(size, torch.SymInt) for size in value.shape)
