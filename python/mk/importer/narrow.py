# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A module of 16-bit numbers, computed in float32, that decides as it does in its own precision.

PyTorch rounds every result of such a module; mk computes in float32, and nearly always that is more than was asked for.
Not where a number decides: `x > 0.3` compares with what bfloat16 has for 0.3, and a mean that is rounded to this is not
above it. So what is compared, cut off, counted or made an integer is rounded first, and what is computed for that
alone is rounded at every operator. What a module also computes with stays as it is: rounded where it decides, but not
before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch

from mk.importer.column_rules import named

NARROW = {torch.bfloat16: "bfloat16", torch.float16: "float16"}


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_COMPARISONS = _names("eq ne lt le gt ge")
_DECIDES = _COMPARISONS | _names(
    "floor ceil round trunc frac sign sgn heaviside fmod remainder floor_divide hardshrink argmax argmin isinf isnan "
    "isfinite any all logical_and logical_or logical_xor logical_not count_nonzero nonzero"
)
# Their results are among their operands' numbers, perhaps with another sign.
_VIEWS = _names(
    "view reshape _unsafe_view flatten unflatten transpose permute t unsqueeze squeeze expand select slice split "
    "split_with_sizes chunk unbind cat stack clone contiguous alias detach to _to_copy type_as gather index_select flip"
)
_PICKS = _VIEWS | _names("amax amin max min maximum minimum abs neg relu where")
_UNMARKED = _names(
    "where masked_fill rsub clamp hardswish log_sigmoid prelu"
)  # some forms lack the mark of arithmetic
_REDUCTIONS = _names("sum mean amax amin max min prod var std norm linalg_vector_norm logsumexp")
# Numbers beside tensors are rounded first, as PyTorch does; products and quotients take them as they are.
_ROUND_NUMBERS = _COMPARISONS | _names("add sub rsub pow floor_divide fmod remainder hardshrink")


@functools.cache
def register() -> None:
    """Defines the operator; later calls do nothing."""

    def rounded(x: torch.Tensor, dtype: str) -> torch.Tensor:
        return x.to(getattr(torch, dtype)).to(x.dtype).clone()

    operator = torch.library.custom_op(
        "mk::rounded", rounded, mutates_args=(), schema="(Tensor x, str dtype) -> Tensor"
    )
    operator.register_fake(lambda x, dtype: torch.empty_like(x))


def is_narrow(module: torch.nn.Module, dtypes: Iterable[torch.dtype]) -> bool:
    """Whether parameters, or inputs of `dtypes`, have 16 bits, so that results have."""
    return any(dtype in NARROW for dtype in (*(p.dtype for p in module.parameters()), *dtypes))


def compute_in_float32(program: torch.export.ExportedProgram) -> None:
    """Edits the program's graph, exported with the module's own dtypes, in place."""
    register()
    _Decisions(program.graph)
    for node in program.graph.nodes:
        node.args, node.kwargs = torch.fx.node.map_aggregate((node.args, node.kwargs), _wide_dtype)
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            node.meta["val"] = _wide(value)
        elif isinstance(value, list | tuple):
            node.meta["val"] = [_wide(one) if isinstance(one, torch.Tensor) else one for one in value]
        node.meta.pop("tensor_meta", None)
    for values in (program.state_dict, program.constants):
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.dtype in NARROW:
                values[name] = value.detach().float()


def _wide_dtype(argument: Any) -> Any:
    return torch.float32 if isinstance(argument, torch.dtype) and argument in NARROW else argument


def _wide(value: torch.Tensor) -> torch.Tensor:
    if value.dtype not in NARROW:
        return value
    with value.fake_mode, torch.no_grad():
        return value.detach().to(torch.float32)


class _Decisions:
    """Rounds what is decided by. A node's *grid* is the narrow type that has all of its numbers in PyTorch."""

    def __init__(self, graph: torch.fx.Graph) -> None:
        self._graph = graph
        self._exact: set[torch.fx.Node] = set()  # those that lie on their grid here, too
        self._grids: dict[torch.fx.Node, Any] = {}
        self._rounded: dict[tuple[torch.fx.Node, torch.dtype], torch.fx.Node] = {}
        deciding = self._find()
        for node in list(graph.nodes):
            self._grids[node] = self._grid(node)
            if node in deciding:
                self._round_operands(node)
            picks = node.op == "call_function" and (_name(node) in _PICKS or _is_part(node))
            if node.op == "placeholder" or (picks and self._is_exact(node)):
                self._exact.add(node)

    def _find(self) -> set[torch.fx.Node]:
        """What decides, and what is computed for nothing else, from there to the first operator that is more than
        arithmetic."""
        found: set[torch.fx.Node] = set()
        for node in reversed(self._graph.nodes):
            if node.op != "call_function":
                continue
            alone = bool(node.users) and all(user in found for user in node.users)
            if _decides(node) or (alone and _is_light(node)):
                found.add(node)
        return found

    def _grid(self, node: torch.fx.Node) -> Any:
        value = node.meta.get("val")
        values = value if isinstance(value, list | tuple) else [value]
        dtypes = {one.dtype for one in values if isinstance(one, torch.Tensor)}
        if len(dtypes) == 1 and (dtype := next(iter(dtypes))) in NARROW:
            return dtype
        floating = bool(dtypes) and all(dtype.is_floating_point for dtype in dtypes)
        if node.op == "call_function" and floating and (_name(node) in _VIEWS or _is_part(node)):
            grids = {self._grids.get(operand) for operand in node.all_input_nodes if _is_tensor(operand)}
            return next(iter(grids)) if len(grids) == 1 else None
        return None

    def _is_exact(self, node: torch.fx.Node) -> bool:
        numbers = any(isinstance(argument, float) for argument in node.args)
        operands = [one for one in node.all_input_nodes if _is_tensor(one) and _dtype(one) is not torch.bool]
        return not numbers and all(
            one in self._exact and self._grids[one] is self._grids[node] for one in operands
        )

    def _round_operands(self, node: torch.fx.Node) -> None:
        for operand in node.all_input_nodes:
            if (grid := self._grids.get(operand)) is not None and operand not in self._exact:
                node.replace_input_with(operand, self._round(operand, grid, node))
        dtype = _computes_in(node)
        if dtype not in NARROW or _name(node) not in _ROUND_NUMBERS:
            return
        for operand in node.all_input_nodes:  # a tensor of one number of another type
            value = operand.meta.get("val")
            if isinstance(value, torch.Tensor) and value.dtype not in NARROW and value.is_floating_point():
                node.replace_input_with(operand, self._round(operand, dtype, node))
        node.args = tuple(
            float(torch.tensor(argument, dtype=dtype)) if _is_number(argument) else argument
            for argument in node.args
        )

    def _round(self, operand: torch.fx.Node, dtype: torch.dtype, user: torch.fx.Node) -> torch.fx.Node:
        if (operand, dtype) not in self._rounded:
            first = next(one for one in self._graph.nodes if one.op != "placeholder")
            place = self._graph.inserting_after(operand)
            if operand.op == "placeholder":
                place = self._graph.inserting_before(first)
            with place:
                made = self._graph.call_function(torch.ops.mk.rounded.default, (operand, NARROW[dtype]))
            value = operand.meta["val"]
            with value.fake_mode, torch.no_grad():
                made.meta["val"] = value.detach().to(dtype)
            made.meta["nn_module_stack"] = user.meta.get("nn_module_stack")
            self._rounded[operand, dtype] = made
            self._exact.add(made)
            self._grids[made] = dtype
        return self._rounded[operand, dtype]


def _name(node: torch.fx.Node) -> str:
    schema = getattr(node.target, "_schema", None)
    namespace, _, name = schema.name.partition("::") if schema is not None else ("", "", "")
    return name if namespace == "aten" else ""


def _is_tensor(node: torch.fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor | list | tuple)


def _is_part(node: torch.fx.Node) -> bool:
    """One of several results."""
    return str(node.target) == "<built-in function getitem>"


def _is_number(argument: Any) -> bool:
    return isinstance(argument, int | float) and not isinstance(argument, bool)


def _dtype(node: torch.fx.Node) -> torch.dtype | None:
    value = node.meta.get("val")
    return value.dtype if isinstance(value, torch.Tensor) else None


def _decides(node: torch.fx.Node) -> bool:
    """Whether a result may change by more than a rounding if an operand does by one."""
    name, made = _name(node), _dtype(node)
    if name in _DECIDES:
        return True
    if name in ("to", "_to_copy", "type_as"):
        return made is not None and not made.is_floating_point
    if name in ("max", "min") and named(node, "dim") is not None:  # asked for the place
        return any(_is_part(user) and user.args[1] == 1 and user.users for user in node.users)
    # Of equal numbers topk and sort may take any.
    return name == "div" and named(node, "rounding_mode") is not None


def _is_light(node: torch.fx.Node) -> bool:
    """Arithmetic of single numbers, or of all of a dimension, that loses nothing by being written out."""
    if _is_part(node):
        return True
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return bool(_name(node)) and (pointwise or _name(node) in _VIEWS | _REDUCTIONS | _UNMARKED)


def _computes_in(node: torch.fx.Node) -> torch.dtype | None:
    """The type to which the operands of arithmetic are brought."""
    values = [
        one.meta["val"] for one in node.all_input_nodes if isinstance(one.meta.get("val"), torch.Tensor)
    ]
    values += [argument for argument in node.args if _is_number(argument)]
    if not values or not any(isinstance(value, torch.Tensor) for value in values):
        return None
    return functools.reduce(torch.promote_types, [torch.result_type(values[0], other) for other in values])
