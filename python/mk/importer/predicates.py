# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the predicate of a `torch.cond` asks of all rows, such as the largest of all probabilities.

Elsewhere rows are kept apart. One boolean for a whole call must be made from all of them: the reduction to a single
number becomes one of each row's columns, and `torch.ops.mk.across_rows` of what that leaves. Norms, deviations and
logarithms of sums are arithmetic around such reductions (`mk.importer.all_rows`).
"""

from __future__ import annotations

import torch

from mk.errors import ImportModelError
from mk.importer.all_rows import REDUCTIONS, TEXT, Reducer
from mk.importer.control import register
from mk.importer.edit import Editor
from mk.importer.paths import module_path

_aten = torch.ops.aten
_NO_REDUCTIONS = frozenset(("select", "slice", "index", "squeeze", "view", "reshape", "getitem"))


def ask_all_rows(program: torch.export.ExportedProgram) -> int:
    """What predicates ask of all rows, as operators of their own. How many rows a call may have for them to be right,
    0 if there is no such thing."""
    register()
    most, choose = 0, torch.ops.mk.choose.default
    for node in [n for n in _operators(program.graph) if n.target is choose]:
        todo, seen = [node.args[0]], set()
        while todo:
            part = todo.pop()
            if not isinstance(part, torch.fx.Node) or part in seen or part.op != "call_function":
                continue
            seen.add(part)
            if _is_one_number(part) and not any(_has_rows(one) for one in part.all_input_nodes):
                todo += part.all_input_nodes
                _name_dimensions(program, part)
            elif _is_one_number(part):
                reduced = _across(program, part)
                most = min(most, reduced) if most and reduced else most or reduced
    program.graph.eliminate_dead_code()
    return most


def _across(program: torch.export.ExportedProgram, node: torch.fx.Node) -> int:
    """0 for an operator that is no reduction of all rows: `mk.importer.row_axes` says what it is. Otherwise how many
    rows there may be."""
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    done = node.target is torch.ops.mk.across_rows.default  # for another predicate
    if done or not isinstance(node.meta["val"], torch.Tensor) or name in _NO_REDUCTIONS:
        return 0
    reducer = Reducer(program, node)
    result = REDUCTIONS[name](reducer) if name in REDUCTIONS else None
    if result is None:
        raise ImportModelError(
            f"{module_path(node) or 'the module'}: {node.target}: the predicate of torch.cond asks it of all rows, of "
            f"which mk has {TEXT}"
        )
    if node.meta["val"].ndim:
        shape = list(node.meta["val"].shape)
        result = Editor(program, node).call(_aten.view.default, result, shape)
    Editor(program, node).replace(result, program)
    return reducer.most


# Of parameters, or of what has been made of all rows.
_WHOLE = {
    _aten.max.default: _aten.amax.default,
    _aten.min.default: _aten.amin.default,
    _aten.any.default: _aten.amax.default,
    _aten.all.default: _aten.amin.default,
}


def _name_dimensions(program: torch.export.ExportedProgram, node: torch.fx.Node) -> None:
    """Reductions of everything name what they reduce."""
    if node.target not in _WHOLE:
        return
    edit, x = Editor(program, node), node.args[0]
    assert isinstance(x, torch.fx.Node)
    if node.meta["val"].dtype is torch.bool and x.meta["val"].dtype is not torch.bool:
        x = edit.call(_aten.ne.Scalar, x, 0)
    edit.replace(edit.call(_WHOLE[node.target], x, list(range(x.meta["val"].ndim))), program)


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
