# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a user hands in beside a module: example inputs, and which of their dimensions may vary."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils import _pytree as pytree

from mk.errors import ImportModelError
from mk.importer.attention import Trace
from mk.importer.control import branches_in_place, refuse_decision
from mk.importer.step import failing_module


@dataclass
class Input:
    name: str
    value: torch.Tensor  # of the meta device
    rows: tuple[int, ...]  # its dimensions that are rows
    dynamic: dict[int, Any]  # what the user says of those that vary: a torch.export.Dim, or its AUTO


def read_inputs(module: torch.nn.Module, inputs: Any, dynamic: Any) -> list[Input]:
    values = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    parameters = list(inspect.signature(module.forward).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [f"input{i}" for i in range(len(names), len(values))]
    if isinstance(dynamic, Mapping):
        if unknown := [str(name) for name in dynamic if name not in names[: len(values)]]:
            raise ImportModelError(f"dynamic names {', '.join(unknown)}; the inputs are {', '.join(names)}")
        specs = [dynamic.get(name) for name in names[: len(values)]]
    else:
        specs = list(dynamic) if dynamic is not None else [None] * len(values)
        if len(specs) != len(values):
            raise ImportModelError(f"dynamic has {len(specs)} entries for {len(values)} inputs")
    if not values:
        raise ImportModelError("expected at least one input")
    return [_read_input(name, value, spec) for name, value, spec in zip(names, values, specs, strict=False)]


def _read_input(name: str, value: Any, spec: Any) -> Input:
    try:
        tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ImportModelError(
            f"input {name} is a {type(value).__name__}; expected a tensor or an array"
        ) from error
    if not (tensor.is_floating_point() or tensor.dtype in (torch.int64, torch.int32)):
        raise ImportModelError(
            f"input {name} is {tensor.dtype}; expected floating-point numbers, int64 or int32"
        )
    entries = dict(spec) if isinstance(spec, Mapping) else dict(enumerate(spec or ()))
    if bad := [axis for axis in entries if not isinstance(axis, int) or not 0 <= axis < tensor.ndim]:
        raise ImportModelError(f"dynamic of input {name} has dimension {bad[0]}; it has {tensor.ndim}")
    entries = {
        axis: entry for axis, entry in entries.items() if entry is not None and not isinstance(entry, int)
    }
    rows = tensor.ndim - tensor.is_floating_point()  # the last dimension of numbers are the columns of a row
    axes = sorted(entries) if rows > 2 and entries else list(range(rows))
    if len(axes) > 2:
        raise ImportModelError(
            f"input {name} has the shape {list(tensor.shape)}; expected [batch, length, columns], or `dynamic` with at "
            "most two dimensions that are rows"
        )
    if strange := [entry for axis, entry in entries.items() if axis not in axes or not _is_dim(entry)]:
        raise ImportModelError(
            f"dynamic of input {name} has {strange[0]}; expected a torch.export.Dim for its rows"
        )
    return Input(name, torch.empty_like(tensor, device="meta"), tuple(axes), entries)


def _is_dim(entry: Any) -> bool:
    hint = entry is torch.export.Dim.AUTO or entry is torch.export.Dim.DYNAMIC
    return hint or (isinstance(entry, torch.export.Dim) and not hasattr(entry, "root"))


def bounds(entry: Any) -> tuple[int, int]:
    """The sizes that a Dim allows, at least one."""
    low, high = getattr(entry, "min", None), getattr(entry, "max", None)
    return max(low if isinstance(low, int) else 1, 1), high if isinstance(high, int) else 1 << 31


def example_size(size: int, entry: Any) -> int:
    """A size that stands for any: sizes 0 and 1 are special to torch."""
    low, high = bounds(entry)
    return min(max(size, low, 2), high)


def result_dtypes(module: torch.nn.Module, inputs: Sequence[Input]) -> list[torch.dtype]:
    """What the module returns as it is; only then it is widened to float32."""
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    parameters: list[tuple[dict[str, Any], str, Any]] = []
    try:
        with mode, torch.no_grad(), branches_in_place(module):
            for child in module.modules():
                for name, parameter in child._parameters.items():
                    if parameter is not None:
                        parameters.append((child._parameters, name, parameter))
            memo: dict[int, Any] = {}
            for holder, name, parameter in parameters:
                if id(parameter) not in memo:
                    fake = torch.empty(parameter.shape, dtype=parameter.dtype)
                    memo[id(parameter)] = torch.nn.Parameter(fake, requires_grad=False)
                holder[name] = memo[id(parameter)]
            results = module(*(torch.empty(i.value.shape, dtype=i.value.dtype) for i in inputs))
    except ImportModelError:
        raise
    except Exception as error:
        if (refusal := refuse_decision(error, module)) is not None:
            raise refusal from error
        trace = Trace({id(child): name for name, child in module.named_modules()})
        raise ImportModelError(
            f"{failing_module(error, trace) or type(module).__name__}: does not run on the example inputs: "
            f"{type(error).__name__}: "
            f"{(str(error).strip().splitlines() or [''])[0]}"
        ) from error
    finally:
        for holder, name, parameter in parameters:
            holder[name] = parameter
    leaves = pytree.tree_leaves(results)
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point():
            what = str(leaf.dtype) if isinstance(leaf, torch.Tensor) else type(leaf).__name__
            raise ImportModelError(f"{type(module).__name__} returns {what}; expected floating-point tensors")
    if not leaves:
        raise ImportModelError(f"{type(module).__name__} returns no tensor")
    return [leaf.dtype for leaf in leaves]
