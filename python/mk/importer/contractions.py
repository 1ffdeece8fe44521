# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sums of products that are written with letters, as the products of matrices that they are."""

from __future__ import annotations

from typing import Any

import torch

from mk.importer.edit import Editor

_aten = torch.ops.aten


def write_out_contractions(program: torch.export.ExportedProgram) -> None:
    """Edits the program's graph in place: `bhtd,bhsd->bhts` is a product of two arrays of matrices.

    Only where neither operand is a parameter, and each has one axis of its own beside those of both.
    """
    for node in list(program.graph.nodes):
        if node.target is not _aten.einsum.default or len(node.args[1]) != 2:
            continue
        left, right = node.args[1]
        if "placeholder" not in (left.op, right.op) and (orders := _orders(node.args[0])):
            edit = Editor(program, node)
            product = edit.call(
                _aten.matmul.default, _permuted(edit, left, orders[0]), _permuted(edit, right, orders[1])
            )
            edit.replace(_permuted(edit, product, orders[2]), program)


def _orders(equation: Any) -> tuple[list[int], list[int], list[int]] | None:
    """How to permute the operands for a product of matrices, and its result; None if it is none."""
    operands, arrow, result = equation.replace(" ", "").partition("->")
    left, _, right = operands.partition(",")
    if not arrow or "." in equation or any(len(set(one)) < len(one) for one in (left, right, result)):
        return None
    both = [letter for letter in left if letter in right and letter in result]
    summed = [letter for letter in left if letter in right and letter not in result]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]
    if not both or not len(summed) == len(rows) == len(columns) == 1:
        return None
    if set(result) != {*both, *rows, *columns}:
        return None
    made = [*both, *rows, *columns]
    return (
        [left.index(letter) for letter in (*both, *rows, *summed)],
        [right.index(letter) for letter in (*both, *summed, *columns)],
        [made.index(letter) for letter in result],
    )


def _permuted(edit: Editor, node: torch.fx.Node, order: list[int]) -> torch.fx.Node:
    last = len(order) - 1
    if order == list(range(last + 1)):
        return node
    if order == [*range(last - 1), last, last - 1]:
        return edit.call(_aten.transpose.int, node, -2, -1)
    return edit.call(_aten.permute.default, node, order)
