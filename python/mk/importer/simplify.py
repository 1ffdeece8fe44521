# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Removes from an exported graph what has no meaning for a value: assertions, no-op casts, eval-mode dropout.

Models cast to a dtype that their activations already have, because they are written for many dtypes. Only casts
that change something remain.
"""

from __future__ import annotations

import torch

from mk.importer.edit import Editor

_aten = torch.ops.aten
_CASTS = frozenset(
    {
        _aten.to.dtype,
        _aten.to.dtype_layout,
        _aten.to.device,
        _aten.to.other,
        _aten._to_copy.default,
        _aten.type_as.default,
    }
)
_ASSERTIONS = frozenset({_aten._assert_tensor_metadata.default, _aten._assert_scalar.default})
_ARITHMETIC = frozenset({_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor})
_USUAL = {
    _aten.min.other: _aten.minimum.default,
    _aten.max.other: _aten.maximum.default,
    _aten.concat.default: _aten.cat.default,
    _aten.multiply.Tensor: _aten.mul.Tensor,
    _aten.__or__.Tensor: _aten.bitwise_or.Tensor,
    _aten.__and__.Tensor: _aten.bitwise_and.Tensor,
}
_IDENTITIES = frozenset(
    {
        _aten.contiguous.default,
        _aten.alias.default,
        _aten.detach.default,
        _aten.detach_.default,
        _aten.lift_fresh_copy.default,
        _aten.clone.default,
    }
)


def simplify(program: torch.export.ExportedProgram) -> None:
    """Edits the program's graph in place; run it on graphs without writes to arguments (a copy is then an identity)."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.target in _ASSERTIONS:
            graph.erase_node(node)
        elif _is_identity(node):
            source = node.args[node.target is _aten.copy.default]  # what is written over another tensor
            node.replace_all_uses_with(source)
            graph.erase_node(node)
            for output in program.graph_signature.output_specs:
                if output.arg.name == node.name:
                    output.arg.name = source.name
    _replace_scalars(program)
    _replace_indices(program)
    _replace_products(program)
    _write_out_gates(program)
    _rename(program)
    _drop_expansions(program)
    graph.eliminate_dead_code()


def _replace_scalars(program: torch.export.ExportedProgram) -> None:
    """Buffers of one number that are in no checkpoint are factors which the model's code has chosen."""
    graph = program.graph
    placeholders = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    for spec in list(program.graph_signature.input_specs):
        value = program.constants.get(spec.target or "")
        if spec.kind.name != "BUFFER" or spec.persistent or value is None or value.ndim:
            continue
        node = placeholders[spec.arg.name]
        for user in list(node.users):
            if user.target in _ARITHMETIC and len(user.all_input_nodes) == 2:
                user.replace_input_with(node, value.item())
        if not node.users:
            graph.erase_node(node)
            program.graph_signature.input_specs.remove(spec)


def _replace_indices(program: torch.export.ExportedProgram) -> None:
    """Columns that are chosen by a constant list of neighbouring numbers are a slice."""
    for node in list(program.graph.nodes):
        if node.target is not _aten.index.Tensor:
            continue
        source, indices = node.args
        assert isinstance(source, torch.fx.Node) and isinstance(indices, list | tuple)
        given = [(axis, index) for axis, index in enumerate(indices) if isinstance(index, torch.fx.Node)]
        if len(given) != 1:
            continue
        axis, index = given[0]
        columns = _constant(program, index)
        size = source.meta["val"].shape[axis]
        if (
            columns is None
            or columns.ndim != 1
            or not len(columns)
            or columns.is_floating_point()
            or not isinstance(size, int)
        ):
            continue
        first = int(columns[0]) % size
        if columns.dtype is torch.bool or not torch.equal(
            columns % size, torch.arange(first, first + len(columns))
        ):
            continue
        edit = Editor(program, node)
        edit.replace(edit.call(_aten.slice.Tensor, source, axis, first, first + len(columns)), program)


def _replace_products(program: torch.export.ExportedProgram) -> None:
    """A product with a transposed parameter is linear."""
    for node in list(program.graph.nodes):
        if node.target is not _aten.matmul.default:
            continue
        rows, matrix = node.args
        assert isinstance(rows, torch.fx.Node) and isinstance(matrix, torch.fx.Node)
        turned = matrix.target in (_aten.t.default, _aten.numpy_T.default)
        turned = turned or (matrix.target is _aten.permute.default and matrix.args[1] == [1, 0])
        if turned and matrix.args[0].op == "placeholder" and rows.meta["val"].ndim > 1:
            edit = Editor(program, node)
            edit.replace(edit.call(_aten.linear.default, rows, matrix.args[0]), program)


def _write_out_gates(program: torch.export.ExportedProgram) -> None:
    """glu is one half times the sigmoid of the other; prelu with one slope is a choice."""
    for node in list(program.graph.nodes):
        if node.target not in (_aten.glu.default, _aten.prelu.default):
            continue
        source, edit = node.args[0], Editor(program, node)
        if node.target is _aten.prelu.default:
            if node.args[1].meta["val"].numel() == 1:
                scaled = edit.call(_aten.mul.Tensor, source, node.args[1])
                positive = edit.call(_aten.gt.Scalar, source, 0.0)
                edit.replace(edit.call(_aten.where.self, positive, source, scaled), program)
            continue
        axis = node.args[1] if len(node.args) > 1 else -1
        size = source.meta["val"].shape[axis]
        if isinstance(size, int):
            half = size // 2
            first = edit.call(_aten.slice.Tensor, source, axis, 0, half)
            second = edit.call(_aten.slice.Tensor, source, axis, half, size)
            edit.replace(
                edit.call(_aten.mul.Tensor, first, edit.call(_aten.sigmoid.default, second)), program
            )


def _drop_expansions(program: torch.export.ExportedProgram) -> None:
    """Sums and products broadcast by themselves; axes of size 1 of what has no tokens are left out one by one."""
    for node in list(program.graph.nodes):
        if node.target in (_aten.expand_as.default, _aten.expand.default):
            for user in list(node.users):
                if user.target not in _ARITHMETIC or len(user.all_input_nodes) != 2:
                    continue
                (other,) = (one for one in user.all_input_nodes if one is not node)
                if other.meta["val"].shape == user.meta["val"].shape == node.meta["val"].shape:
                    user.replace_input_with(node, node.args[0])
        elif node.target is _aten.reshape_as.default:
            sizes = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape]
            if sizes.count(-1) <= 1:
                edit = Editor(program, node)
                edit.replace(edit.call(_aten.reshape.default, node.args[0], sizes), program)
        elif node.target is _aten.squeeze.default and node.args[0].op == "placeholder":
            edit, made = Editor(program, node), node.args[0]
            for axis in reversed([i for i, size in enumerate(made.meta["val"].shape) if size == 1]):
                made = edit.call(_aten.select.int, made, axis, 0)
            edit.replace(made, program)


def _rename(program: torch.export.ExportedProgram) -> None:
    """Operators that have two names get the usual one."""
    for node in program.graph.nodes:
        node.target = _USUAL.get(node.target, node.target)


def _constant(program: torch.export.ExportedProgram, node: torch.fx.Node) -> torch.Tensor | None:
    for spec in program.graph_signature.input_specs:
        if spec.arg.name == node.name and spec.kind.name == "CONSTANT_TENSOR":
            return program.constants.get(spec.target or "")
    return None


def _is_identity(node: torch.fx.Node) -> bool:
    if node.target in _IDENTITIES:
        return True
    if node.target is _aten.dropout.default:
        return not node.args[2]
    if node.target is _aten.copy.default:
        written = node.args[1]
        assert isinstance(written, torch.fx.Node)
        before, after = written.meta["val"], node.meta["val"]
        return bool(before.dtype == after.dtype and before.shape == after.shape)
    if node.target in _CASTS:
        source = node.args[0]
        assert isinstance(source, torch.fx.Node)
        before, after = source.meta["val"], node.meta["val"]
        return bool(before.dtype == after.dtype and before.device == after.device)
    return False
