# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Control that depends on data: `torch.cond` of a user's module as two operators, and what else there is, refused.

Both branches become operators of the one graph, joined by `torch.ops.mk.choose`. That means the same, since a branch
has no effects; that the one which is not chosen does not run is a matter of the plan (`passes/analysis/Conditions.h`).
"""

from __future__ import annotations

import contextlib
import functools
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import torch
import torch._higher_order_ops.utils
from torch.utils import _pytree as pytree

from mk.errors import ImportModelError
from mk.importer.effects import Surroundings
from mk.importer.paths import module_path, strip_prefix

_DECISIONS = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "PendingUnbackedSymbolNotFound")
_LOOPS = {
    "while_loop": "an unbounded loop",
    "scan": "a loop along a dimension",
    "associative_scan": "a loop along a dimension",
    "map_impl": "a loop along a dimension",
    "map": "a loop along a dimension",
}


@functools.cache
def register() -> None:
    """Defines the operators; later calls do nothing."""

    def choose(predicate: torch.Tensor, taken: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """One boolean; the sides have one shape and dtype."""
        return (taken if bool(predicate) else other).clone()

    def across_rows(x: torch.Tensor, how: str, most: int) -> torch.Tensor:
        """Every dimension of x is one of rows, of which there are `most` at most -> []."""
        reduce = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}[how]
        return reduce(x)

    # Annotations are strings in this file; the operators' schemas are therefore spelled out.
    operator = torch.library.custom_op(
        "mk::choose",
        choose,
        mutates_args=(),
        schema="(Tensor predicate, Tensor taken, Tensor other) -> Tensor",
    )
    operator.register_fake(lambda predicate, taken, other: torch.empty_like(taken))
    operator = torch.library.custom_op(
        "mk::across_rows", across_rows, mutates_args=(), schema="(Tensor x, str how, int most) -> Tensor"
    )
    operator.register_fake(
        lambda x, how, most: x.new_empty(
            (), dtype=torch.int64 if how == "sum" and not x.is_floating_point() else None
        )
    )


@contextlib.contextmanager
def branches_in_place(module: torch.nn.Module, draws: bool = False) -> Iterator[None]:
    """While this lasts torch.cond runs both branches where it is called, and chooses. In a language model, which
    `draws` tokens, it is refused: a step has tokens of several requests.

    torch itself would compile them on the way, with guards on sizes of its own, and forget which modules they call.
    """
    register()
    utils, operator = torch._higher_order_ops.utils, type(torch.ops.higher_order.cond)
    compile_and_call, call_operator = utils._hop_compile_and_call, operator.__call__

    def decide(*given: Any) -> Any:
        if draws:
            raise ImportModelError(_model_refusal(_calling(module)))
        return _both(module, *given)

    def call(function: Any, args: Any, kwargs: Any = None) -> Any:
        name = function.__name__.strip("_").removesuffix("_op_wrapper")
        if name == "cond":
            return decide(*args)
        if name in _LOOPS:
            raise ImportModelError(_loop_refusal(_calling(module), name))
        return compile_and_call(function, args, kwargs)

    utils._hop_compile_and_call = call
    operator.__call__ = lambda self, *given: decide(*given)  # as graphs that torch has exported call it
    try:
        yield
    finally:
        utils._hop_compile_and_call, operator.__call__ = compile_and_call, call_operator


def _both(module: torch.nn.Module, predicate: Any, taken: Any, other: Any, operands: Any) -> Any:
    def refuse(what: str) -> ImportModelError:
        return ImportModelError(f"{_calling(module)}: torch.cond {what}; mk cannot compile it")

    if not isinstance(predicate, torch.Tensor) or predicate.dtype is not torch.bool:
        raise refuse("decides by something else than a boolean tensor")
    around = Surroundings(module, taken, other)
    results = [branch(*operands) for branch in (taken, other)]
    if around.has_written_tensors():
        raise refuse("has a branch that writes to its operands, or to another tensor from outside of it")
    if change := around.find_change():
        raise refuse(f"has a branch that changes what lies outside of it ({change})")
    (first, tree), (second, other_tree) = map(pytree.tree_flatten, results)
    if tree != other_tree or not all(isinstance(leaf, torch.Tensor) for leaf in (*first, *second)):
        raise refuse("has branches that return other things than tensors, or not the same number of them")
    chosen = []
    for a, b in zip(first, second, strict=True):
        if a.dtype != b.dtype or str(list(a.shape)) != str(list(b.shape)):
            raise refuse(f"has branches that return {list(a.shape)} {a.dtype} and {list(b.shape)} {b.dtype}")
        chosen.append(torch.ops.mk.choose(predicate, a, b))
    return pytree.tree_unflatten(chosen, tree)


def _calling(module: torch.nn.Module) -> str:
    """The path of the innermost module whose code is running."""
    paths = {id(child): name for name, child in module.named_modules()}
    frame: Any = sys._getframe(1)
    while frame is not None:
        if path := strip_prefix(paths.get(id(frame.f_locals.get("self"))) or ""):
            return path
        frame = frame.f_back
    return type(module).__name__


def _loop_refusal(where: str, name: str) -> str:
    what = _LOOPS.get(name, "an operator with a graph of its own")
    return (
        f"{where}: torch.{name.removesuffix('_impl')} is {what}, which mk cannot compile; of control that depends on "
        "data it compiles torch.cond"
    )


def _model_refusal(where: str) -> str:
    return (
        f"{where}: torch.cond is not compiled in a language model: a step has tokens of several requests, and prompts "
        "come in pieces, so with one branch for all of them a token's result would depend on what else is in the step "
        "(torch.where decides for each token; modules with inputs of their own may have torch.cond)"
    )


def refuse_graphs(program: torch.export.ExportedProgram) -> None:
    """Raises ImportModelError for loops that `branches_in_place` has not seen called."""
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator) and (name := str(node.target)) in _LOOPS:
            raise ImportModelError(_loop_refusal(_where(node), name))


def refuse_decision(error: BaseException, module: torch.nn.Module) -> ImportModelError | None:
    """The refusal of Python code that decides by numbers which it computes, or of a predicate of several numbers, if
    that is what the error says."""
    if str(error).startswith("Expected pred to be bool or single-element tensor"):
        what = "torch.cond has a predicate with a number for each row; make one boolean of it, as by .all()"
    elif type(error).__name__ in _DECISIONS:
        what = (
            "its Python code decides by numbers that the module computes, which mk cannot compile; of control that "
            "depends on data it compiles torch.cond"
        )
    else:
        return None
    paths = {id(child): name for name, child in module.named_modules()}
    path = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        path = paths.get(id(frame.f_locals.get("self"))) or path
    return ImportModelError(f"{strip_prefix(path) or type(module).__name__}: {what}")


def _where(node: torch.fx.Node) -> str:
    return module_path(node) or "the module"
