# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reductions of all numbers of a call to one: of each row's columns, then by `torch.ops.mk.across_rows`.

Every function takes a `Reducer` and returns the one number, or None for a form that there is not. Whole numbers and
booleans are counted in float32, which holds them up to 2^24: that bounds the rows of a call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from mk.importer.column_rules import named
from mk.importer.edit import Editor
from mk.importer.step import LARGEST_STEP

_aten = torch.ops.aten
_EXACT = 1 << 24
_WITHIN = {"max": _aten.amax.default, "min": _aten.amin.default, "mean": _aten.mean.dim}
TEXT = (
    "max, min, mean, sum, any, all, count_nonzero, norms, var, std and logsumexp, of numbers that are not cast on the "
    "way"
)


class Reducer:
    """Emits what is to stand in the place of the reduction `node`."""

    def __init__(self, program: torch.export.ExportedProgram, node: torch.fx.Node) -> None:
        self.node, self.edit = node, Editor(program, node)
        self.x: torch.fx.Node = node.args[0]
        self.most = LARGEST_STEP

    def call(self, target: Any, *arguments: Any) -> torch.fx.Node:
        return self.edit.call(target, *arguments)

    def columns(self, x: torch.fx.Node) -> list[int]:
        """The dimensions that are no rows."""
        return [dim for dim, size in enumerate(x.meta["val"].shape) if not isinstance(size, torch.SymInt)]

    def reduce(self, x: torch.fx.Node, how: str) -> torch.fx.Node:
        """All of x -> []."""
        columns = self.columns(x)
        if how == "sum" and not x.meta["val"].is_floating_point():
            self.most = min(self.most, max(1, _EXACT // _bound(x) // _count(x)))
        if columns and how == "sum":
            x = self.call(_aten.sum.dim_IntList, x, columns)
        elif columns:
            x = self.call(_WITHIN[how], x, columns)
        return self.call(torch.ops.mk.across_rows.default, x, how, self.most)

    def count(self) -> torch.fx.Node:
        """How many numbers there are, as float32."""
        rows = self.x
        for dim in reversed(self.columns(rows)):
            rows = self.call(_aten.select.int, rows, dim, 0)
        ones = self.call(_aten.ones_like.default, rows)
        count = self.call(torch.ops.mk.across_rows.default, ones, "sum", self.most)
        return self.call(_aten.mul.Scalar, count, float(_count(self.x)))


def _count(x: torch.fx.Node) -> int:
    """The numbers of a row."""
    return math.prod(size for size in x.meta["val"].shape if isinstance(size, int))


def _bound(x: Any) -> int:
    """The largest that integers or booleans may be; 1 where nobody knows, and the compiler will say so."""
    value = x.meta["val"]
    if value.dtype is torch.bool:
        return 1
    name = str(x.target).removeprefix("aten.").partition(".")[0]
    if name in ("sum", "count_nonzero", "cumsum"):
        source = x.args[0]
        return _bound(source) * max(1, _count(source) // max(1, _count(x)))
    if name in (
        "to",
        "_to_copy",
        "view",
        "reshape",
        "amax",
        "amin",
        "squeeze",
        "unsqueeze",
        "clone",
        "select",
    ):
        return _bound(x.args[0])
    return 1


def _plain(how: str) -> Callable[[Reducer], torch.fx.Node | None]:
    def make(to: Reducer) -> torch.fx.Node | None:
        dtype, x = named(to.node, "dtype"), to.x
        if (
            dtype is not None
            and dtype is not x.meta["val"].dtype
            and (dtype.is_floating_point or how != "sum")
        ):
            return None
        return to.reduce(x, how)

    return make


def _truth(how: str) -> Callable[[Reducer], torch.fx.Node]:
    def make(to: Reducer) -> torch.fx.Node:
        boolean = to.x.meta["val"].dtype is torch.bool
        return to.reduce(to.x if boolean else to.call(_aten.ne.Scalar, to.x, 0), how)

    return make


def _norm(to: Reducer) -> torch.fx.Node | None:
    """norm(x, p, ..), linalg_vector_norm(x, ord, ..), and linalg_norm of all numbers."""
    order, x = named(to.node, "p", "ord"), to.x
    order = 2 if order is None else order
    if named(to.node, "dtype") not in (None, torch.float32) or not isinstance(order, int | float):
        return None
    if order == 2:
        return to.call(_aten.sqrt.default, to.reduce(to.call(_aten.mul.Tensor, x, x), "sum"))
    if order == 0:
        counted = to.reduce(to.call(_aten.ne.Scalar, x, 0), "sum")
        return to.call(_aten.to.dtype, counted, torch.float32)
    sizes = to.call(_aten.abs.default, x)
    if math.isinf(order):
        return to.reduce(sizes, "max" if order > 0 else "min")
    if order == 1:
        return to.reduce(sizes, "sum")
    powers = to.call(_aten.pow.Tensor_Scalar, sizes, float(order))
    return to.call(_aten.pow.Tensor_Scalar, to.reduce(powers, "sum"), 1 / order)


def _all_norm(to: Reducer) -> torch.fx.Node | None:
    """linalg_norm, which is one of matrices if it is told more than the tensor."""
    told = named(to.node, "ord") is not None or named(to.node, "dim") is not None
    return None if told else _norm(to)


def _variance(to: Reducer) -> torch.fx.Node | None:
    unbiased, correction = named(to.node, "unbiased"), named(to.node, "correction")
    less = float(unbiased) if unbiased is not None else 1.0 if correction is None else float(correction)
    left = to.call(_aten.sub.Tensor, to.x, to.reduce(to.x, "mean"))
    squares = to.reduce(to.call(_aten.mul.Tensor, left, left), "sum")
    divisor = to.call(_aten.clamp_min.default, to.call(_aten.sub.Scalar, to.count(), less), 0.0)
    return to.call(_aten.div.Tensor, squares, divisor)


def _deviation(to: Reducer) -> torch.fx.Node | None:
    variance = _variance(to)
    return to.call(_aten.sqrt.default, variance) if variance is not None else None


def _log_sum_exp(to: Reducer) -> torch.fx.Node:
    """The largest is taken off first; of nothing but one infinity, or with one, it is that."""
    largest = to.reduce(to.x, "max")
    infinite = to.call(_aten.isinf.default, largest)
    largest = to.call(_aten.masked_fill.Scalar, largest, infinite, 0.0)
    powers = to.call(_aten.exp.default, to.call(_aten.sub.Tensor, to.x, largest))
    return to.call(_aten.add.Tensor, to.call(_aten.log.default, to.reduce(powers, "sum")), largest)


REDUCTIONS: dict[str, Callable[[Reducer], torch.fx.Node | None]] = {
    **{name: _plain(name.removeprefix("a")) for name in ("max", "amax", "min", "amin", "mean", "sum")},
    "any": _truth("max"),
    "all": _truth("min"),
    "count_nonzero": _truth("sum"),
    "norm": _norm,
    "linalg_vector_norm": _norm,
    "linalg_norm": _all_norm,
    "var": _variance,
    "std": _deviation,
    "logsumexp": _log_sum_exp,
}
