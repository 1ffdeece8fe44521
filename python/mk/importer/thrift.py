# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What torch.export need not do over and over for the layers of a model, all alike; its results are the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.fx._lazy_graph_module import _use_lazy_graph_module
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.fx.experimental.sym_node import SymNode

# Of sizes: what torch asks of each shape again, to know its strides and how many numbers there are.
_BINARY = ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge", "sym_max", "sym_min")


@contextlib.contextmanager
def thrift() -> Iterator[None]:
    """Stack traces, Python code of graphs and sums of sizes are not made, or are made once."""
    config = torch.fx.config
    traces, config.do_not_emit_stack_traces = config.do_not_emit_stack_traces, True
    try:
        with _use_lazy_graph_module(True), _sizes_computed_once():
            yield
    finally:
        config.do_not_emit_stack_traces = traces


@contextlib.contextmanager
def _sizes_computed_once() -> Iterator[None]:
    """Arithmetic and comparisons of sizes that do not become operators of the graph, by their operands."""
    known: dict[Any, Any] = {}
    methods = {name: getattr(SymNode, name) for name in _BINARY}

    def remembering(name: str, method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def compute(self: Any, other: Any) -> Any:
            if not isinstance(other, SymNode) or get_proxy_mode() is not None:
                return method(self, other)
            # What a size is known to be may change: `expr` is after that.
            key = (name, self.expr, self.pytype, other.expr, other.pytype, id(self.shape_env))
            found = known.get(key)
            if found is None:
                found = known[key] = method(self, other)
            return found

        return compute

    for name, method in methods.items():
        setattr(SymNode, name, remembering(name, method))
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(SymNode, name, method)
