# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The reference interpreter: each operation against NumPy written another way, a whole model against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from mk.errors import InputError, MkError, WeightError
from mk.importer import import_model
from mk.interpret import Interpreter, compare, ragged_steps
from mk.ir import Module
from models import tiny_llama

Array = np.ndarray[Any, Any]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
RNG = np.random.default_rng(7)
STEP = "%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>"


def rows(count: int, columns: int) -> Array:
    return RNG.standard_normal((count, columns)).astype(np.float32)


def bf16(array: Array) -> Array:
    return array.astype(BFLOAT16).astype(np.float32)


def run(signature: str, body: str, *arguments: Array, weights: dict[str, Array] | None = None,
        request: tuple[Any, ...] | None = None) -> Array:  # fmt: skip
    """The first result of a function `(STEP, %a..: signature) { body }` on rows of tokens."""
    names = ["%a", "%b", "%c"][: len(arguments)]
    types, result = signature.split("-> ")
    parameters = "".join(
        f", {name}: {type}" for name, type in zip(names, types.split(", "), strict=bool(names))
    )
    text = f"func.func @step({STEP}{parameters}) -> {result} {{\n{body}\n}}"
    count = len(arguments[0]) if arguments else 3
    request = request or (np.zeros(count), np.arange(count), np.zeros(count), np.arange(count))
    interpreter = Interpreter(Module.parse(text), weights or {}, max_sequences=4, max_length=64)
    return interpreter.call(*request, extra=dict(enumerate(arguments, 4)))[0]


def test_embedding_is_a_look_up() -> None:
    table = rows(10, 8)
    body = """%t = mk.weight @table : tensor<10x8xbf16>
      %x = mk.embedding %t, %tokens : (tensor<10x8xbf16>, tensor<?xi32>) -> tensor<?x8xf32>
      return %x : tensor<?x8xf32>"""
    request = ([7, 7, 2], [0, 1, 2], [0, 0, 0], [0, 1, 2])
    np.testing.assert_array_equal(run("-> tensor<?x8xf32>", body, weights={"table": table}, request=request),
                                  bf16(table)[[7, 7, 2]])  # fmt: skip


@pytest.mark.parametrize("storage", ["f32", "bf16"])
def test_linear_rounds_rows_to_the_type_of_its_weights(storage: str) -> None:
    x, first, second = rows(5, 64), rows(8, 64), rows(4, 64)
    body = f"""%u = mk.weight @first : tensor<8x64x{storage}>
      %v = mk.weight @second : tensor<4x64x{storage}>
      %y = mk.linear %a, [%u, %v] : (tensor<?x64xf32>, tensor<8x64x{storage}>, tensor<4x64x{storage}>)
        -> tensor<?x12xf32>
      return %y : tensor<?x12xf32>"""
    result = run("tensor<?x64xf32> -> tensor<?x12xf32>", body, x, weights={"first": first, "second": second})
    stored = bf16 if storage == "bf16" else np.asarray
    expected = stored(x).astype(np.float64) @ stored(np.concatenate([first, second])).astype(np.float64).T
    np.testing.assert_allclose(result, expected, atol=1e-5)
    if storage == "bf16":
        assert np.abs(result - x @ np.concatenate([first, second]).T).max() > 1e-3


def test_linear_sums_in_ascending_order() -> None:
    # Beside 1e8 a 1 is lost, so of 1 + 1e8 + 1 - 1e8 nothing is left in this order.
    x, matrix = np.array([[1, 1, 1, 1]], np.float32), np.array([[1, 1e8, 1, -1e8]], np.float32)
    body = """%w = mk.weight @w : tensor<1x4xf32>
      %y = mk.linear %a, [%w] : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x1xf32>
      return %y : tensor<?x1xf32>"""
    assert run("tensor<?x4xf32> -> tensor<?x1xf32>", body, x, weights={"w": matrix})[0, 0] == 0


def test_rms_norm() -> None:
    x, gain = rows(4, 32), RNG.uniform(0.5, 1.5, 32).astype(np.float32)
    body = """%g = mk.weight @gain : tensor<32xf32>
      %y = mk.rms_norm %a, %g {eps = 1.0e-2 : f64} : (tensor<?x32xf32>, tensor<32xf32>) -> tensor<?x32xf32>
      return %y : tensor<?x32xf32>"""
    wide = x.astype(np.float64)
    expected = wide * (np.square(wide).sum(1, keepdims=True) / 32 + 1e-2) ** -0.5 * gain
    np.testing.assert_allclose(
        run("tensor<?x32xf32> -> tensor<?x32xf32>", body, x, weights={"gain": gain}), expected, rtol=1e-5
    )


def test_layer_norm_and_a_norm_without_gain() -> None:
    x, gain, bias = rows(4, 32) + 3, RNG.uniform(0.5, 1.5, 32).astype(np.float32), rows(1, 32)[0]
    body = """%g = mk.weight @gain view<shape = [32], plus = 1.0> : tensor<32xf32>
      %b = mk.weight @bias : tensor<32xf32>
      %n = mk.layer_norm %a gain %g bias %b {eps = 1.0e-2 : f64}
        : (tensor<?x32xf32>, tensor<32xf32>, tensor<32xf32>) -> tensor<?x32xf32>
      %y = mk.rms_norm %n {eps = 1.0e-2 : f64} : (tensor<?x32xf32>) -> tensor<?x32xf32>
      return %y : tensor<?x32xf32>"""
    found = run("tensor<?x32xf32> -> tensor<?x32xf32>", body, x, weights={"gain": gain, "bias": bias})
    wide = x.astype(np.float64)
    normed = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-2)
    normed = normed * (1.0 + gain) + bias
    expected = normed / np.sqrt(np.square(normed).mean(1, keepdims=True) + 1e-2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_view_takes_rows_of_the_transpose() -> None:
    x, tensor = rows(3, 4), rows(4, 12)
    body = """%w = mk.weight @w view<shape = [4, 12], transposed = true, offset = 1, sizes = [2, 2], strides = [6, 2]>
        : tensor<4x4xf32>
      %y = mk.linear %a, [%w] : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
      return %y : tensor<?x4xf32>"""
    found = run("tensor<?x4xf32> -> tensor<?x4xf32>", body, x, weights={"w": tensor})
    np.testing.assert_allclose(found, x @ tensor[:, [1, 3, 7, 9]], atol=1e-5)


def test_a_part_of_each_head_is_rotated() -> None:
    x, frequencies = rows(2, 16), np.array([1, 0.1], np.float32)
    turn = np.exp(1j * np.outer([3, 40], frequencies))
    for partner, low, high in ((0, [0, 1], [2, 3]), (4, [0, 1], [4, 5])):
        body = f"""%f = mk.weight @f : tensor<2xf32>
          %y = mk.rope %a, %positions, %f {{head_dim = 8 : i64, partner = {partner} : i64}}
            : (tensor<?x16xf32>, tensor<?xi32>, tensor<2xf32>) -> tensor<?x16xf32>
          return %y : tensor<?x16xf32>"""
        request = ([0, 0], [3, 40], [0, 0], [0, 1])
        found = run(
            "tensor<?x16xf32> -> tensor<?x16xf32>", body, x, weights={"f": frequencies}, request=request
        )
        expected = x.reshape(2, 2, 8).copy()
        turned = (expected[..., low] + 1j * expected[..., high]) * turn[:, None]
        expected[..., low], expected[..., high] = turned.real, turned.imag
        np.testing.assert_allclose(found, expected.reshape(2, 16), atol=1e-5)


def test_head_norm_is_a_norm_of_each_head() -> None:
    x, gain = rows(4, 32), RNG.uniform(0.5, 1.5, 8).astype(np.float32)
    body = """%g = mk.weight @gain : tensor<8xf32>
      %y = mk.rowwise %a : (tensor<?x32xf32>) -> tensor<?x32xf32> {
      ^bb0(%row: tensor<?x32xf32>):
        %n = mk.head_norm %row, %g {head_dim = 8 : i64, eps = 1.0e-2 : f64}
          : (tensor<?x32xf32>, tensor<8xf32>) -> tensor<?x32xf32>
        mk.yield %n : tensor<?x32xf32>
      }
      return %y : tensor<?x32xf32>"""
    found = run("tensor<?x32xf32> -> tensor<?x32xf32>", body, x, weights={"gain": gain})
    for head in range(4):
        wide = x[:, 8 * head : 8 * head + 8].astype(np.float64)
        expected = wide * (np.square(wide).sum(1, keepdims=True) / 8 + 1e-2) ** -0.5 * gain
        np.testing.assert_allclose(found[:, 8 * head : 8 * head + 8], expected, rtol=1e-5)


def test_rope_is_a_complex_rotation() -> None:
    x, frequencies = rows(3, 32), np.array([1, 0.1, 0.01, 0.001], np.float32)
    body = """%f = mk.weight @f : tensor<4xf32>
      %y = mk.rope %a, %positions, %f {head_dim = 8 : i64, scale = 1.5 : f64}
        : (tensor<?x32xf32>, tensor<?xi32>, tensor<4xf32>) -> tensor<?x32xf32>
      return %y : tensor<?x32xf32>"""
    request = ([0, 0, 0], [0, 5, 60], [0, 0, 0], [0, 1, 2])
    result = run("tensor<?x32xf32> -> tensor<?x32xf32>", body, x, weights={"f": frequencies}, request=request)
    heads = x.reshape(3, 4, 8)
    turned = (
        (heads[..., :4] + 1j * heads[..., 4:]) * 1.5 * np.exp(1j * np.outer([0, 5, 60], frequencies))[:, None]
    )
    np.testing.assert_allclose(
        result.reshape(3, 4, 8), np.concatenate([turned.real, turned.imag], -1), atol=1e-5
    )


def test_elementwise_and_views() -> None:
    x, y, vector = rows(3, 8), rows(3, 8), rows(1, 8)[0]
    body = """%v = mk.weight @v : tensor<8xf32>
      %p = mk.add %a, %v : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %q = mk.mul %p, %b : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      %r = mk.glu %q, %a : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      %s = mk.slice %r {offset = 5 : i64} : (tensor<?x8xf32>) -> tensor<?x2xf32>
      %t = mk.select_rows %s, %rows : (tensor<?x2xf32>, tensor<?xi32>) -> tensor<?x2xbf16>
      return %t : tensor<?x2xbf16>"""
    result = run("tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x2xbf16>", body, x, y, weights={"v": vector},
                 request=([0, 0, 0], [0, 1, 2], [0, 0, 0], [2, 0]))  # fmt: skip
    gate = ((x + vector) * y).astype(np.float64)
    expected = (gate / (1 + np.exp(-gate)) * x)[[2, 0], 5:7]
    np.testing.assert_allclose(result, expected, rtol=2**-8)
    np.testing.assert_array_equal(result, bf16(result))


@pytest.mark.parametrize("how", ["sum", "mean", "max", "min"])
def test_across_rows_is_a_reduction_of_columns_in_every_row(how: str) -> None:
    x = rows(7, 3)
    body = f"""%y = mk.across_rows %a {{how = "{how}"}} : (tensor<?x3xf32>) -> tensor<?x3xf32>
      return %y : tensor<?x3xf32>"""
    found = run("tensor<?x3xf32> -> tensor<?x3xf32>", body, x)
    wanted = getattr(np, how)(x.astype(np.float64), axis=0)
    np.testing.assert_allclose(found, np.tile(wanted, (7, 1)), rtol=1e-6, atol=1e-6)


def test_a_choice_is_one_side_whole() -> None:
    a, b = rows(4, 5), rows(4, 5)
    body = """%y = mk.choose %a, %b, %c : (tensor<?x1xf32>, tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
      return %y : tensor<?x5xf32>"""
    for value, side in ((1, a), (0, b), (-2, a), (np.nan, a)):
        predicate = np.full((4, 1), value, np.float32)
        found = run(
            "tensor<?x1xf32>, tensor<?x5xf32>, tensor<?x5xf32> -> tensor<?x5xf32>", body, predicate, a, b
        )
        np.testing.assert_array_equal(found, side)


def test_silu_of_extremes_is_finite() -> None:
    x = np.array([[-200.0, 200.0]], np.float32)
    body = """%y = mk.silu %a : (tensor<?x2xf32>) -> tensor<?x2xf32>
      return %y : tensor<?x2xf32>"""
    np.testing.assert_array_equal(run("tensor<?x2xf32> -> tensor<?x2xf32>", body, x), [[0, 200]])


CACHE = "!mk.cache<2x16x{type}>"
APPEND = """%c = mk.kv_cache {{layer = 0 : i64}} : {cache}
  %d = mk.kv_append %c, %b, %c2, %positions, %slots
    : ({cache}, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> {cache}
"""


def attention_module(type: str, tail: str) -> Module:
    cache = CACHE.format(type=type)
    return Module.parse(
        f"func.func @step({STEP}, %a: tensor<?x64xf32>, %b: tensor<?x32xf32>, %c2: tensor<?x32xf32>)"
        f" -> tensor<?x64xf32> {{\n{(APPEND + tail).format(cache=cache)}\n return %y : tensor<?x64xf32>\n}}"
    )


WHOLE = """%y = mk.attention %a, %d, %positions, %slots {{scale = 0.3 : f64}}
  : (tensor<?x64xf32>, {cache}, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>"""
SPLIT = """%p = mk.attend %a, %d, %positions, %slots {{scale = 0.3 : f64, split = 4 : i64, splits = 16 : i64}}
  : (tensor<?x64xf32>, {cache}, tensor<?xi32>, tensor<?xi32>) -> tensor<?x1152xf32>
%y = mk.combine %p, %positions {{head_dim = 16 : i64, split = 4 : i64, splits = 16 : i64}}
  : (tensor<?x1152xf32>, tensor<?xi32>) -> tensor<?x64xf32>"""
SINKS = "%sinks = mk.weight @sinks : tensor<4xf32>\n"
FULL = """%y = mk.attention %a, %d, %positions, %slots, %sinks
  {{scale = 0.3 : f64, window = 7 : i64, softcap = 0.5 : f64}}
  : (tensor<?x64xf32>, {cache}, tensor<?xi32>, tensor<?xi32>, tensor<4xf32>) -> tensor<?x64xf32>"""
FULL_SPLIT = """%p = mk.attend %a, %d, %positions, %slots
  {{scale = 0.3 : f64, split = 4 : i64, splits = 3 : i64, window = 7 : i64, softcap = 0.5 : f64}}
  : (tensor<?x64xf32>, {cache}, tensor<?xi32>, tensor<?xi32>) -> tensor<?x216xf32>
%y = mk.combine %p, %positions, %sinks {{head_dim = 16 : i64, split = 4 : i64, splits = 3 : i64, window = 7 : i64}}
  : (tensor<?x216xf32>, tensor<?xi32>, tensor<4xf32>) -> tensor<?x64xf32>"""


@pytest.mark.parametrize("type", ["f32", "bf16"])
@pytest.mark.parametrize(
    ("tail", "window", "softcap", "sinks"),
    [
        (WHOLE, 0, 0, None),
        (SPLIT, 0, 0, None),
        (SINKS + FULL, 7, 0.5, (0.5, -1, 2, 0)),
        (SINKS + FULL_SPLIT, 7, 0.5, (0.5, -1, 2, 0)),
    ],
    ids=["whole", "split", "window-softcap-sinks", "window-softcap-sinks-split"],
)
def test_attention_over_ragged_steps(
    type: str, tail: str, window: int, softcap: float, sinks: tuple[float, ...] | None
) -> None:
    stored = bf16 if type == "bf16" else np.asarray
    weights = {} if sinks is None else {"sinks": np.array(sinks, np.float32)}
    interpreter = Interpreter(attention_module(type, tail), weights, max_sequences=4, max_length=64)
    history: dict[int, list[tuple[Array, Array]]] = {}
    for request in ragged_steps(np.random.default_rng(3), 16, 4, 64):
        _, positions, slots, _ = request
        query, keys, values = rows(len(slots), 64), rows(len(slots), 32), rows(len(slots), 32)
        (result,) = interpreter.call(*request, extra={4: query, 5: keys, 6: values})
        for n, slot in enumerate(slots):
            history.setdefault(slot, []).append((stored(keys[n]), stored(values[n])))
        for n, (slot, position) in enumerate(zip(slots, positions, strict=True)):
            past = history[slot][max(0, position + 1 - window) if window else 0 : position + 1]
            for head in range(4):
                kv = slice(16 * (head // 2), 16 * (head // 2) + 16)
                scores = [0.3 * stored(query[n, 16 * head : 16 * head + 16]) @ key[kv] for key, _ in past]
                if softcap:
                    scores = [softcap * math.tanh(score / softcap) for score in scores]
                shares = np.exp(np.array(scores, np.float64))
                total = shares.sum() + (0 if sinks is None else math.exp(sinks[head]))
                expected = sum(w * value[kv] for w, (_, value) in zip(shares / total, past, strict=True))
                np.testing.assert_allclose(result[n, 16 * head : 16 * head + 16], expected, atol=1e-5)


def test_a_reader_before_the_append_sees_the_old_cache() -> None:
    tail = WHOLE.replace("%a, %d", "%a, %c")
    interpreter = Interpreter(attention_module("f32", tail), {}, max_sequences=1, max_length=8)
    (result,) = interpreter.call([0], [0], [0], extra={4: rows(1, 64), 5: rows(1, 32), 6: rows(1, 32)})
    assert np.isnan(result).all()


def test_argmax_in_blocks_is_argmax_and_the_lowest_wins() -> None:
    x = rows(6, 40)
    x[0, [3, 17, 39]] = 9
    body = """%p = mk.argmax_partial %a {block = 16 : i64} : (tensor<?x40xf32>) -> tensor<?x6xf32>
      %t = mk.argmax_reduce %p : (tensor<?x6xf32>) -> tensor<?xi32>
      return %t : tensor<?xi32>"""
    result = run("tensor<?x40xf32> -> tensor<?xi32>", body, x)
    np.testing.assert_array_equal(result, x.argmax(1))
    assert result[0] == 3 and result.dtype == np.int32
    whole = "%t = mk.argmax %a : (tensor<?x40xf32>) -> tensor<?xi32>\n return %t : tensor<?xi32>"
    np.testing.assert_array_equal(run("tensor<?x40xf32> -> tensor<?xi32>", whole, x), result)


def test_regions_mean_what_they_hold() -> None:
    before = f"""func.func @step({STEP}, %x: tensor<?x16xf32>) -> tensor<?x16xf32> {{
      %g = mk.weight @g : tensor<16xf32>
      %w = mk.weight @w : tensor<16x16xbf16>
      %n = mk.rms_norm %x, %g {{eps = 1.0e-5 : f64}} : (tensor<?x16xf32>, tensor<16xf32>) -> tensor<?x16xf32>
      %y = mk.linear %n, [%w] : (tensor<?x16xf32>, tensor<16x16xbf16>) -> tensor<?x16xf32>
      %s = mk.add %y, %x : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
      return %s : tensor<?x16xf32>
    }}"""
    after = f"""func.func @step({STEP}, %x: tensor<?x16xf32>) -> tensor<?x16xf32> {{
      %g = mk.weight @g : tensor<16xf32>
      %w = mk.weight @w : tensor<16x16xbf16>
      %s = mk.linear %x, [%w] : (tensor<?x16xf32>, tensor<16x16xbf16>) -> tensor<?x16xf32> prologue {{
      ^bb0(%row: tensor<?x16xf32>):
        %n = mk.rms_norm %row, %g {{eps = 1.0e-5 : f64}} : (tensor<?x16xf32>, tensor<16xf32>) -> tensor<?x16xf32>
        mk.yield %n : tensor<?x16xf32>
      }} epilogue {{
      ^bb0(%acc: tensor<?x16xf32>):
        %t = mk.add %acc, %x : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
        mk.yield %t : tensor<?x16xf32>
      }}
      return %s : tensor<?x16xf32>
    }}"""
    assert compare(Module.parse(before), Module.parse(after)).absolute == 0
    wrong = Module.parse(after.replace("mk.add %acc, %x", "mk.mul %acc, %x"))
    assert compare(Module.parse(before), wrong).relative > 0.1


def test_a_program_is_its_families_in_order() -> None:
    function = Module.parse(f"""func.func @step({STEP}) -> tensor<?x16xf32> {{
      %t = mk.weight @table : tensor<20x16xbf16>
      %w = mk.weight @w : tensor<20x16xf32>
      %x = mk.embedding %t, %tokens : (tensor<20x16xbf16>, tensor<?xi32>) -> tensor<?x16xf32>
      %h = mk.select_rows %x, %rows : (tensor<?x16xf32>, tensor<?xi32>) -> tensor<?x16xf32>
      %l = mk.linear %h, [%w] : (tensor<?x16xf32>, tensor<20x16xf32>) -> tensor<?x20xf32>
      %g = mk.argmax %l : (tensor<?x20xf32>) -> tensor<?xi32>
      %n = mk.sample %l, %g : (tensor<?x20xf32>, tensor<?xi32>) -> tensor<?xi32>
      mk.advance %n : tensor<?xi32>
      return %h : tensor<?x16xf32>
    }}""")
    program = Module.parse("""mk_task.program @step {
      mk_task.buffer @tokens request domain(tokens) : tensor<?xi32>
      mk_task.buffer @rows request domain(rows) : tensor<?xi32>
      mk_task.buffer @x domain(tokens) : tensor<?x16xf32>
      mk_task.buffer @logits domain(rows) : tensor<?x20xf32>
      mk_task.buffer @next domain(rows) : tensor<?xi32>
      mk_task.weight @table [@table] layout(rows) : tensor<20x16xbf16>
      mk_task.weight @w [@w] layout(tiles) : tensor<20x16xf32>
      mk_task.kind @embedding class(columns) domain(tokens) {
      ^bb0(%t: tensor<20x16xbf16>, %tokens: tensor<?xi32>):
        %x = mk.embedding %t, %tokens : (tensor<20x16xbf16>, tensor<?xi32>) -> tensor<?x16xf32>
        mk.yield %x : tensor<?x16xf32>
      }
      mk_task.kind @head class(tiles) domain(rows) {
      ^bb0(%x: tensor<?x16xf32>, %rows: tensor<?xi32>, %w: tensor<20x16xf32>):
        %y = mk.linear %x, [%w] : (tensor<?x16xf32>, tensor<20x16xf32>) -> tensor<?x20xf32> prologue {
        ^bb0(%row: tensor<?x16xf32>):
          %h = mk.select_rows %row, %rows : (tensor<?x16xf32>, tensor<?xi32>) -> tensor<?x16xf32>
          mk.yield %h : tensor<?x16xf32>
        }
        mk.yield %y : tensor<?x20xf32>
      }
      mk_task.kind @choose class(serial) domain(rows) {
      ^bb0(%l: tensor<?x20xf32>):
        %g = mk.argmax %l : (tensor<?x20xf32>) -> tensor<?xi32>
        %n = mk.sample %l, %g : (tensor<?x20xf32>, tensor<?xi32>) -> tensor<?xi32>
        mk.yield %n : tensor<?xi32>
      }
      mk_task.kind @advance class(serial) domain(rows) {
      ^bb0(%n: tensor<?xi32>):
        mk.advance %n : tensor<?xi32>
        mk.yield
      }
      mk_task.family @embed kind(@embedding) [@table, @tokens] -> [@x]
      mk_task.family @lm_head kind(@head) [@x, @rows, @w] -> [@logits]
      mk_task.family @sample kind(@choose) [@logits] -> [@next]
      mk_task.family @end kind(@advance) [@next] -> []
    }""")
    weights = {"table": rows(20, 16), "w": rows(20, 16)}
    interpreter, reference = (Interpreter(module, weights, 4, 64) for module in (program, function))
    for request in ragged_steps(np.random.default_rng(1), 20, 4, 64):
        logits, hidden = interpreter.step(*request), reference.step(*request)
        np.testing.assert_allclose(logits, hidden @ weights["w"].T, atol=1e-5)
        np.testing.assert_array_equal(interpreter.next, logits.argmax(1))
        np.testing.assert_array_equal(interpreter.next, reference.next)


def test_refusals() -> None:
    interpreter = Interpreter(attention_module("f32", WHOLE), {}, max_sequences=2, max_length=8)
    with pytest.raises(InputError, match="same slot and position"):
        interpreter.step([1, 2], [3, 3], [0, 0])
    with pytest.raises(InputError, match=r"slot 0 \.\. 2, expected 0 \.\. 1"):
        interpreter.step([1, 2], [0, 0], [0, 2])
    with pytest.raises(MkError, match=r"module:1:\d+: the interpreter does not know arith.constant"):
        body = "func.func @step() { %c = arith.constant 1 : i32\n return }"
        Interpreter(Module.parse(body), {}).step([0], [0], [0])
    weight = "%w = mk.weight @w : tensor<4xf32>\n return %w : tensor<4xf32>"
    with pytest.raises(WeightError, match="no weight named w"):
        run("-> tensor<4xf32>", weight)
    with pytest.raises(WeightError, match=r"weight w has shape \[5\], expected tensor<4xf32>"):
        run("-> tensor<4xf32>", weight, weights={"w": np.zeros(5)})


@pytest.mark.parametrize("options", [{}, {"tied": True, "llama3_rope": True}], ids=["plain", "tied"])
def test_a_llama_is_what_pytorch_says(options: dict[str, bool]) -> None:
    model = tiny_llama(**options)
    imported = import_model(model)
    module = Module.parse(imported.text)
    module.run("convert-torch-to-mk{weight-type=f32}")
    assert imported.weights is not None
    interpreter = Interpreter(module, {**dict(imported.weights), **imported.constants}, 4, 64)
    history: dict[int, list[int]] = {}
    for tokens, positions, slots, wanted in ragged_steps(np.random.default_rng(0), 160, 4, 64):
        logits = interpreter.step(tokens, positions, slots, wanted)
        for slot, token in zip(slots, tokens, strict=True):
            history.setdefault(slot, []).append(int(token))
        for row, n in zip(logits, wanted, strict=True):
            with torch.no_grad():
                past = torch.tensor([history[slots[n]][: positions[n] + 1]])
                expected = model(past).logits[0, -1].numpy()
            assert np.abs(row - expected).max() <= 2e-4 * np.abs(expected).max()
