# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention that a model's own code writes out, found in the exported graph and replaced by `torch.ops.mk.attention`.

Written out, attention is a product of queries and keys, something that is done to these scores, and a product with the
values; the scores have two axes of tokens. As it is exported it would let the tokens of all slots see each other, and
would know no cache. What is done to the scores is not matched but asked with numbers: for random scores, is the result
the softmax of these, times a scale, over the positions that a causal mask (perhaps with a window) lets through?
"""

from __future__ import annotations

from typing import Any

import torch

from mk.errors import ImportModelError
from mk.importer.alike import Pieces
from mk.importer.attention import Trace
from mk.importer.attention_rule import Rule, WrittenAttention, find_rule, positions_to_ask
from mk.importer.edit import Editor
from mk.importer.head_sizes import widen
from mk.importer.imported import AttentionFacts
from mk.importer.lengths import Lengths, token_axes
from mk.importer.paths import module_path
from mk.importer.slopes import add_biases, add_slopes

_aten = torch.ops.aten
_PRODUCTS = frozenset({_aten.matmul.default, _aten.bmm.default})


def replace_own_attention(
    program: torch.export.ExportedProgram, lengths: Lengths, trace: Trace, config: Any
) -> None:
    """Edits the program's graph in place; `config` says how many positions the model has.

    Raises ImportModelError, naming the module path, for a product over tokens that is no such attention.
    """
    asked, pieces = positions_to_ask(config), Pieces()
    rules: dict[int, Rule] = {}
    for node in list(program.graph.nodes):
        found = _find(node, lengths)
        if found is not None:
            number = _number(pieces, found)
            if number not in rules:
                rules[number] = find_rule(found, lengths, asked)
            _replace(program, found, trace, rules[number])
            trace.longest = asked
            lengths.forget()
    program.graph.eliminate_dead_code()


def _number(pieces: Pieces, found: WrittenAttention) -> int:
    """The same for attentions that do the same to their scores."""
    scores, weights = found.scores, found.result.args[0]
    assert isinstance(weights, torch.fx.Node)
    bias = scores.args[0] if scores.target is _aten.baddbmm.default else None
    known = pieces.number(bias, {}) if isinstance(bias, torch.fx.Node) else bias
    shapes = [str(list(one.meta["val"].shape)) for one in (scores, found.query)]
    return pieces.number(weights, {scores: (str(scores.target), repr(scores.kwargs), known, *shapes)})


def write_out_attention(program: torch.export.ExportedProgram) -> None:
    """Makes products of torch's own operator, whose scores are then asked like any others."""
    for node in list(program.graph.nodes):
        if node.target is _aten.scaled_dot_product_attention.default:
            _write_out(program, node)


def _write_out(program: torch.export.ExportedProgram, node: torch.fx.Node) -> None:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    if given.get("dropout_p"):
        raise ImportModelError(
            f"{module_path(node) or 'the model'}: attention dropout is {given['dropout_p']}, it must be 0"
        )
    edit = Editor(program, node)
    size = int(given["query"].meta["val"].shape[-1])
    keys, values = given["key"], given["value"]
    if (
        given.get("enable_gqa")
        and (groups := int(given["query"].meta["val"].shape[-3]) // int(keys.meta["val"].shape[-3])) > 1
    ):
        keys, values = (
            edit.call(_aten.repeat_interleave.self_int, one, groups, -3) for one in (keys, values)
        )
    keys = edit.call(_aten.transpose.int, keys, -1, -2)
    scores = edit.call(_aten.matmul.default, given["query"], keys)
    scores = edit.call(
        _aten.mul.Tensor, scores, size**-0.5 if given.get("scale") is None else float(given["scale"])
    )
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        ones = edit.call(_aten.ones_like.default, scores)
        mask = edit.call(_aten.gt.Scalar, edit.call(_aten.tril.default, ones), 0.0)
    if mask is not None and mask.meta["val"].dtype is torch.bool:
        scores = edit.call(
            _aten.masked_fill.Scalar, scores, edit.call(_aten.logical_not.default, mask), -torch.inf
        )
    elif mask is not None:
        scores = edit.call(_aten.add.Tensor, scores, mask)
    weights = edit.call(_aten.softmax.int, scores, -1)
    edit.replace(edit.call(_aten.matmul.default, weights, values), program)
    program.graph.erase_node(node)  # torch takes its dropout for a reason to keep it


def _find(node: torch.fx.Node, lengths: Lengths) -> WrittenAttention | None:
    """The attention whose last product is `node`."""
    if node.target not in _PRODUCTS or len(token_axes(node, lengths.symbol)) != 1:
        return None
    weights, values = node.args
    assert isinstance(weights, torch.fx.Node) and isinstance(values, torch.fx.Node)
    if len(token_axes(weights, lengths.symbol)) != 2 or lengths.knows(weights):
        return None
    where = module_path(node) or "the model"
    sources = _scores(weights, lengths)
    if len(sources) != 1:
        raise ImportModelError(
            f"{where}: tokens meet in another way than by attention; mk cannot see a cache for it"
        )
    (scores,) = sources
    query, keys = scores.args[-2:]
    assert isinstance(query, torch.fx.Node) and isinstance(keys, torch.fx.Node)
    return WrittenAttention(scores, node, query, keys, values, where)


def _scores(weights: torch.fx.Node, lengths: Lengths) -> set[torch.fx.Node]:
    """The products that `weights` is made of, by operators on scores of all pairs of tokens."""
    found: set[torch.fx.Node] = set()
    seen: set[torch.fx.Node] = set()
    waiting = [weights]
    while waiting:
        node = waiting.pop()
        if node in seen or lengths.knows(node):
            continue
        seen.add(node)
        pairs = len(token_axes(node, lengths.symbol)) == 2
        if pairs and node.target in (*_PRODUCTS, _aten.baddbmm.default):
            operands = [one for one in node.args[-2:] if isinstance(one, torch.fx.Node)]
            if len(operands) == 2 and all(len(token_axes(one, lengths.symbol)) == 1 for one in operands):
                found.add(node)
                continue
        waiting += node.all_input_nodes
        if not pairs and node.op == "placeholder":
            found.add(node)  # a parameter or token among the scores: not what attention does
    return found


def _replace(
    program: torch.export.ExportedProgram, found: WrittenAttention, trace: Trace, rule: Rule
) -> None:
    edit = Editor(program, found.result)
    rank = found.result.meta["val"].ndim

    def heads(node: torch.fx.Node) -> torch.fx.Node:
        return node if node.meta["val"].ndim == 4 else edit.call(_aten.unsqueeze.default, node, 0)

    query, values = heads(found.query), heads(found.values)
    keys = heads(edit.call(_aten.transpose.int, found.keys, -2, -1))
    columns = int(values.meta["val"].shape[3])
    if rule.biases is not None:
        if str(query.meta["val"].shape[1]) != str(keys.meta["val"].shape[1]):
            raise ImportModelError(
                f"{found.where}: its scores grow with the position in rounded steps, other ones for each query head, "
                "and query heads share keys; mk adds such steps to the keys"
            )
        query, keys = add_biases(program, edit, query, keys, rule.biases / rule.scale)
    elif bool(rule.slopes.any()):
        query, keys = add_slopes(program, edit, query, keys, rule.slopes / rule.scale)
    widest = max(int(one.meta["val"].shape[3]) for one in (query, keys, values))

    query, keys, values = widen(edit, query, keys, values, widest)
    layer = max(trace.found, default=-1) + 1
    q, k, v = (one.meta["val"].shape for one in (query, keys, values))
    trace.found[layer] = AttentionFacts(
        int(q[1]), int(k[1]), int(k[3]), int(v[3]), rule.scale, rule.window, 0.0, False, found.where
    )
    inputs = (edit.input("positions"), edit.input("slots"))
    result = edit.call(
        torch.ops.mk.attention.default,
        query,
        keys,
        values,
        *inputs,
        layer,
        rule.scale,
        rule.window,
        0.0,
        None,
    )
    if columns < widest:
        result = edit.call(_aten.slice.Tensor, result, 3, 0, columns)
    result = edit.call(_aten.transpose.int, result, 1, 2)
    edit.replace(result if rank == 4 else edit.call(_aten.squeeze.dim, result, 0), program)
