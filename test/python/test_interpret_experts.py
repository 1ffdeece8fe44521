# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The reference interpreter on mixtures of experts, against PyTorch and NumPy written another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_interpret import bf16, rows, run


def route(logits: np.ndarray, chosen: int, attributes: str = "") -> np.ndarray:  # type: ignore[type-arg]
    type = f"tensor<?x{logits.shape[1]}xf32>"
    body = f"""%r = mk.topk_route %a {{chosen = {chosen} : i64 {attributes}}} : ({type}) -> {type}
      return %r : {type}"""
    return run(f"{type} -> {type}", body, logits)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_route_is_pytorch_s_softmax_and_topk(normalize: bool) -> None:
    logits = 3 * rows(20, 9)
    values, experts = torch.softmax(torch.from_numpy(logits), -1).topk(4, -1)
    if normalize:
        values /= values.sum(-1, keepdim=True)
    expected = torch.zeros(20, 9).scatter(1, experts, 1.5 * values)
    found = route(logits, 4, ", scale = 1.5 : f64" + (", normalize" if normalize else ""))
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-6)


def test_of_equal_logits_the_lowest_expert_is_chosen_and_nothing_twice() -> None:
    logits = np.array([[1, 2, 2, 2], [0, 0, 0, 0], [-np.inf, 5, -np.inf, -np.inf]], np.float32)
    found = route(logits, 2, ", normalize")
    np.testing.assert_array_equal(found, [[0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0]])


def test_what_is_no_number_is_never_chosen() -> None:
    logits = np.array([[np.nan, 1, 0, np.nan], [np.nan] * 4], np.float32)
    found = route(logits, 3, ", normalize")
    np.testing.assert_allclose(found[0], [0, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0], rtol=1e-6)
    np.testing.assert_array_equal(found[1], [0, 0, 0, 0])


@pytest.mark.parametrize("storage", ["f32", "bf16"])
def test_experts_are_their_gated_layers_added_with_their_weights(storage: str) -> None:
    x, up, down = rows(6, 8), rows(3 * 20, 8).reshape(3, 20, 8), rows(3 * 5, 10).reshape(3, 5, 10)
    weights = route(rows(6, 3), 2, ", normalize")
    body = f"""%u = mk.weight @up : tensor<3x20x8x{storage}>
      %d = mk.weight @down : tensor<3x5x10x{storage}>
      %h = mk.moe_linear %a, %b, %u {{chosen = 2 : i64}}
        : (tensor<?x8xf32>, tensor<?x3xf32>, tensor<3x20x8x{storage}>) -> tensor<?x20xf32> epilogue {{
      ^bb0(%acc: tensor<?x20xf32>):
        %s = mk.slice %acc {{offset = 0 : i64}} : (tensor<?x20xf32>) -> tensor<?x10xf32>
        %t = mk.slice %acc {{offset = 10 : i64}} : (tensor<?x20xf32>) -> tensor<?x10xf32>
        %g = mk.glu %s, %t : (tensor<?x10xf32>, tensor<?x10xf32>) -> tensor<?x10xf32>
        mk.yield %g : tensor<?x10xf32>
      }}
      %y = mk.moe_combine %h, %b, %d {{chosen = 2 : i64}}
        : (tensor<?x20xf32>, tensor<?x3xf32>, tensor<3x5x10x{storage}>) -> tensor<?x5xf32>
      return %y : tensor<?x5xf32>"""
    signature = "tensor<?x8xf32>, tensor<?x3xf32> -> tensor<?x5xf32>"
    found = run(signature, body, x, weights, weights={"up": up, "down": down})
    stored = bf16 if storage == "bf16" else np.asarray
    expected = np.zeros((6, 5))
    for n in range(6):
        for e in range(3):
            gate, value = (stored(up[e]).astype(np.float64) @ stored(x[n])).reshape(2, 10)
            inner = (gate / (1 + np.exp(-gate)) * value).astype(np.float32)
            expected[n] += weights[n, e] * (stored(down[e]).astype(np.float64) @ stored(inner))
    np.testing.assert_allclose(found, expected, atol=1e-4 if storage == "bf16" else 1e-5, rtol=1e-4)


def test_rows_are_gated_by_one_number_each() -> None:
    x, gate = rows(4, 6), np.array([[0], [1.5], [-100], [100]], np.float32)
    body = """%y = mk.gate_rows %a, %b : (tensor<?x6xf32>, tensor<?x1xf32>) -> tensor<?x6xf32>
      return %y : tensor<?x6xf32>"""
    found = run("tensor<?x6xf32>, tensor<?x1xf32> -> tensor<?x6xf32>", body, x, gate)
    expected = torch.sigmoid(torch.from_numpy(gate)) * torch.from_numpy(x)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6, atol=1e-30)
