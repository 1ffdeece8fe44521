# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an attention that a model writes out does to its scores, found out by asking it with numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mk.errors import ImportModelError
from mk.importer.lengths import Lengths, token_axes
from mk.importer.masks import probe_limit
from mk.importer.step import longest_sequence

_aten = torch.ops.aten
FARTHEST = 1 << 12  # positions; a model that has more is asked about these
PROBES = (1, 2, 3, 5, 8, 13, 31)  # lengths of sequences
LARGEST_PROBE = 1 << 24  # scores of all heads


@dataclass
class WrittenAttention:
    """`scores` is the product of queries and keys, `result` that with the values."""

    scores: torch.fx.Node
    result: torch.fx.Node
    query: torch.fx.Node
    keys: torch.fx.Node  # their columns are the tokens
    values: torch.fx.Node
    where: str


def positions_to_ask(config: Any, where: str) -> int:
    """How many to ask about, so that a window or another rule of any size that the config names shows."""
    longest = longest_sequence(config) or FARTHEST
    if longest <= FARTHEST:
        return longest
    if probe_limit(config, FARTHEST) > FARTHEST:
        raise ImportModelError(
            f"{where}: its mask may change after more than {FARTHEST} tokens; mk cannot compile it"
        )
    return FARTHEST


@dataclass
class Rule:
    """Scores times `scale`, plus the key's position times `slopes[head]`, within a window (0: all earlier tokens)."""

    scale: float
    window: int
    slopes: torch.Tensor


def find_rule(found: WrittenAttention, lengths: Lengths, longest: int) -> Rule:
    """The rule of an attention. Raises ImportModelError if it has none of this kind."""

    def refuse(what: str) -> ImportModelError:
        return ImportModelError(f"{found.where}: {what}; mk cannot compile this attention")

    heads = torch.Size(lengths.shape(found.scores, 1)).numel()
    last = min(longest, int((LARGEST_PROBE / heads) ** 0.5))
    generator = torch.Generator().manual_seed(0)
    shape = (heads, last, last)

    def ask(scores: torch.Tensor) -> torch.Tensor:
        """What becomes of scores [heads, length, length]."""
        length = scores.shape[-1]
        given = scores.reshape(lengths.shape(found.scores, length))
        try:
            if found.scores.target is _aten.baddbmm.default:
                bias = lengths.run(found.scores.args[0], length, {})
                given = bias * found.scores.kwargs.get("beta", 1) + given * found.scores.kwargs.get(
                    "alpha", 1
                )
            weights = lengths.run(found.result.args[0], length, {found.scores: given})
        except Exception as error:  # the operators are the model's
            raise refuse("its scores depend on more than the query, the key and their positions") from error
        if weights.numel() != scores.numel():
            raise refuse("it does not give each pair of tokens a weight")
        return weights.float().reshape(scores.shape)

    def preference(scores: torch.Tensor) -> torch.Tensor:
        """By how much the last token's weight for itself exceeds that for the first, as a difference of scores."""
        weights = ask(scores).double()
        return torch.log(weights[:, -1, -1] / weights[:, -1, 0])

    zeros, tilted = torch.zeros(heads, 2, 2), torch.zeros(heads, 2, 2)
    tilted[:, 1, 1] = 1
    slopes = preference(zeros)
    scale = _rounded(float((preference(tilted) - slopes).mean()), int(found.query.meta["val"].shape[-1]))
    if not scale or not bool(torch.isfinite(slopes).all()):
        raise refuse("its mask is neither causal nor a sliding window")
    slopes = torch.where(slopes.abs() < 1e-6, 0, slopes)

    def bias(length: int) -> torch.Tensor:
        return (slopes[:, None, None] * torch.arange(length)).float()

    level = (-bias(last) / scale).expand(shape)
    weights = ask(level)
    visible = weights[0] > 0
    window = int(visible[-1].sum())
    distance = torch.arange(last)[:, None] - torch.arange(last)[None, :]
    if not torch.equal(visible, (distance >= 0) & (distance < window)):
        raise refuse("its mask is neither causal nor a sliding window")
    if bool(slopes.any()) and window == last > 1:
        slopes = slopes + torch.log(weights[:, -1, -1] / weights[:, -1, 0]).double() / (last - 1)
    for length in (*(one for one in PROBES if one < last), last):
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        hidden = (distance < 0) | (distance >= window)
        for size in (0.1, 3.0, 60.0):
            scores = torch.randn(heads, length, length, generator=generator) * size
            expected = torch.softmax((scores * scale + bias(length)).masked_fill(hidden, -torch.inf), -1)
            if not torch.allclose(ask(scores), expected, rtol=1e-3, atol=1e-5):
                raise refuse("it does more to its scores than to scale, mask and normalise them")
    if last < longest and not _masks_far(found, lengths, longest, window if window < last else longest):
        raise refuse("its mask is neither causal nor a sliding window")
    return Rule(scale, 0 if window == last else window, slopes.float())


def _rounded(scale: float, columns: int) -> float:
    """One of the usual scales if that is what the numbers mean; they have six digits."""
    for usual in (1.0, columns**-0.5, 1 / columns):
        if abs(scale - usual) < 1e-5 * usual:
            return usual
    return scale


def _masks_far(found: WrittenAttention, lengths: Lengths, longest: int, window: int) -> bool:
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
