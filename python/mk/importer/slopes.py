# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Scores that grow with the position of the key (ALiBi, arXiv:2108.12409), as more columns of queries and keys.

A softmax does not change if all scores of a row do by the same number, so that a score which falls with the distance of
the key is one that grows with its position: `slope * position`, which is a product of a column of the query and one of
the key. Caches may be bfloat16, which has 8 bits: a position is therefore two numbers of 8 bits each, a slope three.

A model may round `slope * position` (Falcon does, to bfloat16), and then its scores grow in steps. Where each query
head has keys of its own, the number itself is a column of the key, three for its bits, and that of the query is 1.
"""

from __future__ import annotations

import torch

from mk.importer.edit import Editor, add_constant

_aten = torch.ops.aten
DIGIT = 256  # what a number of 8 bits counts to
PARTS = 3  # of a slope
WIDTH = 8  # of the columns that are added


def add_slopes(
    program: torch.export.ExportedProgram,
    edit: Editor,
    query: torch.fx.Node,
    keys: torch.fx.Node,
    slopes: torch.Tensor,
) -> tuple[torch.fx.Node, torch.fx.Node]:
    """query [1,H,N,D] and keys [1,KH,N,D] with 8 more columns: in products, `slopes[H]` times the key's position."""
    parts = _parts(slopes)
    nothing = torch.zeros_like(parts[0])
    table = torch.stack([one for part in parts for one in (part, part)] + [nothing, nothing], -1)
    constant = add_constant(program, _name(program, "slopes"), table[None, :, None].contiguous())

    positions = edit.call(_aten.to.dtype, edit.input("positions"), torch.float32)
    column = positions
    for place in (0, 0, 3):
        column = edit.call(_aten.unsqueeze.default, column, place)
    high = edit.call(_aten.floor.default, edit.call(_aten.mul.Tensor, column, 1 / DIGIT))
    high = edit.call(_aten.mul.Tensor, high, float(DIGIT))
    low = edit.call(_aten.sub.Tensor, column, high)
    digits = edit.call(_aten.cat.default, [low, high] * (PARTS + 1), -1)
    digits = edit.call(_aten.expand.default, digits, [1, int(keys.meta["val"].shape[1]), -1, -1])
    ones = edit.call(_aten.add.Tensor, edit.call(_aten.mul.Tensor, column, 0.0), 1.0)
    factors = edit.call(_aten.mul.Tensor, ones, constant)
    return (
        edit.call(_aten.cat.default, [query, factors], -1),
        edit.call(_aten.cat.default, [keys, digits], -1),
    )


def add_biases(
    program: torch.export.ExportedProgram,
    edit: Editor,
    query: torch.fx.Node,
    keys: torch.fx.Node,
    biases: torch.Tensor,
) -> tuple[torch.fx.Node, torch.fx.Node]:
    """query and keys [1,H,N,D] with 8 more columns: in products, `biases[H, position of the key]`."""
    heads, positions = biases.shape
    nothing = torch.zeros_like(biases)
    columns = torch.stack([*_parts(biases), *[nothing] * (WIDTH - PARTS)], -1)
    table = columns.transpose(0, 1).reshape(positions, heads * WIDTH).contiguous()
    constant = add_constant(program, _name(program, "biases"), table)
    found = edit.call(_aten.embedding.default, constant, edit.input("positions"))
    found = edit.call(_aten.unflatten.int, found, 1, [heads, WIDTH])
    found = edit.call(_aten.unsqueeze.default, edit.call(_aten.transpose.int, found, 0, 1), 0)
    first = edit.call(_aten.slice.Tensor, query, 3, 0, WIDTH)
    ones = edit.call(_aten.ones_like.default, first)
    return (
        edit.call(_aten.cat.default, [query, ones], -1),
        edit.call(_aten.cat.default, [keys, found], -1),
    )


def _parts(numbers: torch.Tensor) -> list[torch.Tensor]:
    """Numbers of 8 bits each that add up to these."""
    rest, parts = numbers.double(), []
    for _ in range(PARTS):
        parts.append(rest.to(torch.bfloat16).float())
        rest = rest - parts[-1].double()
    return parts


def _name(program: torch.export.ExportedProgram, what: str) -> str:
    number = sum(node.op == "placeholder" for node in program.graph.nodes)
    return f"model.{what}_{number}"
