# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One function per operation of the `mk` dialect, each as close to its description in Mk*Ops.td as NumPy allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mk.errors import MkError
from mk.interpret.cache import Array, Cache
from mk.interpret.generic import generic
from mk.interpret.sampling import draw
from mk.interpret.step import Step
from mk.ir import Block, Operation, Value

Runtime = Any  # Array or Cache: what a value holds at run time
Environment = dict[Value, Runtime]
# (step, operation, its operands, the values from above for its regions) -> its results
Meaning = Callable[[Step, Operation, list[Any], Environment], Sequence[Runtime]]
MEANINGS: dict[str, Meaning] = {}


def run_block(block: Block, arguments: Sequence[Runtime], step: Step, above: Environment) -> list[Runtime]:
    """Runs a block of `mk` operations; returns the operands of its terminator. `above` gains the block's values.

    Raises MkError for an operation that has no meaning here, naming it.
    """
    above.update(zip(block.arguments, arguments, strict=True))
    for op in block:
        operands = [above[operand] for operand in op.operands]
        if op.name in ("mk.yield", "func.return"):
            return operands
        if op.name not in MEANINGS:
            raise MkError(f"{op.module_path or op.location}: the interpreter does not know {op.name}")
        results = MEANINGS[op.name](step, op, operands, above)
        for value, result in zip(op.results, results, strict=True):
            above[value] = _rounded(result, value)
    return []


def _rounded(result: Runtime, value: Value) -> Runtime:
    """A float32 result as its type stores it: rounded once if the type is narrower."""
    if isinstance(result, Cache) or result.dtype == np.int32 or value.owner.name == "mk.weight":  # type: ignore[union-attr]
        return result
    return _round(result, value.type.dtype)


def _round(array: Array, dtype: np.dtype[Any]) -> Array:
    return array if dtype == np.float32 else array.astype(dtype).astype(np.float32)


def meaning(name: str) -> Callable[[Meaning], Meaning]:
    def register(function: Meaning) -> Meaning:
        MEANINGS[name] = function
        return function

    return register


@meaning("mk.weight")
def weight(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    return [step.weights.get([op.attributes["source"]], op.results[0].type, [op.attributes.get("view")])]


@meaning("mk.embedding")
def embedding(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    table, indices = operands
    return [table[indices + op.attributes.get("offset", 0)].astype(np.float32)]


@meaning("mk.linear")
def linear(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    row, *weights = operands
    prologue, epilogue = (list(region) for region in op.regions)
    if prologue:
        (row,) = run_block(prologue[0], [row], step, above)
    accumulators = multiply(_round(row, weights[0].dtype), np.concatenate(weights))
    return run_block(epilogue[0], [accumulators], step, above) if epilogue else [accumulators]


@meaning("mk.topk_route")
def topk_route(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    (logits,) = operands
    result = np.zeros_like(logits)
    for n, row in enumerate(logits):
        order = [e for e in np.argsort(-row, kind="stable") if not np.isnan(row[e])]
        chosen = order[: op.attributes["chosen"]]
        if not chosen:
            continue
        powers = np.exp(row - row[chosen[0]])
        total = powers[chosen].sum() if "normalize" in op.attributes else powers.sum()
        result[n, chosen] = powers[chosen] / total * np.float32(op.attributes.get("scale", 1.0))
    return [result]


@meaning("mk.moe_linear")
def moe_linear(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    x, route, weight = operands
    rows, blocks = _round(x, weight.dtype), op.attributes["chosen"]
    products = np.full((blocks, len(x), weight.shape[1]), np.nan, np.float32)  # NaN marks what is unspecified
    for n, e, j in _choices(route):
        products[j, n] = multiply(rows[n : n + 1], weight[e])[0]
    epilogue = list(op.regions[0])
    parts = [run_block(epilogue[0], [part], step, above)[0] for part in products] if epilogue else products
    return [np.concatenate(parts, axis=1)]


@meaning("mk.moe_combine")
def moe_combine(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    x, route, weight = operands
    blocks = _round(x, weight.dtype).reshape(len(x), op.attributes["chosen"], weight.shape[2])
    sums = np.zeros((len(x), weight.shape[1]), np.float32)
    for n, e, j in _choices(route):
        product = multiply(blocks[n, j : j + 1], weight[e])[0].astype(np.float64)
        sums[n] = (product * route[n, e] + sums[n]).astype(np.float32)
    epilogue = list(op.regions[0])
    return run_block(epilogue[0], [sums], step, above) if epilogue else [sums]


@meaning("mk.gate_rows")
def gate_rows(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    x, gate = operands
    with np.errstate(
        over="ignore"
    ):  # exp of a large number is infinite, and the quotient the 0 that it should be
        return [x * (1 / (1 + np.exp(-gate)))]


def _choices(route: Array) -> list[tuple[int, int, int]]:
    """(row, expert, place among the row's experts) in ascending order."""
    return [(n, int(e), j) for n, row in enumerate(route) for j, e in enumerate(np.flatnonzero(row))]


@meaning("mk.rowwise")
def rowwise(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    (body,) = op.regions[0]
    return run_block(body, operands, step, above)


def multiply(rows: Array, matrix: Array) -> Array:
    """rows [N, K] times the transpose of matrix [R, K]: exact products, float32 sums, k ascending."""
    wide, columns = rows.T.astype(np.float64), np.ascontiguousarray(matrix.T).astype(np.float32)
    sums = np.zeros((rows.shape[0], matrix.shape[0]), np.float32)
    for k in range(rows.shape[1]):
        sums = (sums + wide[k][:, None] * columns[k]).astype(np.float32)
    return sums


@meaning("mk.rms_norm")
def rms_norm(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    x, *gain = operands
    mean = np.mean(x * x, axis=1, keepdims=True, dtype=np.float32)
    return [x / np.sqrt(mean + np.float32(op.attributes["eps"])) * (gain[0] if gain else np.float32(1))]


@meaning("mk.layer_norm")
def layer_norm(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    x, *vectors = operands
    _, has_gain, has_bias = op.attributes["operandSegmentSizes"]
    gain = vectors.pop(0) if has_gain else np.float32(1)
    bias = vectors.pop(0) if has_bias else np.float32(0)
    centered = x - np.mean(x, axis=1, keepdims=True, dtype=np.float32)
    variance = np.mean(centered * centered, axis=1, keepdims=True, dtype=np.float32)
    return [centered / np.sqrt(variance + np.float32(op.attributes["eps"])) * gain + bias]


@meaning("mk.head_norm")
def head_norm(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    x, gain = operands
    heads = x.reshape(len(x), -1, op.attributes["head_dim"])
    mean = np.mean(heads * heads, axis=2, keepdims=True, dtype=np.float32)
    return [(heads / np.sqrt(mean + np.float32(op.attributes["eps"])) * gain).reshape(x.shape)]


@meaning("mk.rope")
def rope(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    x, positions, frequencies = operands
    angles = (positions[:, None].astype(np.float32) * frequencies)[:, None, :]
    scale = np.float32(op.attributes.get("scale", 1.0))
    cos, sin = np.cos(angles) * scale, np.sin(angles) * scale
    heads = x.reshape(len(x), -1, op.attributes["head_dim"])
    pairs, result = len(frequencies), heads.copy()
    apart = op.attributes.get("partner", 0) or pairs
    low, high = heads[..., :pairs], heads[..., apart : apart + pairs]
    result[..., :pairs], result[..., apart : apart + pairs] = low * cos - high * sin, high * cos + low * sin
    return [result.reshape(x.shape)]


@meaning("mk.select_rows")
def select_rows(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    x, rows = operands
    return [x[rows]]


@meaning("mk.slice")
def slice_columns(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    offset, columns = op.attributes["offset"], op.results[0].type.shape[1]
    assert columns is not None
    return [operands[0][:, offset : offset + columns]]


_erf = np.vectorize(math.erf, otypes=[np.float64])
# The elementwise ops: columns of the operands, and the number of `mk.scale` and `mk.shift`.
ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "mk.add": lambda a, b: a + b,
    "mk.sub": lambda a, b: a - b,
    "mk.mul": lambda a, b: a * b,
    "mk.div": lambda a, b: a / b,
    "mk.scale": lambda x, number: x * number,
    "mk.shift": lambda x, number: x + number,
    "mk.exp": lambda x: np.exp(x),
    "mk.tanh": lambda x: np.tanh(x),
    "mk.sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "mk.relu": lambda x: np.maximum(x, 0),
    "mk.silu": lambda x: x / (1 + np.exp(-x)),
    "mk.gelu": lambda x: x / 2 * (1 + _erf(x / math.sqrt(2))),
    "mk.gelu_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "mk.glu": lambda gate, up: gate / (1 + np.exp(-gate)) * up,
}


def _elementwise(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    numbers = [np.float32(op.attributes["number"])] if "number" in op.attributes else []
    # exp of a large number is infinite, and the quotient the 0 that it should be
    with np.errstate(over="ignore"):
        return [np.asarray(ELEMENTWISE[op.name](*operands, *numbers), np.float32)]


MEANINGS.update(dict.fromkeys(ELEMENTWISE, _elementwise))


@meaning("mk.generic")
def generic_rows(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    return [generic(op, operands)]


@meaning("mk.kv_cache")
def kv_cache(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    return [step.caches.get(op.attributes["layer"], op.results[0].type)]


@meaning("mk.kv_append")
def kv_append(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    cache, keys, values, positions, slots = operands
    grown: Cache = cache.append(keys, values, positions, slots)
    step.caches.layers[grown.layer] = grown  # what the next step finds
    return [grown]


def _first_seen(op: Operation, position: int) -> int:
    """The first position that the attention of a token reaches."""
    window = op.attributes.get("window", 0)
    return max(0, int(position) - window + 1) if window else 0


def _scores(op: Operation, query: Array, cache: Cache, slot: int, position: int) -> tuple[Array, Array]:
    """One token's scores [heads, positions] and, head by head, the values [heads, positions, head_dim].

    The positions are those that it sees.
    """
    keys, values = (array[_first_seen(op, position) :] for array in cache.upto(slot, position))
    heads = query.reshape(-1, keys.shape[2])
    shared = len(heads) // keys.shape[1]  # query heads that share a key head
    keys, values = (np.repeat(array, shared, axis=1).transpose(1, 0, 2) for array in (keys, values))
    rounded = _round(heads, cache.keys.dtype)
    scores = np.einsum("hd,hpd->hp", rounded, keys) * np.float32(op.attributes["scale"])
    if softcap := np.float32(op.attributes.get("softcap", 0.0)):
        scores = np.tanh(scores / softcap) * softcap
    return scores, values


@meaning("mk.attention")
def attention(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    query, cache, positions, slots, *sinks = operands
    result = np.empty_like(query)
    for n in range(len(query)):
        scores, values = _scores(op, query[n], cache, slots[n], positions[n])
        logits = np.concatenate([scores, *(sink[:, None] for sink in sinks)], axis=1)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights = (weights / weights.sum(axis=1, keepdims=True))[:, : scores.shape[1]]
        result[n] = np.einsum("hp,hpd->hd", weights, values).reshape(-1)
    return [result]


@meaning("mk.attend")
def attend(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    query, cache, positions, slots, *fresh = operands
    for prologue in op.regions[0]:
        query, *fresh = run_block(prologue, [query, *fresh], step, above)
    if fresh:  # the rows of this step, which the cache may hold already
        cache = cache.append(*fresh, step.positions, slots)
    split, splits, head_dim = op.attributes["split"], op.attributes["splits"], cache.keys.shape[3]
    # NaN marks what is unspecified: whoever reads it shows it.
    result = np.full((len(query), query.shape[1] // head_dim, splits, head_dim + 2), np.nan, np.float32)
    for n in range(len(query)):
        scores, values = _scores(op, query[n], cache, slots[n], positions[n])
        begin = _first_seen(op, positions[n])
        for r in range(positions[n] // split - begin // split + 1):
            low = (begin // split + r) * split - begin
            cut = slice(max(0, low), low + split)
            largest = scores[:, cut].max(axis=1)
            weights = np.exp(scores[:, cut] - largest[:, None])
            result[n, :, r, :head_dim] = np.einsum("hp,hpd->hd", weights, values[:, cut])
            result[n, :, r, head_dim] = largest
            result[n, :, r, head_dim + 1] = weights.sum(axis=1)
    return [result.reshape(len(query), -1)]


@meaning("mk.combine")
def combine(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    partials, positions, *sinks = operands
    split, splits, head_dim = (op.attributes[name] for name in ("split", "splits", "head_dim"))
    parts = partials.reshape(len(partials), -1, splits, head_dim + 2)
    result = np.empty((len(partials), parts.shape[1], head_dim), np.float32)
    for n in range(len(partials)):
        ranges = parts[n, :, : positions[n] // split - _first_seen(op, positions[n]) // split + 1]
        largest = ranges[..., head_dim].max(axis=1)
        for sink in sinks:
            largest = np.maximum(largest, sink)
        factors = np.exp(ranges[..., head_dim] - largest[:, None])
        total = (factors * ranges[..., head_dim + 1]).sum(axis=1)
        for sink in sinks:
            total = total + np.exp(sink - largest)
        result[n] = (factors[..., None] * ranges[..., :head_dim]).sum(axis=1) / total[:, None]
    return [result.reshape(len(partials), -1)]


@meaning("mk.argmax")
def argmax(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    return [operands[0].argmax(axis=1).astype(np.int32)]


@meaning("mk.argmax_partial")
def argmax_partial(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    (x,) = operands
    block, parts = op.attributes["block"], []
    for begin in range(0, x.shape[1], block):
        column = (begin + x[:, begin : begin + block].argmax(axis=1)).astype(np.int32)
        parts += [x[np.arange(len(x)), column], column.view(np.float32)]
    return [np.stack(parts, axis=1)]


@meaning("mk.argmax_reduce")
def argmax_reduce(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    values, columns = operands[0][:, ::2], np.ascontiguousarray(operands[0][:, 1::2]).view(np.int32)
    return [columns[np.arange(len(values)), values.argmax(axis=1)]]


@meaning("mk.across_rows")
def across_rows(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    (x,) = operands
    how = op.attributes["how"]
    if how in ("max", "min"):
        with np.errstate(invalid="ignore"):
            total = (np.maximum if how == "max" else np.minimum).reduce(
                x, axis=0, initial=-np.inf if how == "max" else np.inf
            )
    else:
        total = np.zeros(x.shape[1], np.float32)
        for row in x:  # in ascending order
            total = total + row
        total = total / np.float32(max(len(x), 1)) if how == "mean" else total
    return [np.broadcast_to(total.astype(np.float32), x.shape).copy()]


@meaning("mk.choose")
def choose(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    predicate, taken, other = operands
    return [taken if len(predicate) == 0 or predicate[0, 0] != 0 else other]


@meaning("mk.sample")
def sample(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    logits, greedy = operands
    step.logits = logits
    positions = step.positions[step.rows]
    return [
        np.array([draw(*row) for row in zip(logits, greedy, positions, step.sampling, strict=True)], np.int32)
    ]


@meaning("mk.advance")
def advance(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    step.next = operands[0]
    return []


@meaning("mk.finish")
def finish(step: Step, op: Operation, operands: list[Any], above: Environment) -> Sequence[Runtime]:
    step.results = operands
    return []
