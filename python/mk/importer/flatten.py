# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Turns the graph of a module over [batch, length, ...] into that of a ragged step over [1, tokens, ...].

Nothing is traced again: the operators stay, and the shapes that each makes are computed anew from inputs of one batch
entry. That means the same as before where rows are kept apart, which `mk.importer.row_axes` has shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

from mk.errors import ImportModelError
from mk.importer.paths import module_path
from mk.importer.row_axes import RowAxes, rows_of

_aten = torch.ops.aten
POSITIONS = ("arange.default", "arange.start", "arange.start_step")


def flat_dims(dims: Sequence[Sequence[Any]], batch: Any) -> list[list[Any]]:
    """The dimensions without the batch."""
    return [[atom for atom in dim if atom != batch] for dim in dims]


def add_inputs(
    program: torch.export.ExportedProgram, names: Sequence[str], length: Any
) -> dict[str, torch.fx.Node]:
    """New int64 inputs of one number for each row, behind the others."""
    graph = program.graph
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    mode, size = last.meta["val"].fake_mode, _symint(program, length)
    result = {}
    for name in names:
        with graph.inserting_after(last):
            node = graph.placeholder(name)
        with mode:
            node.meta["val"] = torch.empty((size,), dtype=torch.int64)
        program.graph_signature.input_specs.append(
            InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None)
        )
        result[name] = last = node
    return result


def put_rows_first(
    program: torch.export.ExportedProgram, axes: RowAxes, inputs: Sequence[torch.fx.Node]
) -> None:
    """Permutes what comes in and goes out so that rows come before columns."""
    graph = program.graph
    for node in inputs:
        order = _rows_first(axes[node])
        if order is None:
            continue
        back = [order.index(i) for i in range(len(order))]
        users = list(node.users)
        with graph.inserting_before(next(n for n in graph.nodes if n.op != "placeholder")):
            new = graph.call_function(_aten.permute.default, (node, back))
        for user in users:
            user.replace_input_with(node, new)
        node.meta["mk_order"] = order
    output = graph.output_node()
    results = []
    for node in output.args[0]:
        order = _rows_first(axes[node])
        if order is not None:
            with graph.inserting_before(output):
                node = graph.call_function(_aten.permute.default, (node, order))
        results.append(node)
    output.args = (tuple(results),)


def _rows_first(dims: Sequence[Sequence[Any]]) -> list[int] | None:
    """The order of dimensions that does so, None if they have it."""
    rows = [i for i, dim in enumerate(dims) if any(not isinstance(atom, int) for atom in dim)]
    order = rows + [i for i in range(len(dims)) if i not in rows]
    columns_before = any(dims[i] for i in range(rows[-1])[: len(rows)] if i not in rows) if rows else False
    return order if columns_before or order != sorted(order) else None


def flatten(
    program: torch.export.ExportedProgram,
    axes: RowAxes,
    batch: Any,
    length: Any,
    inputs: Sequence[torch.fx.Node],
    positions: torch.fx.Node,
) -> None:
    """Edits the graph in place. Raises ImportModelError, naming the module, where a shape cannot be made anew."""
    graph = program.graph
    _use_positions(program, axes, length, positions)
    mode = positions.meta["val"].fake_mode
    size = _symint(program, length)
    for node in inputs:
        value = node.meta["val"]
        sizes: list[Any] = [_flat_size(dim, batch, length, size) for dim in axes[node]]
        sizes = [sizes[i] for i in node.meta.get("mk_order", range(len(sizes)))]
        with mode:
            node.meta["val"] = torch.empty(sizes, dtype=value.dtype)
        node.meta.pop("tensor_meta", None)
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        try:
            with mode, torch.no_grad():
                args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
                value = node.target(*args, **kwargs)
        except Exception as error:
            raise ImportModelError(
                f"{module_path(node) or 'the module'}: {node.target} does not work on rows: "
                f"{(str(error).splitlines() or [''])[0]}"
            ) from error
        if isinstance(value, int) and not isinstance(value, bool):
            for user in list(node.users):
                _replace_literal(user, node, value)
            graph.erase_node(node)
            continue
        node.meta["val"] = value
        node.meta.pop("tensor_meta", None)
    graph.eliminate_dead_code()
    output = graph.output_node()
    for spec, node in zip(program.graph_signature.output_specs, output.args[0], strict=False):
        spec.arg = TensorArgument(node.name)
    graph.lint()


def _replace_literal(user: torch.fx.Node, node: torch.fx.Node, value: int) -> None:
    user.args, user.kwargs = torch.fx.node.map_arg(
        (user.args, user.kwargs), lambda n: value if n is node else n
    )


def _flat_size(dim: Sequence[Any], batch: Any, length: Any, size: Any) -> Any:
    result: Any = 1
    for atom in dim:
        if atom != batch:
            result = result * (size if atom == length else atom)
    return result


def _use_positions(
    program: torch.export.ExportedProgram, axes: RowAxes, length: Any, positions: torch.fx.Node
) -> None:
    """`arange(length)` is the positions, and the first `length` rows of a table are its rows at the positions."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor):
            continue
        name = str(node.target).removeprefix("aten.")
        if name in POSITIONS and rows_of(axes[node]) and axes[node] != [[length]]:
            raise _refuse(node, "numbers the entries of the batch")
        if name in POSITIONS and axes[node] == [[length]]:
            start, step = _range_of(node)
            if (start, step) != (0, 1):
                raise _refuse(node, "numbers rows in another way than 0, 1, 2, ...")
            replacement: Any = positions
            if node.meta["val"].dtype is not torch.int64:
                with graph.inserting_before(node):
                    replacement = graph.call_function(_aten.to.dtype, (positions, node.meta["val"].dtype))
                replacement.meta = dict(node.meta)
            node.replace_all_uses_with(replacement)
            graph.erase_node(node)
        elif name == "slice.Tensor" and (new := _new_rows(axes, node)):
            if new != {length}:
                raise _refuse(node, "takes as many rows of a table as there are entries of the batch")
            table = node.args[0]
            dim = node.args[1] if len(node.args) > 1 else 0
            start = node.args[2] if len(node.args) > 2 else None
            step = node.args[4] if len(node.args) > 4 else 1
            if (
                [length] not in axes[node]
                or table.meta["val"].ndim != 2
                or dim != 0
                or start not in (None, 0)
                or step != 1
            ):
                raise _refuse(node, "takes rows of a table in another way than table[:length]")
            with graph.inserting_before(node):
                new = graph.call_function(_aten.embedding.default, (table, positions))
            new.meta = dict(node.meta)
            node.replace_all_uses_with(new)
            graph.erase_node(node)


def _new_rows(axes: RowAxes, node: torch.fx.Node) -> set[Any]:
    """The sizes that vary of which the operand has none."""
    source = node.args[0]  # unknown if this function's caller has put it there
    return set(rows_of(axes[node])) - set(rows_of(axes[source])) if source in axes else set()


def _range_of(node: torch.fx.Node) -> tuple[Any, Any]:
    given = node.args
    if len(given) < 2:
        return 0, 1
    return given[0], given[2] if len(given) > 2 else 1


def _refuse(node: torch.fx.Node, what: str) -> ImportModelError:
    return ImportModelError(
        f"{module_path(node) or 'the module'}: {node.target} {what}; mk cannot compile it"
    )


def _symint(program: torch.export.ExportedProgram, symbol: Any) -> torch.SymInt:
    """The size that a symbol stands for."""
    for node in program.graph.nodes:
        if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.Tensor):
            for size in node.meta["val"].shape:
                if isinstance(size, torch.SymInt) and size.node.expr == symbol:
                    return size
    raise ImportModelError(f"no input has the size {symbol}")
