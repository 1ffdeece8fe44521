# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an attention that a model writes out does to its scores, found out by asking it with numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mk.errors import ImportModelError
from mk.importer.lengths import Lengths, token_axes
from mk.importer.step import longest_sequence

_aten = torch.ops.aten
FARTHEST = 1 << 12  # positions; their squares have to fit into memory
PROBES = (1, 2, 3, 5, 8, 13, 31)  # lengths of sequences
LARGEST_PROBE = 1 << 24  # scores of all heads
HIDDEN = -1e4  # no more than this is added to scores that are not to count
LOUD = 2000.0  # by how much such scores, scaled, may be larger than the others
SHIFTS = (-1000.0, -100.0, 100.0, 1000.0)  # what is added to all scores, scaled


@dataclass
class WrittenAttention:
    """`scores` is the product of queries and keys, `result` that with the values."""

    scores: torch.fx.Node
    result: torch.fx.Node
    query: torch.fx.Node
    keys: torch.fx.Node  # their columns are the tokens
    values: torch.fx.Node
    where: str


def positions_to_ask(config: Any) -> int:
    """How many to ask about: what comes behind them is not known, and no program of this model may be longer."""
    return min(longest_sequence(config) or FARTHEST, FARTHEST)


@dataclass
class Rule:
    """Scores times `scale`, plus the key's position times `slopes[head]`, within a window (0: all earlier tokens).

    `biases` [heads, positions], if there are any, are what is added instead: slopes that the model has rounded.
    """

    scale: float
    window: int
    slopes: torch.Tensor
    biases: torch.Tensor | None = None


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
    table, rounded = None, None
    if bool(slopes.any()) and (found_table := _find_table(found, lengths, longest, heads)) is not None:
        table, rounded = found_table
        factors = slopes / (rounded[:, 1] - rounded[:, 0])
        if bool((factors - factors[0]).abs().max() > 1e-3 * factors[0].abs()):
            raise refuse("its mask is neither causal nor a sliding window")
        factor = float(factors.median())
        rounded = rounded * next((one for one in (1.0, scale) if abs(factor - one) < 1e-3 * one), factor)

    def bias(length: int) -> torch.Tensor:
        if rounded is not None:
            return rounded[:, None, :length].float()
        return (slopes[:, None, None] * torch.arange(length)).float()

    def check(scores: torch.Tensor, hidden: torch.Tensor) -> None:
        """Refuses what gives these scores other weights than the rule does."""
        expected = torch.softmax(
            (scores.double() * scale + bias(scores.shape[-1])).masked_fill(hidden, -torch.inf), -1
        )
        if not torch.allclose(ask(scores), expected.float(), rtol=1e-3, atol=1e-5):
            raise refuse("it does more to its scores than to scale, mask and normalise them")

    level = (-bias(last) / scale).expand(shape)
    weights = ask(level)
    visible = weights[0] > 0
    window = int(visible[-1].sum())
    distance = torch.arange(last)[:, None] - torch.arange(last)[None, :]
    if not torch.equal(visible, (distance >= 0) & (distance < window)):
        raise refuse("its mask is neither causal nor a sliding window")
    if bool(slopes.any()) and rounded is None and window == last > 1:
        slopes = slopes + torch.log(weights[:, -1, -1] / weights[:, -1, 0]).double() / (last - 1)
    for length in (*(one for one in PROBES if one < last), last):
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        hidden = (distance < 0) | (distance >= window)
        for size in (0.1, 3.0, 60.0):
            scores = torch.randn(heads, length, length, generator=generator) * size
            check(scores, hidden)
        # Scores that are not to count must not, however large; what all scores have more than 0 says nothing.
        scores = torch.randn(heads, length, length, generator=generator)
        check(scores + hidden * (LOUD / abs(scale)), hidden)
        for shift in SHIFTS if length <= max(PROBES) else ():
            check(scores + shift / scale, hidden)
    reach = window if window < last else longest
    if last < longest and not _masks_far(found, lengths, longest, reach, bool(slopes.any()), table):
        raise refuse("its mask is neither causal nor a sliding window")
    return Rule(
        scale, 0 if window == last else window, slopes.float(), None if rounded is None else rounded.float()
    )


def _rounded(scale: float, columns: int) -> float:
    """One of the usual scales if that is what the numbers mean; they have six digits."""
    for usual in (1.0, columns**-0.5, 1 / columns):
        if abs(scale - usual) < 1e-5 * usual:
            return usual
    return scale


def _known_around(found: WrittenAttention, lengths: Lengths) -> set[torch.fx.Node]:
    """What the length alone decides of what meets the scores."""
    known: set[torch.fx.Node] = set()
    waiting, seen = list(found.result.all_input_nodes[:1]), {found.scores}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if not lengths.knows(node):
            waiting += node.all_input_nodes
        elif token_axes(node, lengths.symbol):
            known.add(node)
    return known


def _find_table(
    found: WrittenAttention, lengths: Lengths, longest: int, heads: int
) -> tuple[torch.fx.Node, torch.Tensor] | None:
    """What has a number for each head and position, if these lie on no line, and the numbers [heads, longest]."""
    tables = []
    for node in _known_around(found, lengths):
        value = lengths.at(node, longest)
        if not value.is_floating_point() or value.ndim < 2 or value.shape[-1] != longest:
            continue
        if value.numel() == heads * longest * longest and value.shape[-2] == longest:
            value = value.reshape(heads, longest, longest)[:, -1]  # of the token that sees all
        if value.numel() == heads * longest and bool((value > HIDDEN).all()):
            tables.append((node, value.double().reshape(heads, longest)))
    return None if len(tables) != 1 or _is_even(tables[0][1], sloping=True) else tables[0]


def _masks_far(
    found: WrittenAttention,
    lengths: Lengths,
    longest: int,
    window: int,
    sloping: bool,
    table: torch.fx.Node | None,
) -> bool:
    """Whether what meets the scores says the same for all positions; scores of so many, of all heads, would be large.

    Masks must be causal or a window for all heads, and what depends on a position otherwise must be the same for all,
    or a line where scores are `sloping`, but for that in `table`.
    """
    visible = torch.ones(longest, longest, dtype=torch.bool)
    for node in _known_around(found, lengths):
        value = lengths.at(node, longest)
        # A size that is made of the number of tokens may be the same for any.
        axes = [axis for axis in token_axes(node, lengths.symbol) if value.shape[axis] != 1]
        if len(axes) == 1:
            if node is not table and not _is_even(value.movedim(axes[0], -1).double(), sloping):
                return False
            continue
        value = value.reshape(-1, *value.shape[-2:])
        if value.shape[-2:] != (longest, longest):
            return False
        first = value[0] > HIDDEN if value.is_floating_point() else value[0] == value[0, 0, 0]
        for head in value:
            sees = head > HIDDEN if head.is_floating_point() else head == value[0, 0, 0]
            if not torch.equal(sees, first):
                return False
            if head.is_floating_point():
                lines = head.double().masked_fill(~sees, 0)
                same = sees & sees[-1]
                even = node is table or _is_even(lines[-1][sees[-1]], sloping)
                if not even or bool(
                    ((lines - lines[:, :1] - lines[-1] + lines[-1, 0]).abs() > _noise(lines))[same].any()
                ):
                    return False
        visible &= first
    distance = torch.arange(longest)[:, None] - torch.arange(longest)[None, :]
    return torch.equal(visible, (distance >= 0) & (distance < window))


def _is_even(values: torch.Tensor, sloping: bool) -> bool:
    """Whether the numbers along the last axis are all the same, or on a line if they may slope."""
    if values.shape[-1] < 3:
        return True
    steps = values.diff(dim=-1)
    if sloping:
        steps = steps.diff(dim=-1)
    return bool((steps.abs() <= _noise(values)).all())


def _noise(values: torch.Tensor) -> float:
    """By how much float32 numbers of this size may be off."""
    return 4 * torch.finfo(torch.float32).eps * float(values.abs().max()) + 1e-9
