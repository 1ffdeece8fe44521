# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Puts the meanings of custom operators in their place, and those of a few of PyTorch's own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from mk.errors import ImportModelError
from mk.importer.paths import module_path
from mk.operators import MEANINGS, Meaning

_OWN = frozenset({"aten", "prim", "prims", "mk", "higher_order", "_operator"})


def _rms_norm(
    x: torch.Tensor, shape: Sequence[int], weight: torch.Tensor | None = None, eps: float | None = None
) -> torch.Tensor:
    dims = list(range(-len(shape), 0))
    mean = torch.ops.aten.mean.dim(torch.ops.aten.pow.Tensor_Scalar(x, 2), dims, True)
    normed = x * torch.rsqrt(mean + (torch.finfo(torch.float32).eps if eps is None else eps))
    return normed if weight is None else normed * weight


_BUILT_IN: dict[str, Meaning] = {"aten::rms_norm": _rms_norm}


def replace_operators(program: torch.export.ExportedProgram, rounds: int = 8) -> torch.export.ExportedProgram:
    """The program without operators that have a meaning; meanings may be in terms of each other, `rounds` deep.

    Raises ImportModelError, naming the module path, for a custom operator without one, with the lines that would
    register it as a note; and for a meaning that fails or returns something else than the operator.
    """
    table = {}
    for node in program.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        meaning = _meaning_of(node.target)
        if meaning is not None:
            _check(node, meaning)
            table[node.target] = meaning
        elif node.target.namespace not in _OWN:
            raise _without_meaning(node)
    if not table:
        return program
    names = ", ".join(sorted({target._schema.name for target in table}))
    if not rounds:
        raise ImportModelError(f"the meaning of {names} leads back to itself")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch copies its own LeafSpec, and warns of that
            program = program.run_decompositions(table)
    except RecursionError:
        raise ImportModelError(f"the meaning of {names} leads back to itself") from None
    return replace_operators(program, rounds - 1)


def _meaning_of(target: torch._ops.OpOverload) -> Meaning | None:
    name = target._schema.name
    full = f"{name}.{target._overloadname}"
    for table in (MEANINGS, _BUILT_IN):
        if (found := table.get(full) or table.get(name)) is not None:
            return found
    return None


def _check(node: torch.fx.Node, meaning: Meaning) -> None:
    """Runs the meaning on what the operator is given here, without values."""
    where, name = module_path(node) or "the module", node.target._schema.name
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
    wanted = [leaf for leaf in pytree.tree_leaves(node.meta["val"]) if isinstance(leaf, torch.Tensor)]
    try:
        with wanted[0].fake_mode, torch.no_grad():
            found = pytree.tree_leaves(meaning(*args, **kwargs))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ImportModelError(
            f"{where}: the meaning of {name} cannot be applied: {type(error).__name__}: {reason}"
        ) from error
    described = [[_describe(value) for value in values] for values in (wanted, found)]
    if described[0] != described[1]:
        raise ImportModelError(
            f"{where}: the meaning of {name} returns {', '.join(described[1])}, the operator {', '.join(described[0])}"
        )


def _describe(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"


def _without_meaning(node: torch.fx.Node) -> ImportModelError:
    schema = node.target._schema
    name = schema.name
    arguments = ", ".join(argument.name for argument in schema.arguments)
    lines = [
        "import mk",
        "",
        f'@mk.operator("{name}")',
        f"def {name.partition('::')[2]}({arguments}):",
        "    return ...  # the same result, in operators of PyTorch",
    ]
    error = ImportModelError(
        f"{module_path(node) or 'the module'}: the custom operator {name} has no meaning to mk; give it one with "
        f'@mk.operator("{name}") above a function ({arguments}) of PyTorch operators that returns the same'
    )
    error.add_note("\n".join(lines))
    return error
