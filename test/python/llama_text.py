# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llamas of any shape as text of the `mk` dialect, with random weights: neither torch nor an import is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama; `ratio` query heads share a KV head, `rotary` scales the sines and cosines.

    `head_norm`: each head of the queries and keys has a norm before its rotation, as in Qwen3. `experts`: of as many
    feed-forward layers each token chooses `chosen`, as in Mixtral; 0 for one without a choice. `window`: that of the
    first layer and every second one after it. `softcap` and `sinks` are those of attention, in all layers.
    """

    hidden: int = 48
    heads: int = 2
    ratio: int = 2
    head_dim: int = 16
    inner: int = 80
    vocabulary: int = 100
    layers: int = 2
    tied: bool = True
    bias: bool = False
    rotary: float = 1.0
    head_norm: bool = False
    experts: int = 0
    chosen: int = 2
    window: int = 0
    softcap: float = 0.0
    sinks: bool = False

    @property
    def query(self) -> int:
        return self.heads * self.ratio * self.head_dim

    @property
    def key(self) -> int:
        return self.heads * self.head_dim


class Llama:
    """`text` is the module with weights stored as `storage`, `weights` their float32 values by name.

    With `zeros` the values of matrices take no memory: enough for a compile, of any size.
    """

    def __init__(self, shape: Shape, storage: str = "f32", seed: int = 0, *, zeros: bool = False) -> None:
        self.shape, self.storage, self._zeros = shape, storage, zeros
        self.weights: dict[str, Array] = {}
        self._rng = np.random.default_rng(seed)
        self._lines: list[str] = []
        self._types = dict.fromkeys(("%tokens", "%positions", "%slots", "%rows"), "tensor<?xi32>")
        self.text = self._model()

    def _model(self) -> str:
        s = self.shape
        embed = self._weight("embed", s.vocabulary, s.hidden)
        frequencies = self._frequencies()
        x = self._op("embedding", [embed, "%tokens"], s.hidden)
        for layer in range(s.layers):
            x = self._attention(x, f"layers.{layer}", layer, frequencies)
            x = self._mlp(x, f"layers.{layer}")
        x = self._op("select_rows", [x, "%rows"], s.hidden)
        x = self._norm(x, "norm")
        logits = self._linear(
            x, embed if s.tied else self._weight("head", s.vocabulary, s.hidden), s.vocabulary
        )
        arguments = ", ".join(f"%{name}: tensor<?xi32>" for name in ("tokens", "positions", "slots", "rows"))
        result = self._type(logits)
        body = "\n".join(self._lines)
        return f"func.func @step({arguments}) -> {result} {{\n{body}\n  return {logits} : {result}\n}}\n"

    def _attention(self, x: str, name: str, layer: int, frequencies: str) -> str:
        s, row = self.shape, self._norm(x, f"{name}.norm1")
        query, key, value = (
            self._linear(
                row, self._weight(f"{name}.{part}", width, s.hidden), width, bias=f"{name}.{part}.bias"
            )
            for part, width in (("q", s.query), ("k", s.key), ("v", s.key))
        )
        if s.head_norm:
            query, key = (
                self._head_norm(x, f"{name}.{part}_norm", width)
                for x, part, width in ((query, "q", s.query), (key, "k", s.key))
            )
        rope = f"{{head_dim = {s.head_dim} : i64, scale = {s.rotary!r} : f64}}"
        query = self._op("rope", [query, "%positions", frequencies], s.query, rope)
        key = self._op("rope", [key, "%positions", frequencies], s.key, rope)
        cache = f"!mk.cache<{s.heads}x{s.head_dim}x{self.storage}>"
        empty, full = self._name(cache), self._name(cache)
        self._lines.append(f"  {empty} = mk.kv_cache {{layer = {layer} : i64}} : {cache}")
        self._append(full, "kv_append", [empty, key, value, "%positions", "%slots"], cache)
        window = 0 if layer % 2 else s.window
        numbers = (
            f"{{scale = {s.head_dim**-0.5!r} : f64, window = {window} : i64, softcap = {s.softcap!r} : f64}}"
        )
        operands = [query, full, "%positions", "%slots"]
        if s.sinks:
            operands.append(self._vector(f"{name}.sinks", s.heads * s.ratio, -1.0, 2.0))
        heads = self._op("attention", operands, s.query, numbers)
        output = self._linear(heads, self._weight(f"{name}.o", s.hidden, s.query), s.hidden)
        return self._op("add", [x, output], s.hidden)

    def _mlp(self, x: str, name: str) -> str:
        s, row = self.shape, self._norm(x, f"{name}.norm2")
        if s.experts:
            return self._op("add", [x, self._mixture(row, name)], s.hidden)
        gate, up = (
            self._linear(row, self._weight(f"{name}.{part}", s.inner, s.hidden), s.inner)
            for part in ("gate", "up")
        )
        inner = self._op("glu", [gate, up], s.inner)
        output = self._linear(inner, self._weight(f"{name}.down", s.hidden, s.inner), s.hidden)
        return self._op("add", [x, output], s.hidden)

    def _mixture(self, row: str, name: str) -> str:
        s = self.shape
        logits = self._linear(row, self._weight(f"{name}.router", s.experts, s.hidden), s.experts)
        route = self._op("topk_route", [logits], s.experts, f"{{chosen = {s.chosen} : i64, normalize}}")
        both = self._weight(f"{name}.gate_up", s.experts, 2 * s.inner, s.hidden)
        inner = self._op(
            "moe_linear", [row, route, both], s.chosen * s.inner, f"{{chosen = {s.chosen} : i64}}"
        )
        sums, half = f"tensor<?x{2 * s.inner}xf32>", f"tensor<?x{s.inner}xf32>"
        self._lines.append(f"""  epilogue {{
  ^bb0(%acc: {sums}):
    %gate = mk.slice %acc {{offset = 0 : i64}} : ({sums}) -> {half}
    %up = mk.slice %acc {{offset = {s.inner} : i64}} : ({sums}) -> {half}
    %glu = mk.glu %gate, %up : ({half}, {half}) -> {half}
    mk.yield %glu : {half}
  }}""")
        down = self._weight(f"{name}.down", s.experts, s.hidden, s.inner)
        return self._op("moe_combine", [inner, route, down], s.hidden, f"{{chosen = {s.chosen} : i64}}")

    def _norm(self, x: str, name: str) -> str:
        gain = self._vector(name, self.shape.hidden, 0.5, 1.5)
        return self._op("rms_norm", [x, gain], self.shape.hidden, "{eps = 1.0e-5 : f64}")

    def _head_norm(self, x: str, name: str, width: int) -> str:
        gain = self._vector(name, self.shape.head_dim, 0.5, 1.5)
        return self._op(
            "head_norm", [x, gain], width, f"{{head_dim = {self.shape.head_dim} : i64, eps = 1.0e-6 : f64}}"
        )

    def _linear(self, x: str, weight: str, width: int, bias: str = "") -> str:
        result = self._name(f"tensor<?x{width}xf32>")
        types = f"({self._type(x)}, {self._type(weight)}) -> {self._type(result)}"
        self._lines.append(f"  {result} = mk.linear {x}, [{weight}] : {types}")
        if not (bias and self.shape.bias):
            return result
        return self._op("add", [result, self._vector(bias, width, -0.5, 0.5)], width)

    def _frequencies(self) -> str:
        count = self.shape.head_dim // 2
        return self._declare("rope", (10000.0 ** -(np.arange(count) / count)).astype(np.float32), "f32")

    def _vector(self, name: str, size: int, low: float, high: float) -> str:
        return self._declare(name, self._rng.uniform(low, high, size).astype(np.float32), "f32")

    def _weight(self, name: str, *sizes: int) -> str:
        """Scaled so that every branch changes the logits."""
        if self._zeros:
            return self._declare(name, np.broadcast_to(np.float32(0), sizes), self.storage)
        values = self._rng.standard_normal(sizes) * 1.5 * sizes[-1] ** -0.5
        return self._declare(name, values.astype(np.float32), self.storage)

    def _declare(self, name: str, values: Array, element: str) -> str:
        self.weights[name] = values
        result = self._name(f"tensor<{'x'.join(map(str, values.shape))}x{element}>")
        self._lines.append(f"  {result} = mk.weight @{name} : {self._type(result)}")
        return result

    def _op(self, op: str, operands: list[str], width: int, attributes: str = "") -> str:
        result = self._name(f"tensor<?x{width}xf32>")
        self._append(result, op, operands, self._type(result), attributes)
        return result

    def _append(self, result: str, op: str, operands: list[str], type: str, attributes: str = "") -> None:
        types = ", ".join(self._type(operand) for operand in operands)
        self._lines.append(f"  {result} = mk.{op} {', '.join(operands)} {attributes} : ({types}) -> {type}")

    def _name(self, type: str) -> str:
        """Of a new value of that type."""
        name = f"%v{len(self._types)}"
        self._types[name] = type
        return name

    def _type(self, value: str) -> str:
        return self._types[value]
