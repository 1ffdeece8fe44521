# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""mk.generic by itself: its meaning against NumPy, its machine code against that, its functions against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.interpret import Interpreter
from mk.ir import Module

Array = np.ndarray[Any, Any]
SPECIAL = {101.0: np.inf, 102.0: -np.inf, 103.0: np.nan, 104.0: -0.0, 105.0: 1e-40, 106.0: 3e14}
# By operation: what PyTorch calls it, and the error of the machine code beside the result, in units of 2^-23.
FUNCTIONS: dict[str, tuple[Callable[..., torch.Tensor], float]] = {
    "math.exp": (torch.exp, 4),
    "math.expm1": (torch.expm1, 8),
    "math.log": (torch.log, 4),
    "math.log1p": (torch.log1p, 8),
    "math.sqrt": (torch.sqrt, 1),
    "math.rsqrt": (torch.rsqrt, 4),
    "math.sin": (torch.sin, 4),
    "math.cos": (torch.cos, 4),
    "math.tanh": (torch.tanh, 8),
    "math.erf": (torch.erf, 16),
    "math.absf": (torch.abs, 0),
    "math.floor": (torch.floor, 0),
    "math.ceil": (torch.ceil, 0),
    "math.trunc": (torch.trunc, 0),
    "math.roundeven": (torch.round, 0),
    "arith.negf": (torch.neg, 0),
    "math.powf": (torch.pow, 64),
    "arith.maximumf": (torch.maximum, 0),
    "arith.minimumf": (torch.minimum, 0),
    "arith.divf": (torch.div, 1),
}
BINARY = {"math.powf", "arith.maximumf", "arith.minimumf", "arith.divf"}
HEAD = """func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
    %rows: tensor<?xi32>) -> tensor<?x{result}xf32> {{
  %table = mk.weight @table : tensor<{count}x{columns}xf32>
  %x = mk.embedding %table, %tokens : (tensor<{count}x{columns}xf32>, tensor<?xi32>) -> tensor<?x{columns}xf32>
"""


def run(
    text: str, table: Array, weights: dict[str, Array] | None = None, **options: Any
) -> tuple[Array, Array]:
    """The result for every row of the table: of the machine code, and of the interpreter."""
    count = len(table)
    weights = {"table": table, **(weights or {})}
    step = (range(count), range(count), [0] * count)
    meant = Interpreter(Module.parse(text), weights, 1, 64).step(*step)
    program = mk.compile_ir(text, dtype="float32", max_sequences=1, max_length=64, page=64, **options)
    with program.engine(weights=weights) as engine:
        return engine.step(*step), meant


def function(name: str) -> str:
    """Columns x, made special where they say so, and for two operands also the columns in reverse."""
    special = "".join(
        f"%c{i} = arith.constant {number} : f32\n%is{i} = arith.cmpf oeq, %v{i}, %c{i} : f32\n"
        f"%s{i} = arith.constant 0x{np.float32(value).view(np.uint32):08X} : f32\n"
        f"%v{i + 1} = arith.select %is{i}, %s{i}, %v{i} : f32\n"
        for i, (number, value) in enumerate(SPECIAL.items())
    )
    last = f"%v{len(SPECIAL)}"
    maps = "[affine_map<(d0) -> (d0)>]"
    operation = (
        f"%y = mk.generic %s, %s sizes [40] maps [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (39 - d0)>]\n"
        ": (tensor<?x40xf32>, tensor<?x40xf32>) -> tensor<?x40xf32> {\n^bb0(%a: f32, %b: f32):\n"
        f"%r = {name} %a, %b : f32\n"
        if name in BINARY
        else f"%y = mk.generic %s sizes [40] maps {maps} : (tensor<?x40xf32>) -> tensor<?x40xf32> {{\n"
        f"^bb0(%a: f32):\n%r = {name} %a : f32\n"
    )
    return (
        HEAD.format(result=40, count=32, columns=40)
        + f"%s = mk.generic %x sizes [40] maps {maps} : (tensor<?x40xf32>) -> tensor<?x40xf32> {{\n^bb0(%v0: f32):\n"
        + special
        + f"mk.yield {last} : f32\n}}\n{operation}mk.yield %r : f32\n}}\n"
        + "%z = mk.select_rows %y, %rows : (tensor<?x40xf32>, tensor<?xi32>) -> tensor<?x40xf32>\n"
        "return %z : tensor<?x40xf32>\n}"
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_those_of_pytorch(name: str) -> None:
    rng = np.random.default_rng(0)
    table = (rng.standard_normal((32, 40)) * np.geomspace(1e-3, 30, 32)[:, None]).astype(np.float32)
    table[7:20, :6] = np.array(list(SPECIAL))
    table[20:, 33:39] = np.array(list(SPECIAL))
    given = table.copy()
    for number, value in SPECIAL.items():
        given[table == np.float32(number)] = value
    x = torch.from_numpy(given)
    operands = [x, x.flip(1)] if name in BINARY else [x]
    exact = FUNCTIONS[name][0](*(operand.double() for operand in operands)).numpy()
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    found, meant = run(function(name), table)
    for result in (found, meant):
        assert np.array_equal(np.isnan(result), np.isnan(rounded))
        infinite = np.isinf(rounded)
        assert np.array_equal(result[infinite], rounded[infinite])
        rest = ~infinite & ~np.isnan(rounded)
        # Denormal results, and what is next to the largest number, may be flushed.
        tolerance = FUNCTIONS[name][1] * 2**-23 * np.abs(exact[rest]) + 2e-38
        ordinary = np.abs(exact[rest]) < 3e38
        assert (np.abs(result[rest] - exact[rest]) <= tolerance)[ordinary].all()


def random_map(rng: np.random.Generator, sizes: list[int], columns: int) -> str:
    """Any expression of the numbers, within the columns."""
    names = [f"d{i}" for i in range(len(sizes))]
    kind = rng.integers(0, 4)
    if kind == 0:  # in another order
        order, stride, terms = rng.permutation(len(sizes)), 1, []
        for i in order[::-1]:
            terms.append(f"{names[i]} * {stride}")
            stride *= sizes[i]
        text = " + ".join(terms)
        return text if stride <= columns else f"({text}) mod {columns}"
    if kind == 1:  # some of them, from behind
        i = int(rng.integers(0, len(sizes)))
        return f"{columns - 1} - ({names[i]} mod {min(columns, sizes[i])})"
    if kind == 2:  # parts of one
        i, by = int(rng.integers(0, len(sizes))), int(rng.integers(1, 5))
        return f"({names[i]} floordiv {by} + {int(rng.integers(0, 9))}) mod {columns}"
    weights = [f"{name} * {int(rng.integers(0, 9))}" for name in names]
    return f"({' + '.join(weights)} + {int(rng.integers(0, 40))}) mod {columns}"


@pytest.mark.parametrize("seed", range(12))
def test_machine_code_is_what_it_means_for_random_nests(seed: int) -> None:
    """Bit for bit: sums have one order."""
    rng = np.random.default_rng(seed)
    columns = int(rng.integers(5, 70))
    sizes = [5 + seed, *(int(size) for size in rng.integers(1, 9, rng.integers(0, 3)))]
    reductions = int(rng.integers(0, 2)) if seed % 3 else int(rng.integers(0, len(sizes)))
    reductions = min(reductions, len(sizes) - 1)
    combiner = ["sum", "product", "max", "min"][seed % 4]
    result = int(np.prod(sizes[: len(sizes) - reductions]))
    names = ", ".join(f"d{i}" for i in range(len(sizes)))
    maps = [f"affine_map<({names}) -> ({random_map(rng, sizes, columns)})>" for _ in range(3)]
    reduce = f'reduce {reductions} by "{combiner}"' if reductions else ""
    text = (
        HEAD.format(result=result, count=5, columns=columns)
        + f"""  %v = mk.weight @v : tensor<{columns}xf32>
  %y = mk.generic %x, %v, %x, %positions tables %x sizes {sizes} {reduce}
    maps [{", ".join(maps)}, affine_map<({names}) -> (0)>]
    : (tensor<?x{columns}xf32>, tensor<{columns}xf32>, tensor<?x{columns}xf32>, tensor<?xi32>, tensor<?x{columns}xf32>)
    -> tensor<?x{result}xf32> {{
  ^bb0(%a: f32, %b: f32, %c: f32, %p: i32, %t: tensor<?x{columns}xf32>):
    %i = mk.iteration {len(sizes) - 1}
    %j = arith.addi %i, %p : i32
    %e = mk.element %t, %j : tensor<?x{columns}xf32>
    %n = arith.sitofp %j : i32 to f32
    %m = arith.mulf %a, %b : f32
    %less = arith.cmpf olt, %c, %m : f32
    %s = arith.select %less, %e, %n : f32
    %r = arith.addf %s, %m : f32
    mk.yield %r : f32
  }}
  %z = mk.select_rows %y, %rows : (tensor<?x{result}xf32>, tensor<?xi32>) -> tensor<?x{result}xf32>
  return %z : tensor<?x{result}xf32>
}}"""
    )
    weights = {"v": rng.standard_normal(columns).astype(np.float32)}
    found, meant = run(
        text, rng.standard_normal((5, columns)).astype(np.float32), weights, workers=seed % 3 + 1
    )
    assert np.array_equal(found, meant)


def test_the_meaning_is_that_of_numpy() -> None:
    """A product of heads with a matrix of weights, transposed, in two ways."""
    text = (
        HEAD.format(result=12, count=5, columns=24)
        + """
  %w = mk.weight @w view<shape = [6, 3], flat = true> : tensor<18xf32>
  %y = mk.generic %x, %w sizes [3, 4, 6] reduce 1 by "sum"
    maps [affine_map<(d0, d1, d2) -> (d1 * 6 + d2)>, affine_map<(d0, d1, d2) -> (d2 * 3 + d0)>]
    : (tensor<?x24xf32>, tensor<18xf32>) -> tensor<?x12xf32> {
  ^bb0(%a: f32, %b: f32):
    %m = arith.mulf %a, %b : f32
    mk.yield %m : f32
  }
  %z = mk.select_rows %y, %rows : (tensor<?x12xf32>, tensor<?xi32>) -> tensor<?x12xf32>
  return %z : tensor<?x12xf32>
}"""
    )
    rng = np.random.default_rng(0)
    table, w = rng.standard_normal((5, 24)).astype(np.float32), rng.standard_normal((6, 3)).astype(np.float32)
    expected = np.einsum("nhk,kd->ndh", table.reshape(5, 4, 6), w).reshape(5, 12)
    for result in run(text, table, {"w": w}):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
