# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention that a model's own code writes out, found in the exported graph and replaced by `torch.ops.mk.attention`.

Written out, attention is a product of queries and keys, something that is done to these scores, and a product with the
values; the scores have two axes of tokens. As it is exported it would let the tokens of all slots see each other, and
would know no cache. What is done to the scores is not matched but asked with numbers: for random scores, is the result
the softmax of these, times a scale, over the positions that a causal mask (perhaps with a window) lets through?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mk.errors import ImportModelError
from mk.importer.attention import Trace
from mk.importer.edit import Editor
from mk.importer.imported import AttentionFacts
from mk.importer.lengths import Lengths, token_axes
from mk.importer.masks import probe_limit
from mk.importer.paths import module_path

_aten = torch.ops.aten
_PRODUCTS = frozenset({_aten.matmul.default, _aten.bmm.default})
FARTHEST = 1 << 12  # positions; a model that has more is asked about these
PROBES = (1, 2, 3, 5, 8, 13, 31)  # lengths of sequences
LARGEST_PROBE = 1 << 24  # scores of all heads


@dataclass
class _Attention:
    """`scores` is the product of queries and keys, `result` that with the values."""

    scores: torch.fx.Node
    result: torch.fx.Node
    query: torch.fx.Node
    keys: torch.fx.Node  # their columns are the tokens
    values: torch.fx.Node
    where: str


def replace_own_attention(
    program: torch.export.ExportedProgram, lengths: Lengths, trace: Trace, config: Any
) -> None:
    """Edits the program's graph in place; `config` says how many positions the model has.

    Raises ImportModelError, naming the module path, for a product over tokens that is no such attention.
    """
    for node in list(program.graph.nodes):
        found = _find(node, lengths)
        if found is not None:
            scale, window = _meaning(found, lengths, _positions(config, found.where))
            _replace(program, found, trace, scale, window)
            lengths.forget()
    program.graph.eliminate_dead_code()


def _positions(config: Any, where: str) -> int:
    """How many to ask about, so that a window or another rule of any size that the config names shows."""
    longest = getattr(config, "max_position_embeddings", None) or 0
    longest = longest if longest > 0 else FARTHEST
    if longest <= FARTHEST:
        return int(longest)
    if probe_limit(config, FARTHEST) > FARTHEST:
        raise ImportModelError(
            f"{where}: its mask may change after more than {FARTHEST} tokens; mk cannot compile it"
        )
    return FARTHEST


def write_out_attention(program: torch.export.ExportedProgram) -> None:
    """Makes products of torch's own operator, whose scores are then asked like any others."""
    for node in list(program.graph.nodes):
        if node.target is _aten.scaled_dot_product_attention.default:
            _write_out(program, node)


def _write_out(program: torch.export.ExportedProgram, node: torch.fx.Node) -> None:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    if given.get("enable_gqa"):
        raise ImportModelError(
            f"{module_path(node) or 'the model'}: torch's attention shares its keys between heads"
        )
    edit = Editor(program, node)
    size = int(given["query"].meta["val"].shape[-1])
    keys = edit.call(_aten.transpose.int, given["key"], -1, -2)
    scores = edit.call(_aten.matmul.default, given["query"], keys)
    scores = edit.call(_aten.mul.Tensor, scores, float(given.get("scale") or size**-0.5))
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
    edit.replace(edit.call(_aten.matmul.default, weights, given["value"]), program)
    program.graph.erase_node(node)  # torch takes its dropout for a reason to keep it


def _find(node: torch.fx.Node, lengths: Lengths) -> _Attention | None:
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
    return _Attention(scores, node, query, keys, values, where)


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


def _meaning(found: _Attention, lengths: Lengths, longest: int) -> tuple[float, int]:
    """The scale and the window (0: none) of an attention. Raises ImportModelError if it is none."""

    def refuse(what: str) -> ImportModelError:
        return ImportModelError(f"{found.where}: {what}; mk cannot compile this attention")

    heads = max(1, torch.Size(lengths.shape(found.scores, 1)).numel())
    last = min(longest, int((LARGEST_PROBE / heads) ** 0.5))
    generator = torch.Generator().manual_seed(0)

    def ask(length: int, size: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Random scores and what becomes of them, both [heads, length, length]."""
        shape = lengths.shape(found.scores, length)
        scores = torch.randn(shape, generator=generator) * size
        try:
            product = scores
            if found.scores.target is _aten.baddbmm.default:
                bias = lengths.run(found.scores.args[0], length, {})
                beta, alpha = found.scores.kwargs.get("beta", 1), found.scores.kwargs.get("alpha", 1)
                product = bias * beta + scores * alpha
            weights = lengths.run(found.result.args[0], length, {found.scores: product})
        except Exception as error:  # the operators are the model's
            raise refuse("its scores depend on more than the query, the key and their positions") from error
        return scores.reshape(-1, length, length), weights.float().reshape(-1, length, length)

    _, weights = ask(last, 0.0)
    visible = weights[0] > 0
    window = int(visible[-1].sum())
    distance = torch.arange(last)[:, None] - torch.arange(last)[None, :]
    if not torch.equal(visible, (distance >= 0) & (distance < window)):
        raise refuse("its mask is neither causal nor a sliding window")
    scale = _rounded(_scale(ask), int(found.query.meta["val"].shape[-1]))
    for length in (*(one for one in PROBES if one < last), last):
        for size in (0.1, 3.0, 60.0):
            scores, weights = ask(length, size)
            distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
            hidden = (distance < 0) | (distance >= window)
            expected = torch.softmax((scores * scale).masked_fill(hidden, -torch.inf), -1)
            if weights.shape != expected.shape or not torch.allclose(weights, expected, rtol=1e-3, atol=1e-5):
                raise refuse("it does more to its scores than to scale, mask and normalise them")
    if last < longest and not _masks_far(found, lengths, longest, window if window < last else longest):
        raise refuse("its mask is neither causal nor a sliding window")
    return scale, 0 if window == last else window


def _scale(ask: Any) -> float:
    """From the weights that a second token gives the first and itself."""
    scores, weights = ask(2, 1.0)
    difference = scores[:, 1, 1] - scores[:, 1, 0]
    logarithm = torch.log(weights[:, 1, 1]) - torch.log(weights[:, 1, 0])
    place = int(difference.abs().argmax())
    return float(logarithm[place] / difference[place])


def _rounded(scale: float, columns: int) -> float:
    """One of the usual scales if that is what the numbers mean; they have six digits."""
    for usual in (1.0, columns**-0.5, 1 / columns):
        if abs(scale - usual) < 1e-5 * usual:
            return usual
    return scale


def _masks_far(found: _Attention, lengths: Lengths, longest: int, window: int) -> bool:
    """Whether the masks say the same for all positions; scores of so many, of all heads, would be large."""
    masks: set[torch.fx.Node] = set()
    waiting, seen = list(found.result.all_input_nodes[:1]), {found.scores}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if not lengths.knows(node):
            waiting += node.all_input_nodes
        elif len(token_axes(node, lengths.symbol)) == 2:
            masks.add(node)
    visible = torch.ones(longest, longest, dtype=torch.bool)
    for mask in masks:
        value = lengths.at(mask, longest)  # the same for all heads, as the probes have shown
        value = value[(0,) * (value.ndim - 2)].expand(longest, longest)
        visible &= value > -1 if value.is_floating_point() else value == value[0, 0]
    distance = torch.arange(longest)[:, None] - torch.arange(longest)[None, :]
    return torch.equal(visible, (distance >= 0) & (distance < window))


def _replace(
    program: torch.export.ExportedProgram, found: _Attention, trace: Trace, scale: float, window: int
) -> None:
    edit = Editor(program, found.result)
    rank = found.result.meta["val"].ndim

    def heads(node: torch.fx.Node) -> torch.fx.Node:
        return node if node.meta["val"].ndim == 4 else edit.call(_aten.unsqueeze.default, node, 0)

    query, values = heads(found.query), heads(found.values)
    keys = heads(edit.call(_aten.transpose.int, found.keys, -2, -1))
    layer = max(trace.found, default=-1) + 1
    q, k, v = (one.meta["val"].shape for one in (query, keys, values))
    trace.found[layer] = AttentionFacts(
        int(q[1]), int(k[1]), int(k[3]), int(v[3]), scale, window, 0.0, False, found.where
    )
    inputs = (edit.input("positions"), edit.input("slots"))
    result = edit.call(
        torch.ops.mk.attention.default, query, keys, values, *inputs, layer, scale, window, 0.0, None
    )
    result = edit.call(_aten.transpose.int, result, 1, 2)
    edit.replace(result if rank == 4 else edit.call(_aten.squeeze.dim, result, 0), program)
