# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The meaning of `mk.generic`: its region at every point of its loop nest, all tokens and parallel points at once."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mk.errors import MkError
from mk.interpret.cache import Array
from mk.ir import Operation

f32 = np.float32
_erf = np.vectorize(math.erf, otypes=[np.float64])
_MAP = re.compile(r"affine_map<\((.*?)\) -> \((.*)\)>$")
COMPARE_FLOATS: dict[int, Callable[[Any, Any], Any]] = {
    1: lambda x, y: x == y,
    2: lambda x, y: x > y,
    3: lambda x, y: x >= y,
    4: lambda x, y: x < y,
    5: lambda x, y: x <= y,
    6: lambda x, y: (x < y) | (x > y),
    7: lambda x, y: ~(np.isnan(x) | np.isnan(y)),
    8: lambda x, y: ~((x < y) | (x > y)),
    9: lambda x, y: ~(x <= y),
    10: lambda x, y: ~(x < y),
    11: lambda x, y: ~(x >= y),
    12: lambda x, y: ~(x > y),
    13: lambda x, y: x != y,
    14: lambda x, y: np.isnan(x) | np.isnan(y),
}
COMPARE_INTEGERS: dict[int, Callable[[Any, Any], Any]] = {
    0: lambda x, y: x == y,
    1: lambda x, y: x != y,
    2: lambda x, y: x < y,
    3: lambda x, y: x <= y,
    4: lambda x, y: x > y,
    5: lambda x, y: x >= y,
}


def _wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numbers as if in double precision, its result rounded."""
    return lambda *operands: np.asarray(function(*(np.asarray(x, np.float64) for x in operands))).astype(f32)


def _to_integer(x: Any) -> Any:
    x = np.asarray(x)
    return np.clip(np.where(np.isnan(x), -(2.0**30), x), -(2.0**30), 2.0**30).astype(np.int32)


SCALARS: dict[str, Callable[..., Any]] = {
    "arith.addf": np.add,
    "arith.subf": np.subtract,
    "arith.mulf": np.multiply,
    "arith.divf": np.divide,
    "arith.negf": np.negative,
    "arith.maximumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.select": np.where,
    "arith.andi": np.bitwise_and,
    "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor,
    "arith.addi": np.add,
    "arith.subi": np.subtract,
    "arith.muli": np.multiply,
    "arith.shrui": lambda x, y: np.right_shift(np.asarray(x, np.int32).view(np.uint32), np.uint32(y)).view(
        np.int32
    ),
    "arith.sitofp": lambda x: np.asarray(x).astype(f32),
    "arith.fptosi": _to_integer,
    "math.absf": np.abs,
    "math.ceil": np.ceil,
    "math.cos": _wide(np.cos),
    "math.erf": _wide(_erf),
    "math.exp": _wide(np.exp),
    "math.expm1": _wide(np.expm1),
    "math.floor": np.floor,
    "math.log": _wide(np.log),
    "math.log1p": _wide(np.log1p),
    "math.powf": _wide(np.power),
    "math.roundeven": np.round,
    "math.rsqrt": _wide(lambda x: 1 / np.sqrt(x)),
    "math.sin": _wide(np.sin),
    "math.sqrt": np.sqrt,
    "math.tanh": _wide(np.tanh),
    "math.trunc": np.trunc,
}
COMBINERS = {
    "sum": (np.add, 0.0),
    "product": (np.multiply, 1.0),
    "max": (np.maximum, -np.inf),
    "min": (np.minimum, np.inf),
}


def column_numbers(map: str, numbers: list[Any]) -> Any:
    """The value of an affine map's one result, for numbers or arrays of them."""
    found = _MAP.match(map)
    if found is None:
        raise MkError(f"{map} is no affine map")
    names = [name.strip() for name in found[1].split(",") if name.strip()]
    text = found[2].replace("floordiv", "//").replace("mod", "%")
    return eval(text, {"__builtins__": {}}, dict(zip(names, numbers, strict=True)))


def generic(op: Operation, operands: list[Any]) -> Array:
    """The result of a `mk.generic` for its operands, float32 [rows, columns]."""
    maps = [str(map) for map in op.attributes["maps"]]
    inputs, tables = operands[: len(maps)], operands[len(maps) :]
    sizes = [int(size) for size in op.attributes["sizes"]]
    parallel = len(sizes) - op.attributes.get("reductions", 0)
    rows = next(
        len(given) for value, given in zip(op.operands, operands, strict=True) if value.type.shape[0] is None
    )
    columns = math.prod(sizes[:parallel])
    point = np.indices(sizes[:parallel]).reshape(parallel, columns)
    combine, neutral = COMBINERS[op.attributes.get("combiner", "sum")]
    result = np.full((rows, columns), neutral, f32)
    with np.errstate(all="ignore"):
        for reduction in itertools.product(*map(range, sizes[parallel:])):
            numbers = [*point, *reduction]
            taken = [
                _take(value, column_numbers(map, numbers), columns)
                for value, map in zip(inputs, maps, strict=True)
            ]
            value = _run(op, taken, tables, numbers)
            value = np.broadcast_to(np.asarray(value, f32), (rows, columns))
            result = value.copy() if parallel == len(sizes) else combine(result, value).astype(f32)
    return result


def _take(value: Array, column: Any, columns: int) -> Array:
    """[rows or 1, columns] of an input."""
    if value.dtype == np.int32:
        return value[:, None]
    column = np.broadcast_to(column, columns)
    return value[:, column].astype(f32) if value.ndim == 2 else value[column].astype(f32)[None]


def _run(op: Operation, inputs: list[Any], tables: Iterable[Array], numbers: list[Any]) -> Any:
    block = op.regions[0].blocks[0]
    values: dict[Any, Any] = dict(zip(block.arguments, [*inputs, *tables], strict=True))
    for inner in block:
        operands = [values[operand] for operand in inner.operands]
        if inner.name == "mk.yield":
            return operands[0]
        values[inner.results[0]] = _scalar(inner, operands, numbers)
    raise MkError("a mk.generic without a mk.yield")


def _scalar(op: Operation, operands: list[Any], numbers: list[Any]) -> Any:
    if op.name == "arith.constant":
        value, type_ = op.attributes["value"], str(op.results[0].type)
        return bool(value) if type_ == "i1" else np.int32(value) if type_ == "i32" else f32(value)
    if op.name == "mk.iteration":
        return np.asarray(numbers[op.attributes["dim"]], np.int32)
    if op.name == "mk.element":
        table, index = operands
        index = np.clip(index, 0, table.shape[-1] - 1)
        if table.ndim == 1:
            return table[index].astype(f32)
        index = np.broadcast_to(index, (len(table), np.shape(index)[-1] if np.ndim(index) else 1))
        return np.take_along_axis(table, index, 1).astype(f32)
    if op.name == "arith.cmpf":
        return COMPARE_FLOATS[op.attributes["predicate"]](*operands)
    if op.name == "arith.cmpi":
        return COMPARE_INTEGERS[op.attributes["predicate"]](*operands)
    if op.name == "arith.bitcast":
        return np.asarray(operands[0]).view(f32 if str(op.results[0].type) == "f32" else np.int32)
    if op.name not in SCALARS:
        raise MkError(f"{op.module_path or op.location}: the interpreter does not know {op.name}")
    return SCALARS[op.name](*operands)
